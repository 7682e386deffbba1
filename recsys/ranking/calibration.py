"""Do the probabilities of a list mean what they say? One number sets them right, or a rising line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.ranking.base import softmax

_RANGE = (-5.0, 5.0)  # of the temperature's logarithm
_BINS = 50  # of equally many pairs, before they are made to rise

Points = tuple[tuple[float, float], ...]
"""(probability as it comes, as it should be), rising in both; a line through them and (0, 0) and (1, 1)."""


def fit_temperature(lists: Sequence[Sequence[float]], targets: Sequence[int]) -> float:
    """The temperature under which the targets are likeliest (Guo et al., ICML 2017).

    `lists` are the scores (nats, or log probabilities) of each list's candidates, `targets`
    the position of the one that was met. The softmax of scores / temperature is calibrated;
    the order stays. Above 1: the scores are too sure of themselves. Without a list it is 1.
    """
    from scipy.optimize import minimize_scalar

    if not lists:
        return 1.0
    known: list[npt.NDArray[np.float64]] = [np.asarray(scores, dtype=np.float64) for scores in lists]
    centred = [scores - scores[target] for scores, target in zip(known, targets, strict=True)]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(sum(np.logaddexp.reduce(scores * scale) for scores in centred))

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))


def tempered(probabilities: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Probabilities of a list at another temperature; what was impossible stays so."""
    with np.errstate(divide="ignore"):
        return softmax([float(log) / temperature for log in np.log(np.asarray(probabilities))])


def equal_bins(probabilities: npt.NDArray[np.float64], bins: int) -> list[int]:
    """Where bins of about equally many end in sorted probabilities (n,); equal ones are never parted."""
    n = len(probabilities)
    cuts = [round(number * n / bins) for number in range(1, bins)]
    # A cut moves to the end of the pairs that are equal to the one before it.
    ends = {int(np.searchsorted(probabilities, probabilities[cut - 1], side="right")) for cut in cuts if cut}
    return sorted({*ends, n} if n else ends)


def fit_isotonic(probabilities: Sequence[float], happened: Sequence[bool]) -> Points:
    """What n probabilities turned out to mean, never falling (Zadrozny and Elkan, KDD 2002).

    Pairs are joined in bins first, and each bin holds one pair more, that happens as often as
    predicted: so no bin is certain, and few pairs move little. The bins that the pool of
    adjacent violators leaves are the points; the lines between them keep the order.
    """
    from scipy.optimize import isotonic_regression

    said, met = np.asarray(probabilities, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    order = np.argsort(said, kind="stable")
    ends = equal_bins(said[order], _BINS)
    if not ends:
        return ()
    bins = np.split(order, ends[:-1])
    weights = np.array([len(held) + 1.0 for held in bins])
    means = np.array([said[held].mean() for held in bins])
    rates = (np.array([met[held].sum() for held in bins]) + means) / weights
    fitted = isotonic_regression(rates, weights=weights)
    points: list[tuple[float, float]] = []
    for begun, end in itertools.pairwise(fitted.blocks):
        mean = np.average(means[begun:end], weights=weights[begun:end])
        point = float(f"{mean:.6g}"), float(f"{fitted.x[begun]:.6g}")
        below = points[-1] if points else (0.0, 0.0)
        if below[0] < point[0] < 1 and below[1] < point[1] < 1:
            points.append(point)
    return tuple(points)
