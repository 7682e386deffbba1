"""Removal of what is not part of a history: a gift, a mistake, the future.

An item belongs as far as item-item strengths connect it with the rest of the history.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.types import HistoryEntry, Interaction
from retrieval import Channel
from retrieval.channels.item_item import ItemItemChannel

CHANNELS = ("ease", "linear", "transitions", "cooccurrence")  # the first that is fitted is used
THRESHOLD = 2.0  # deviations
MIN_HISTORY = 8  # with fewer items an outlier cannot be told
MAD = 1.4826  # median absolute deviation of a normal distribution -> its standard deviation


def events_until(
    events: Sequence[Interaction], time: dt.datetime | None
) -> tuple[Sequence[Interaction], tuple[str, ...]]:
    """Leave out events after a time, for a request about the past; say how many."""
    if time is None:
        return events, ()
    earlier = [event for event in events if event.timestamp is None or event.timestamp <= time.timestamp()]
    if len(earlier) == len(events):
        return events, ()
    return earlier, (f"left out of the history: {len(events) - len(earlier):,} events after {time:%Y-%m-%d}",)


def without_noise(
    history: tuple[HistoryEntry, ...], channels: Mapping[str, Channel], threshold: float
) -> tuple[HistoryEntry, ...]:
    """Remove items whose strength is over `threshold` deviations below the median.

    The z-score of the logarithm of the mean item-item strength is robust: median and median absolute
    deviation. Nothing is removed with `threshold` 0 or without item-item channels, and items that the
    channel does not know stay.
    """
    channel = next((c for name in CHANNELS if isinstance(c := channels.get(name), ItemItemChannel)), None)
    if not threshold or channel is None or len(history) < MIN_HISTORY:
        return history
    known, z = outlier_scores([entry.item.id for entry in history], channel)
    return tuple(
        entry
        for entry, is_known, score in zip(history, known, z, strict=True)
        if not is_known or score > -threshold
    )


def outlier_scores(
    items: list[str], channel: ItemItemChannel
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return whether items are known, and their z-scores, of shape (len(items),)."""
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
