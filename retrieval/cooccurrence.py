"""Whether two items share more users than chance would give them."""

from __future__ import annotations

import numpy as np

from recsys.data.dataset import EventLog, IntArray


class CooccurrenceCounts:
    """The users of each item of an event log."""

    def __init__(self, log: EventLog) -> None:
        self._row_of = log.row_of
        self._n_users = len(log.users)
        n_users = max(self._n_users, 1)
        pairs = np.unique(log.item * np.int64(n_users) + log.user)  # repeated events count once
        self._user: IntArray = (pairs % n_users).astype(np.int32)
        self._start = np.searchsorted(pairs // n_users, np.arange(len(log.items) + 1))

    def co_consumed(self, first: str, second: str) -> bool:
        """Tell whether two items share two users, and more than chance gives them.

        A channel's weight does not tell: a regression weight is what is left when all other items
        are accounted for.
        """
        if first not in self._row_of or second not in self._row_of:
            return False
        a, b = self._users_of(first), self._users_of(second)
        both = len(np.intersect1d(a, b, assume_unique=True))
        return both > 1 and both * self._n_users > len(a) * len(b)

    def _users_of(self, item_id: str) -> IntArray:
        row = self._row_of[item_id]
        return self._user[self._start[row] : self._start[row + 1]]
