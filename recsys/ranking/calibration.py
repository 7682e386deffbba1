"""Calibration of probabilities: by one temperature, or by isotonic regression."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.ranking.base import softmax

_RANGE = (-5.0, 5.0)  # bounds of log temperature
_BINS = 50  # equally filled bins before isotonic regression

Points = tuple[tuple[float, float], ...]
"""(predicted, calibrated) probabilities, rising in both: a line from (0, 0) to (1, 1)."""


def fit_temperature(lists: Sequence[Sequence[float]], targets: Sequence[int]) -> float:
    """Fit the temperature of highest likelihood (Guo et al., ICML 2017).

    Args:
        lists: Scores (nats or log probabilities) of each list's candidates.
        targets: Position in each list of the item interacted with.

    Returns:
        The temperature: softmax(scores / temperature) is calibrated. Above 1 the scores are
        overconfident. 1 without lists.
    """
    from scipy.optimize import minimize_scalar

    if not lists:
        return 1.0
    arrays: list[npt.NDArray[np.float64]] = [np.asarray(scores, dtype=np.float64) for scores in lists]
    centred = [scores - scores[target] for scores, target in zip(arrays, targets, strict=True)]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(sum(np.logaddexp.reduce(scores * scale) for scores in centred))

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))


def apply_temperature(probabilities: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Return a list's probabilities at another temperature; 0 stays 0."""
    with np.errstate(divide="ignore"):
        return softmax([float(log) / temperature for log in np.log(np.asarray(probabilities))])


def equal_bins(probabilities: npt.NDArray[np.float64], bins: int) -> list[int]:
    """Return where bins of about equal size end in sorted probabilities, shape (n,).

    Equal probabilities are in one bin.
    """
    n = len(probabilities)
    cuts = [round(number * n / bins) for number in range(1, bins)]
    # A cut moves behind all values equal to the one before it.
    ends = {int(np.searchsorted(probabilities, probabilities[cut - 1], side="right")) for cut in cuts if cut}
    return sorted({*ends, n} if n else ends)


def fit_isotonic(probabilities: Sequence[float], happened: Sequence[bool]) -> Points:
    """Fit an isotonic calibration map (Zadrozny and Elkan, KDD 2002).

    Pairs are binned first, and each bin gets one more pair that happens as often as predicted, so
    that no bin is certain and few pairs change little. The pooled bins are the points; the lines
    between them keep the order.

    Args:
        probabilities: Predicted, shape (n,).
        happened: Whether each came true, shape (n,).
    """
    from scipy.optimize import isotonic_regression

    predicted, observed = np.asarray(probabilities, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    order = np.argsort(predicted, kind="stable")
    ends = equal_bins(predicted[order], _BINS)
    if not ends:
        return ()
    bins = np.split(order, ends[:-1])
    weights = np.array([len(members) + 1.0 for members in bins])
    means = np.array([predicted[members].mean() for members in bins])
    rates = (np.array([observed[members].sum() for members in bins]) + means) / weights
    fitted = isotonic_regression(rates, weights=weights)
    points: list[tuple[float, float]] = []
    for start, end in itertools.pairwise(fitted.blocks):
        mean = np.average(means[start:end], weights=weights[start:end])
        point = float(f"{mean:.6g}"), float(f"{fitted.x[start]:.6g}")
        previous = points[-1] if points else (0.0, 0.0)
        if previous[0] < point[0] < 1 and previous[1] < point[1] < 1:
            points.append(point)
    return tuple(points)
