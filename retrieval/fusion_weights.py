"""Channel weights by maximum likelihood on held-out events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.arrays import DoubleArray, FloatArray
from retrieval.pool import Pool

L2 = 1e-3  # keeps weights finite where a channel separates everything; negligible against the data


@dataclass(frozen=True)
class Example:
    """A held-out event: its pool, and the target in it."""

    features: FloatArray  # (r, channels)
    target: int  # row of `features`


def example_of(pool: Pool, names: Sequence[str], columns: Sequence[str], target_row: int) -> Example | None:
    """Arrange a pool as an example; None if the target is not in it.

    Args:
        pool: What the channels found.
        names: The channels of the pool's columns.
        columns: The channels of the example's columns; 0 for those without scores.
        target_row: The target's row in the item table.
    """
    target = int(np.searchsorted(pool.rows, target_row))
    if target >= len(pool.rows) or pool.rows[target] != target_row:
        return None
    features = np.zeros((len(pool.rows), len(columns)), dtype=np.float32)
    for column, name in enumerate(columns):
        if name in names:
            features[:, column] = pool.features[:, names.index(name)]
    return Example(features, target)


def rank_of(scores: npt.ArrayLike, target: int) -> float:
    """Return the rank of the score at position `target`, 1 = highest; ties are shared."""
    array = np.asarray(scores)
    return float((array > array[target]).sum() + ((array == array[target]).sum() + 1) / 2)


def log_likelihood(example: Example, weights: DoubleArray) -> float:
    """Return log p of the target under these weights, nats."""
    logits = example.features @ weights
    return float(logits[example.target] - logits.max() - np.log(np.exp(logits - logits.max()).sum()))


def fit_weights(examples: Sequence[Example], shrinkage: float | DoubleArray = L2) -> DoubleArray:
    """Fit weights (channels,), 0 or more, by the likelihood of the targets.

    The likelihood is a softmax over each pool.

    A conditional logit (McFadden 1974), which is convex. A weight below 0 would call an item good
    because a channel scores it low: that fits validation and does not generalise. Zeros without
    examples.

    Args:
        examples: What was chosen of what.
        shrinkage: What the square of a weight, or of each, costs in nats an example.
    """
    from scipy.optimize import minimize

    if not examples:
        return np.zeros(0)
    n = len(examples)
    features = np.concatenate([example.features for example in examples]).astype(np.float64)
    starts = np.cumsum([0, *(len(example.features) for example in examples)])
    targets = starts[:-1] + np.array([example.target for example in examples])
    target_sum = features[targets].sum(axis=0)

    def loss(weights: DoubleArray) -> tuple[float, DoubleArray]:
        logits = features @ weights
        highest = np.maximum.reduceat(logits, starts[:-1])
        odds = np.exp(logits - np.repeat(highest, np.diff(starts)))
        total = np.add.reduceat(odds, starts[:-1])
        probability = odds / np.repeat(total, np.diff(starts))
        likelihood = logits[targets].sum() - (np.log(total) + highest).sum()
        gradient = (probability @ features - target_sum) / n + 2 * shrinkage * weights
        return float(-likelihood / n + (shrinkage * weights**2).sum()), gradient

    width = features.shape[1]
    bounds = [(0, None)] * width
    fitted = minimize(loss, np.full(width, 0.3), jac=True, method="L-BFGS-B", bounds=bounds)
    weights: DoubleArray = fitted.x
    return weights
