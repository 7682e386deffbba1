"""A sample of the users of a log with more events than a model has time for."""

from __future__ import annotations

import numpy as np

from recsys.data.dataset import EventLog
from retrieval.arrays import RowArray


def sample_users(log: EventLog, n_events: int, seed: int = 0) -> EventLog:
    """Return the log, or if it is longer, whole histories of about `n_events`.

    Items and their rows stay.
    """
    if len(log) <= n_events:
        return log
    length = np.diff(log.start)
    order = np.random.default_rng((seed, 1)).permutation(len(length))
    fitting = int(np.searchsorted(np.cumsum(length[order]), n_events, side="right"))
    return with_users(log, np.sort(order[: max(1, fitting)]))


def with_users(log: EventLog, chosen: RowArray) -> EventLog:
    """Return the log of these users, given by their rows in ascending order."""
    mask = np.zeros(len(log.users), dtype=bool)
    mask[chosen] = True
    kept = np.repeat(mask, np.diff(log.start))
    return EventLog(
        items=log.items,
        users=tuple(log.users[row] for row in chosen.tolist()),
        start=np.concatenate([[0], np.cumsum(np.diff(log.start)[chosen])]),
        item=log.item[kept],
        time=log.time[kept],
        preference=log.preference[kept],
    )
