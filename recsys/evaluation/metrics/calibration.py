"""Do probabilities mean what they say?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.ranking.base import calibrated
from recsys.ranking.calibration import Points, equal_bins, fit_isotonic, fit_temperature, tempered
from recsys.utils.intervals import Resamples, Values, bounds

BINS = 10
RESAMPLES = 2_000


def calibration(
    probabilities: npt.NDArray[np.float64],
    happened: npt.NDArray[np.bool_],
    users: Sequence[str] | None = None,
    bins: int = BINS,
) -> dict[str, Any]:
    """Expected calibration error, Brier score and reliability curve of n pairs, both arrays (n,).

    Bins hold equally many pairs (Nguyen and O'Connor, 2015), equal probabilities never being
    parted: with most pairs near 0, bins of equal width would be one bin. The error is the mean
    of |predicted - observed| of the bins, weighted by their pairs. Its interval is of a
    percentile bootstrap over `users`, of each pair (default: every pair is another's), with the
    bins as they are: what chance adds to an error that is never negative is in it.
    """
    order = np.argsort(probabilities, kind="stable")
    predicted, observed = probabilities[order], happened[order].astype(np.float64)
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
    """95 % bounds of the error, of n pairs in the order of their bins; `of_user` numbers their users."""
    sums = np.zeros((int(of_user.max()) + 1, len(ends) + 1))  # of each user's gaps by bin, and their pairs
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
    """`calibration` of all the probabilities in some lists, and what would mend them.

    `targets` are the places of what was met, None where it is not listed. `temperature` and
    `isotonic` are fitted on all lists; `ece_tempered` and `ece_isotonic` are cross-fitted: each
    half of the users by what was fitted on the other half. `after` holds the `calibration` of
    both, with their curves. `[ranker] temperature` in domain.toml, times the temperature, makes
    it so, or `[ranker] isotonic`.
    """
    hits = [place for place, target in enumerate(targets) if target is not None and lists[place][target] > 0]
    parity = {user: number % 2 for number, user in enumerate(sorted(set(users)))}
    half = [parity[user] for user in users]

    def temperature(places: Sequence[int]) -> float:
        logs = [[float(np.log(max(p, 1e-300))) for p in lists[place]] for place in places]
        return fit_temperature(logs, [target for place in places if (target := targets[place]) is not None])

    def isotonic(places: Sequence[int]) -> Points:
        held = [lists[place] for place in places]
        return fit_isotonic(_flat(held).tolist(), _met(held, [targets[place] for place in places]).tolist())

    every = range(len(lists))
    temperatures = [temperature([place for place in hits if half[place] != side]) for side in (0, 1)]
    points = [isotonic([place for place in every if half[place] != side]) for side in (0, 1)]
    met = _met(lists, targets)
    of_pair = [user for user, scores in zip(users, lists, strict=True) for _ in scores]
    after = {
        "temperature": [tempered(lists[place], temperatures[half[place]]) for place in every],
        "isotonic": [calibrated(lists[place], points[half[place]]) for place in every],
    }
    mended = {name: calibration(_flat(better), met, of_pair) for name, better in after.items()}
    return calibration(_flat(lists), met, of_pair) | {
        "temperature": temperature(hits),
        "isotonic": isotonic(every),
        "ece_tempered": mended["temperature"]["ece"],
        "ece_isotonic": mended["isotonic"]["ece"],
        "after": mended,
    }


def _flat(lists: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    return np.array([score for scores in lists for score in scores], dtype=np.float64)


def _met(lists: Sequence[Sequence[float]], targets: Sequence[int | None]) -> npt.NDArray[np.bool_]:
    return np.array(
        [
            place == target
            for scores, target in zip(lists, targets, strict=True)
            for place in range(len(scores))
        ]
    )
