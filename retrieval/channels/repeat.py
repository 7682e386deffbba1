"""What a person chose before and is likely to choose again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import RepeatConfig
from recsys.types import HistoryEntry
from retrieval.arrays import DoubleArray
from retrieval.base import DenseScores, Query, StaticChannel
from retrieval.table import ItemRows

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class RepeatChannel(StaticChannel):
    """Scores the items of a history by how often and how lately they were chosen.

    Nothing is fitted, and other items have no score.
    """

    config: RepeatConfig
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score the history; None if it holds no item of the table."""
        rows = np.array([table.row_of.get(entry.item.id, -1) for entry in query.history], dtype=np.int64)
        known = rows >= 0
        if not known.any():
            return None
        now = query.context.time.timestamp() if query.context.time else None
        values = np.full(len(table), np.nan, dtype=np.float32)
        values[rows[known]] = choices_of(query.history, self.config.half_life_days, now)[known]
        return DenseScores(values)


def choices_of(
    history: Sequence[HistoryEntry], half_life_days: float, now: float | None = None
) -> DoubleArray:
    """Return the decayed choices of each entry, by default at the newest."""
    times = np.array([_known(entry.timestamp) for entry in history])
    first = np.array([_known(entry.timestamp if entry.first is None else entry.first) for entry in history])
    if now is None:
        now = float(np.nanmax(times)) if not np.isnan(times).all() else 0.0
    return decayed_choices(np.array([entry.times for entry in history]), first, times, now, half_life_days)


def decayed_choices(
    number: DoubleArray,
    first: DoubleArray,
    last: DoubleArray,
    now: float | DoubleArray,
    half_life_days: float,
) -> DoubleArray:
    """Return the number of choices, each worth half after a half-life.

    They count as if they lay one cycle apart, the mean time between two. Of unknown times all count in full.

    Args:
        number: Choices, (n,).
        first: Time of the first, in seconds, (n,); NaN if unknown.
        last: Time of the last, likewise.
        now: From when ages count.
        half_life_days: Age at which a choice weighs half.
    """
    rate = math.log(2) / (half_life_days * SECONDS_A_DAY)
    newest = np.exp(-rate * np.maximum(0.0, now - last))
    decay = np.maximum(rate * (last - first) / np.maximum(1, number - 1), 1e-12)  # from one to the next
    amounts = newest * np.expm1(-decay * number) / np.expm1(-decay)
    return np.where(np.isnan(last), number, amounts)


def _known(time: float | None) -> float:
    return math.nan if time is None else time
