"""Calibration: how far predicted probabilities are from observed frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.ranking.base import apply_isotonic
from recsys.ranking.calibration import Points, apply_temperature, equal_bins, fit_isotonic, fit_temperature
from recsys.utils.intervals import Resamples, Values, bounds

BINS = 10
RESAMPLES = 2_000


def calibration(
    probabilities: npt.NDArray[np.float64],
    outcomes: npt.NDArray[np.bool_],
    users: Sequence[str] | None = None,
    bins: int = BINS,
) -> dict[str, Any]:
    """Compute expected calibration error, Brier score and reliability curve.

    Bins hold equally many pairs (Nguyen and O'Connor, 2015) and never separate equal
    probabilities: with most pairs near 0, bins of equal width would be one bin. The error is
    the mean of |predicted - observed| over the bins, weighted by their pairs. Its interval is
    a percentile bootstrap over users with fixed bins; it includes the bias of an error that
    is never negative.

    Args:
        probabilities: Predictions, (n,).
        outcomes: What happened, (n,).
        users: The user of each pair; by default each pair is a user of its own.
        bins: Of the reliability curve.
    """
    order = np.argsort(probabilities, kind="stable")
    predicted, observed = probabilities[order], outcomes[order].astype(np.float64)
    ends = equal_bins(predicted, bins)
    curve = [
        {
            "predicted": float(predicted[begun:end].mean()),
            "observed": float(observed[begun:end].mean()),
            "n": end - begun,
        }
        for begun, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    error = sum(abs(point["predicted"] - point["observed"]) * point["n"] for point in curve) / len(order)
    of_user = np.unique(users, return_inverse=True)[1][order] if users is not None else np.arange(len(order))
    low, high = _error_bounds(predicted - observed, of_user, ends)
    return {
        "ece": float(error),
        "ece_low": low,
        "ece_high": high,
        "brier": float(((predicted - observed) ** 2).mean()),
        "pairs": len(order),
        "curve": curve,
    }


def _error_bounds(gaps: Values, of_user: npt.NDArray[np.int64], ends: Sequence[int]) -> tuple[float, float]:
    """95 % bounds of the error; pairs are in the order of their bins."""
    sums = np.zeros((int(of_user.max()) + 1, len(ends) + 1))  # per user: gaps by bin, and pairs
    np.add.at(sums, (of_user, np.searchsorted(ends, np.arange(len(gaps)), side="right")), gaps)
    sums[:, -1] = np.bincount(of_user, minlength=len(sums))

    def error(weights: Values) -> Values:
        resampled = weights @ sums
        return np.asarray(
            np.abs(resampled[:, :-1]).sum(axis=1, keepdims=True) / resampled[:, -1:], dtype=np.float64
        )

    samples = Resamples([str(user) for user in range(len(sums))], resamples=RESAMPLES)
    low, high = bounds(samples.draws(error))[:, 0]
    return float(low), float(high)


def list_calibration(
    lists: Sequence[Sequence[float]], targets: Sequence[int | None], users: Sequence[str]
) -> dict[str, Any]:
    """Compute the calibration of ranked lists, and what recalibration would change.

    `temperature` and `isotonic` are fitted on all lists; `ece_tempered` and `ece_isotonic` are
    cross-fitted: each half of the users with what was fitted on the other half. `after` holds
    the calibration of both, with their curves. To apply it, set `[ranker] isotonic` in
    domain.toml, or multiply `[ranker] temperature` by the temperature.

    Args:
        lists: The probabilities of each list.
        targets: The position of the target in each list, None where it is not listed.
        users: The user of each list.
    """
    hits = [index for index, target in enumerate(targets) if target is not None and lists[index][target] > 0]
    parity = {user: number % 2 for number, user in enumerate(sorted(set(users)))}
    half = [parity[user] for user in users]

    def temperature(indices: Sequence[int]) -> float:
        logs = [[float(np.log(max(p, 1e-300))) for p in lists[index]] for index in indices]
        return fit_temperature(logs, [target for index in indices if (target := targets[index]) is not None])

    def isotonic(indices: Sequence[int]) -> Points:
        subset = [lists[index] for index in indices]
        subset_outcomes = _outcomes(subset, [targets[index] for index in indices])
        return fit_isotonic(_flat(subset).tolist(), subset_outcomes.tolist())

    every = range(len(lists))
    temperatures = [temperature([index for index in hits if half[index] != side]) for side in (0, 1)]
    points = [isotonic([index for index in every if half[index] != side]) for side in (0, 1)]
    outcomes = _outcomes(lists, targets)
    user_of_pair = [user for user, scores in zip(users, lists, strict=True) for _ in scores]
    recalibrated = {
        "temperature": [apply_temperature(lists[index], temperatures[half[index]]) for index in every],
        "isotonic": [apply_isotonic(lists[index], points[half[index]]) for index in every],
    }
    after = {
        name: calibration(_flat(scores), outcomes, user_of_pair) for name, scores in recalibrated.items()
    }
    return calibration(_flat(lists), outcomes, user_of_pair) | {
        "temperature": temperature(hits),
        "isotonic": isotonic(every),
        "ece_tempered": after["temperature"]["ece"],
        "ece_isotonic": after["isotonic"]["ece"],
        "after": after,
    }


def _flat(lists: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    return np.array([score for scores in lists for score in scores], dtype=np.float64)


def _outcomes(lists: Sequence[Sequence[float]], targets: Sequence[int | None]) -> npt.NDArray[np.bool_]:
    return np.array(
        [
            index == target
            for scores, target in zip(lists, targets, strict=True)
            for index in range(len(scores))
        ]
    )
