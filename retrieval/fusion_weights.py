"""Channel weights by maximum likelihood on held-out events: the fitted half of a fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base import FloatArray
from retrieval.pool import Pool

L2 = 1e-3  # keeps weights finite where a channel separates everything; far below what data say


@dataclass(frozen=True)
class Example:
    """A held-out event: the features (r, channels) of its pool and the row of the target among them."""

    features: FloatArray
    target: int


def example(pool: Pool, names: Sequence[str], wanted: Sequence[str], target_row: int) -> Example | None:
    """The pool with its columns in the order `wanted`, 0 for channels that did not speak; None if missed."""
    place = int(np.searchsorted(pool.rows, target_row))
    if place >= len(pool.rows) or pool.rows[place] != target_row:
        return None
    features = np.zeros((len(pool.rows), len(wanted)), dtype=np.float32)
    for column, name in enumerate(wanted):
        if name in names:
            features[:, column] = pool.features[:, names.index(name)]
    return Example(features, place)


def rank_of(scores: npt.ArrayLike, target: int) -> float:
    """The rank of the score at place `target` among all, 1 = highest; ties are shared."""
    array = np.asarray(scores)
    return float((array > array[target]).sum() + ((array == array[target]).sum() + 1) / 2)


def fit_weights(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Weights (channels,), none negative, under which softmax over each pool makes its target likeliest.

    A conditional logit model (McFadden 1974), convex, so there is one answer. Weights
    below 0 would call an item good because a channel thinks little of it: that fits
    validation and surprises everybody else. Zeros if there are no examples.
    """
    from scipy.optimize import minimize

    if not examples:
        return np.zeros(0)
    features = np.concatenate([one.features for one in examples]).astype(np.float64)
    starts = np.cumsum([0, *(len(one.features) for one in examples)])
    targets = starts[:-1] + np.array([one.target for one in examples])
    chosen = features[targets].sum(axis=0)

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = features @ weights
        highest = np.maximum.reduceat(logits, starts[:-1])
        odds = np.exp(logits - np.repeat(highest, np.diff(starts)))
        total = np.add.reduceat(odds, starts[:-1])
        probability = odds / np.repeat(total, np.diff(starts))
        likelihood = logits[targets].sum() - (np.log(total) + highest).sum()
        n = len(examples)
        gradient = (probability @ features - chosen) / n + 2 * L2 * weights
        return float(-likelihood / n + L2 * weights @ weights), gradient

    width = features.shape[1]
    found = minimize(loss, np.full(width, 0.3), jac=True, method="L-BFGS-B", bounds=[(0, None)] * width)
    weights: npt.NDArray[np.float64] = found.x
    return weights
