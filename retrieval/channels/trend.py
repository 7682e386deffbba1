"""What is chosen more in the days before a request than before."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from recsys.config.retrieval import TrendConfig
from recsys.data.dataset import EventLog
from retrieval.arrays import FloatArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.table import ItemRows

SECONDS_A_DAY = 86_400
STALE = 4.0  # half-lives without any event after which nothing is known of a moment
READ = 12.0  # half-lives that are read: an older event weighs less than a four-thousandth
DAYS_KEPT = 32  # days whose scores are kept


@dataclass(frozen=True)
class TrendChannel(StaticChannel):
    """Scores items by log((r + s) / (e + s)) at the time of the request.

    r is the events of the item in the days before, each worth half after `half_life_days`, e what its share
    of all earlier events would give it, s `smoothing`. Only days (UTC) that were over before the moment
    count: nothing that came at the moment or later is read.
    """

    items: tuple[str, ...]
    by_day: sp.csr_matrix  # (days, items): events
    first_day: int  # since 1970
    config: TrendConfig
    evidence_count: bool = False
    _scores_of: dict[int, FloatArray] = field(default_factory=dict, compare=False, repr=False)

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score all items; None without a time, or long after the last event."""
        if query.context.time is None:
            return None
        day = int(query.context.time.timestamp() // SECONDS_A_DAY) - self.first_day
        if not 0 < day <= self.by_day.shape[0] + STALE * self.config.half_life_days:
            return None
        scores = self._scores_of.get(day)
        if scores is None:
            if len(self._scores_of) >= DAYS_KEPT:
                self._scores_of.clear()
            scores = self._scores_of[day] = self._before(day)
        return DenseScores(scatter(table, self.items, scores))

    def _before(self, day: int) -> FloatArray:
        """Return the scores of all items at the beginning of a day, (items,)."""
        half_life = self.config.half_life_days
        recent_days = self._days(max(0, day - int(READ * half_life) - 1), day)
        ages = np.arange(recent_days.shape[0])[::-1] + max(0, day - self.by_day.shape[0])
        recent = recent_days.T @ np.exp2(-ages / half_life)
        known = self._days(0, day)
        earlier = np.bincount(known.indices, known.data, minlength=len(self.items))
        expected = earlier * (recent.sum() / max(earlier.sum(), 1.0))
        smoothing = self.config.smoothing
        scores: FloatArray = np.log((recent + smoothing) / (expected + smoothing)).astype(np.float32)
        return scores

    def _days(self, first: int, end: int) -> sp.csr_matrix:
        """Return a view of some days, which copies no events."""
        pointers = self.by_day.indptr[first : end + 1]
        inside = slice(pointers[0], pointers[-1])
        parts = (self.by_day.data[inside], self.by_day.indices[inside], pointers - pointers[0])
        return sp.csr_matrix(parts, shape=(len(pointers) - 1, len(self.items)))


def fit_trend(log: EventLog, config: TrendConfig) -> TrendChannel | None:
    """Count the events of each day and item; None without times."""
    known = ~np.isnan(log.time)
    if not known.any():
        return None
    day = (log.time[known] // SECONDS_A_DAY).astype(np.int64)
    first = int(day.min())
    cells = (day - first, log.item[known])
    shape = (int(day.max()) - first + 1, len(log.items))
    by_day = sp.csr_matrix((np.ones(len(day), dtype=np.float32), cells), shape=shape)
    return TrendChannel(log.items, by_day, first, config)
