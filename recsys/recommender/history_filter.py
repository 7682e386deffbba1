"""Leave out of a history what does not belong to it: a gift, a mistaken click, a family's shared account.

An item belongs by how strongly items that its people met point to the rest of the history.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from recsys.types import HistoryEntry
from retrieval import Channel
from retrieval.channels.item_item import ItemItem

CHANNELS = ("ease", "linear", "transitions", "cooccurrence")  # the first that is fitted judges
THRESHOLD = 2.0  # deviations
MIN_HISTORY = 8  # of fewer items nobody can say which is odd
MAD = 1.4826  # median absolute deviation of a normal distribution -> its standard deviation


def without_noise(
    history: tuple[HistoryEntry, ...], channels: Mapping[str, Channel], threshold: float
) -> tuple[HistoryEntry, ...]:
    """The history less its outliers: items whose strength with the rest lies `threshold` deviations low.

    Robust z-score of the logarithm of the mean item-item strength, by median and median absolute
    deviation. `threshold` 0 keeps everything; so does a retriever without item-item channels.
    Items of which the channel knows nothing stay.
    """
    channel = next((c for name in CHANNELS if isinstance(c := channels.get(name), ItemItem)), None)
    if not threshold or channel is None or len(history) < MIN_HISTORY:
        return history
    known, z = belonging([entry.item.id for entry in history], channel)
    return tuple(
        entry for entry, met, score in zip(history, known, z, strict=True) if not met or score > -threshold
    )


def belonging(items: list[str], channel: ItemItem) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """(whether the channel knows the item, its z-score among the known), both of shape (len(items),)."""
    rows = channel.rows(items)
    known = rows >= 0
    z = np.zeros(len(items))
    if known.sum() < MIN_HISTORY:
        return known, z
    inside = channel.strength[rows[known]][:, rows[known]].toarray()
    np.fill_diagonal(inside, 0)
    mean = np.maximum(inside + inside.T, 0).sum(axis=1) / (len(inside) - 1)
    positive = mean[mean > 0]
    if not len(positive):
        return known, z
    score = np.log(np.maximum(mean, positive.min() / 10))
    middle = np.median(score)
    spread = MAD * np.median(np.abs(score - middle))
    z[known] = (score - middle) / max(spread, 1e-9)
    return known, z
