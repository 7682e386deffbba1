"""Do the probabilities of a list mean what they say? One number sets them right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.ranking.base import softmax

_RANGE = (-5.0, 5.0)  # of the temperature's logarithm


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
