"""Do probabilities mean what they say?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
