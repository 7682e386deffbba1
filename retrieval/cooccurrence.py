"""Who met what, counted: whether the people of two items are the same ones more often than by chance."""

from __future__ import annotations

import numpy as np

from recsys.data.dataset import EventLog, IntArray


class CooccurrenceCounts:
    """The people of each item, of whom the log tells."""

    def __init__(self, log: EventLog) -> None:
        self._row_of = log.row_of
        self._n = len(log.users)
        pairs = np.unique(np.column_stack([log.item, log.user]), axis=0)  # who met it twice counts once
        self._user: IntArray = pairs[:, 1]
        self._start = np.searchsorted(pairs[:, 0], np.arange(len(log.items) + 1))

    def co_consumed(self, one: str, other: str) -> bool:
        """Whether those who met `one` met `other` more often than everybody did, and more than one of them.

        A channel may give an item weight for what it was not met with: a regression weight tells
        what is left when all else is accounted for.
        """
        if one not in self._row_of or other not in self._row_of:
            return False
        a, b = self._people(one), self._people(other)
        both = len(np.intersect1d(a, b, assume_unique=True))
        return both > 1 and both * self._n > len(a) * len(b)

    def _people(self, item_id: str) -> IntArray:
        row = self._row_of[item_id]
        return self._user[self._start[row] : self._start[row + 1]]
