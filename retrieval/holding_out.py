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
    targets: RowArray  # positions in the complete log; each the user's first interaction with its item


def hold_out(log: EventLog, last: int, n_targets: int) -> HeldOutEvents:
    """Hold out each user's `last` events, the first event never, as `splits.leave_one_out` does.

    Args:
        log: All events.
        last: Events held out per user.
        n_targets: About how many of them are asked for, at regular intervals.
    """
    length = np.diff(log.start)
    number = np.arange(len(log)) - log.start[log.user]  # of the event among those of its user
    kept = number < np.maximum(1, length - last)[log.user]
    # A pair of user and item is first where it stands first in a stable order of pairs.
    pair = log.user * np.int64(len(log.items)) + log.item
    is_first = np.zeros(len(log), dtype=bool)
    is_first[np.unique(pair, return_index=True)[1]] = True
    targets = np.flatnonzero(~kept & is_first)
    train = EventLog(
        items=log.items,
        users=log.users,
        start=np.concatenate([[0], np.cumsum(np.bincount(log.user[kept], minlength=len(log.users)))]),
        item=log.item[kept],
        time=log.time[kept],
        preference=log.preference[kept],
    )
    return HeldOutEvents(train, targets[:: max(1, -(-len(targets) // n_targets))])


def history_before(log: EventLog, position: int, table: ItemRows) -> tuple[HistoryEntry, ...]:
    """Return a user's history before an event, each item where it came last."""
    first = log.start[log.user[position]]
    rows, newest_first = np.unique(log.item[first:position][::-1], return_index=True)
    last = position - 1 - newest_first
    order = np.argsort(last)
    return tuple(
        HistoryEntry(
            item=table.items[table.row_of[log.items[row]]],
            liked=_LIKED.get(int(log.preference[at])),
            timestamp=None if np.isnan(log.time[at]) else float(log.time[at]),
        )
        for row, at in zip(rows[order].tolist(), last[order].tolist(), strict=True)
    )
