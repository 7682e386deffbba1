"""Events of each day and item, and what was chosen lately as of any day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from recsys.data.dataset import EventLog
from retrieval.arrays import DoubleArray, FloatArray
from retrieval.base import SECONDS_A_DAY

READ = 12.0  # half-lives that are read: an older event weighs less than a four-thousandth
DAYS_KEPT = 32  # days whose scores are kept


@dataclass(frozen=True)
class DayCounts:
    """Events of each day (UTC) and item.

    A day that is not over at a moment is not read for it.
    """

    by_day: sp.csr_matrix  # (days, items): events
    first_day: int  # since 1970
    _kept: dict[int, FloatArray] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, log: EventLog) -> DayCounts | None:
        """Count the events of a log; None without times."""
        known = ~np.isnan(log.time)
        if not known.any():
            return None
        day = (log.time[known] // SECONDS_A_DAY).astype(np.int64)
        first = int(day.min())
        shape = (int(day.max()) - first + 1, len(log.items))
        events = np.ones(len(day), dtype=np.float32)
        return cls(sp.csr_matrix((events, (day - first, log.item[known])), shape=shape), first)

    @property
    def end(self) -> int:
        """The number of the day after the last event; the first day is 0."""
        return int(self.by_day.shape[0])

    def day_of(self, moment: float) -> int:
        """Return the number of a moment's day."""
        return int(moment // SECONDS_A_DAY) - self.first_day

    def recent(self, day: int, half_life: float) -> DoubleArray:
        """Return the events before a day, (items,), decayed by a half-life in days."""
        days = self._days(max(0, day - int(READ * half_life) - 1), day)
        ages = np.arange(days.shape[0])[::-1] + max(0, day - self.end)
        counts: DoubleArray = days.T @ np.exp2(-ages / half_life)
        return counts

    def earlier(self, day: int) -> DoubleArray:
        """Return all events before a day, (items,)."""
        known = self._days(0, day)
        n_items = self.by_day.shape[1]
        counts: DoubleArray = np.bincount(known.indices, known.data, minlength=n_items).astype(np.float64)
        return counts

    def kept(self, day: int, compute: Callable[[int], FloatArray]) -> FloatArray:
        """Return what is computed of a day, computed once for requests of the same day."""
        scores = self._kept.get(day)
        if scores is None:
            if len(self._kept) >= DAYS_KEPT:
                self._kept.clear()
            scores = self._kept[day] = compute(day)
        return scores

    def _days(self, first: int, end: int) -> sp.csr_matrix:
        """Return a view of some days, which copies no events."""
        pointers = self.by_day.indptr[first : end + 1]
        inside = slice(pointers[0], pointers[-1])
        parts = (self.by_day.data[inside], self.by_day.indices[inside], pointers - pointers[0])
        return sp.csr_matrix(parts, shape=(len(pointers) - 1, self.by_day.shape[1]))
