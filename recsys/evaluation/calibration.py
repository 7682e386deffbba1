"""Do probabilities mean what they say?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.ranking.calibration import fit_temperature, tempered

BINS = 10


def calibration(
    probabilities: npt.NDArray[np.float64], happened: npt.NDArray[np.bool_], bins: int = BINS
) -> dict[str, Any]:
    """Expected calibration error, Brier score and reliability curve of n pairs, both arrays (n,).

    Bins hold equally many pairs (Nguyen and O'Connor, 2015), equal probabilities never being
    parted: with most pairs near 0, bins of equal width would be one bin.
    """
    order = np.argsort(probabilities, kind="stable")
    predicted, observed = probabilities[order], happened[order].astype(np.float64)
    cuts = [round(number * len(order) / bins) for number in range(1, bins)]
    # A cut moves to the end of the pairs that are equal to the one before it.
    ends = sorted({int(np.searchsorted(predicted, predicted[cut - 1], side="right")) for cut in cuts if cut})
    curve = [
        {
            "predicted": float(predicted[begun:end].mean()),
            "observed": float(observed[begun:end].mean()),
            "n": end - begun,
        }
        for begun, end in zip([0, *ends], [*ends, len(order)], strict=True)
        if end > begun
    ]
    error = sum(abs(point["predicted"] - point["observed"]) * point["n"] for point in curve) / len(order)
    return {
        "ece": float(error),
        "brier": float(((predicted - observed) ** 2).mean()),
        "pairs": len(order),
        "curve": curve,
    }


def list_calibration(
    lists: Sequence[Sequence[float]], targets: Sequence[int | None], users: Sequence[str]
) -> dict[str, Any]:
    """`calibration` of all the probabilities in some lists, and what one temperature would make of it.

    `targets` are the places of what was met, None where it is not listed. `temperature` is fitted
    on all lists; `ece_tempered` is cross-fitted: each half of the users at the temperature of
    the other half. `[ranker] temperature` in domain.toml, times it, makes it so.
    """
    hits = [place for place, target in enumerate(targets) if target is not None and lists[place][target] > 0]
    parity = {user: number % 2 for number, user in enumerate(sorted(set(users)))}
    half = [parity[user] for user in users]

    def fitted(places: Sequence[int]) -> float:
        logs = [[float(np.log(max(p, 1e-300))) for p in lists[place]] for place in places]
        return fit_temperature(logs, [target for place in places if (target := targets[place]) is not None])

    other = [fitted([place for place in hits if half[place] != side]) for side in (0, 1)]
    better = [tempered(scores, other[half[place]]) for place, scores in enumerate(lists)]
    return calibration(_flat(lists), _met(lists, targets)) | {
        "temperature": fitted(hits),
        "ece_tempered": calibration(_flat(better), _met(lists, targets))["ece"],
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
