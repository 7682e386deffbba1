"""Each user's last events, held out of a log to fit the weights of the fusion on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.data.dataset import DISLIKED, LIKED, EventLog
from recsys.types import HistoryEntry
from retrieval.arrays import RowArray
from retrieval.table import ItemRows

_LIKED = {LIKED: True, DISLIKED: False}


@dataclass(frozen=True)
class HeldOutEvents:
    """What may be learned from, and the events that are asked for."""

    train: EventLog
    targets: RowArray  # positions in the complete log


def hold_out(log: EventLog, last: int, n_targets: int, *, repeats: bool = False) -> HeldOutEvents:
    """Hold out each user's `last` events, never the first, as `leave_one_out` does.

    Args:
        log: All events.
        last: Events held out per user.
        n_targets: About how many of them are asked for, at regular intervals.
        repeats: Whether an item that the user had before may be asked for.
    """
    length = np.diff(log.start)
    number = np.arange(len(log)) - log.start[log.user]  # of the event among those of its user
    kept = number < np.maximum(1, length - last)[log.user]
    # A pair of user and item is first where it stands first in a stable order of pairs.
    pair = log.user * np.int64(len(log.items)) + log.item
    is_first = np.zeros(len(log), dtype=bool)
    is_first[np.unique(pair, return_index=True)[1]] = True
    targets = np.flatnonzero(~kept & (is_first | repeats))
    train = EventLog(
        items=log.items,
        users=log.users,
        start=np.concatenate([[0], np.cumsum(np.bincount(log.user[kept], minlength=len(log.users)))]),
        item=log.item[kept],
        time=log.time[kept],
        preference=log.preference[kept],
    )
    return HeldOutEvents(train, targets[:: max(1, -(-len(targets) // n_targets))])


def history_before(
    log: EventLog, position: int, table: ItemRows, *, repeats: bool = False
) -> tuple[HistoryEntry, ...]:
    """Return a user's history before an event, each item where it came last.

    With `repeats`, events at the same time as the event, such as those of its basket, are no history.
    """
    first = log.start[log.user[position]]
    if repeats:
        position = int(first + np.searchsorted(log.time[first:position], log.time[position]))
    rows, newest_first, times = np.unique(
        log.item[first:position][::-1], return_index=True, return_counts=True
    )
    last = position - 1 - newest_first
    oldest = first + np.unique(log.item[first:position], return_index=True)[1]
    order = np.argsort(last)
    return tuple(
        HistoryEntry(
            item=table.items[table.row_of[log.items[row]]],
            liked=_LIKED.get(int(log.preference[at])),
            timestamp=_known(log.time[at]),
            times=count,
            first=_known(log.time[start]) if count > 1 else None,
        )
        for row, at, count, start in zip(
            *(array[order].tolist() for array in (rows, last, times, oldest)), strict=True
        )
    )


def _known(time: float) -> float | None:
    return None if np.isnan(time) else float(time)
