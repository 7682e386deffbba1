"""What is chosen more in the days before a request than before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import TrendConfig
from recsys.data.dataset import EventLog
from retrieval.arrays import FloatArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.channels.day_counts import DayCounts
from retrieval.table import ItemRows

STALE = 4.0  # half-lives without any event after which nothing is known of a moment


@dataclass(frozen=True)
class TrendChannel(StaticChannel):
    """Scores items by log((r + s) / (e + s)) at the time of the request.

    r is the events of the item in the days before, each worth half after `half_life_days`, e what its share
    of all earlier events would give it, s `smoothing`. Only days (UTC) that were over before the moment
    count: nothing that came at the moment or later is read.
    """

    items: tuple[str, ...]
    days: DayCounts
    config: TrendConfig
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score all items; None without a time, or long after the last event."""
        if query.now is None:
            return None
        day = self.days.day_of(query.now)
        if not 0 < day <= self.days.end + STALE * self.config.half_life_days:
            return None
        return DenseScores(scatter(table, self.items, self.days.kept(day, self._before)))

    def _before(self, day: int) -> FloatArray:
        """Return the scores of all items at the beginning of a day, (items,)."""
        recent = self.days.recent(day, self.config.half_life_days)
        earlier = self.days.earlier(day)
        expected = earlier * (recent.sum() / max(earlier.sum(), 1.0))
        smoothing = self.config.smoothing
        scores: FloatArray = np.log((recent + smoothing) / (expected + smoothing)).astype(np.float32)
        return scores


def fit_trend(log: EventLog, config: TrendConfig) -> TrendChannel | None:
    """Count the events of each day and item; None without times."""
    days = DayCounts.of(log)
    return None if days is None else TrendChannel(log.items, days, config)
