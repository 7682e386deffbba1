"""What a person chose before and is likely to choose again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import RepeatConfig
from recsys.types import HistoryEntry
from retrieval.base import DenseScores, Query, StaticChannel
from retrieval.table import ItemRows

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class RepeatChannel(StaticChannel):
    """Scores the items of a history by how often and how lately they were chosen.

    A score is the number of choices, each worth half after `half_life_days`, as if they lay one cycle
    of the person apart: the mean time between two. Nothing is fitted, and other items have no score.
    """

    config: RepeatConfig
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score the history; None if it holds no item of the table."""
        times = [entry.timestamp for entry in query.history if entry.timestamp is not None]
        now = query.context.time.timestamp() if query.context.time else max(times, default=0.0)
        values = np.full(len(table), np.nan, dtype=np.float32)
        for entry in query.history:
            row = table.row_of.get(entry.item.id)
            if row is not None:
                values[row] = self._amount(entry, now)
        return None if np.isnan(values).all() else DenseScores(values)

    def _amount(self, entry: HistoryEntry, now: float) -> float:
        """Return the sum of the choices' weights at a time."""
        if entry.timestamp is None:
            return float(entry.times)
        rate = math.log(2) / (self.config.half_life_days * SECONDS_A_DAY)
        newest = math.exp(-rate * max(0.0, now - entry.timestamp))
        first = entry.timestamp if entry.first is None else entry.first
        cycle = (entry.timestamp - first) / max(1, entry.times - 1)
        if rate * cycle < 1e-9:  # all at once
            return newest * entry.times
        return newest * math.expm1(-rate * cycle * entry.times) / math.expm1(-rate * cycle)
