"""A trained next-item model as a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.base import Query, StaticChannel
from retrieval.sequence.model import SequenceModel
from retrieval.table import ItemRows
from retrieval.text_index.kinds import IndexConfig
from retrieval.text_index.rows import FINGERPRINT_DTYPE, IndexRows
from retrieval.text_index.segment import IndexSegment

EXACT = IndexConfig(kind="exact")


@dataclass(frozen=True)
class SequenceScores:
    """Inner products of the items with one user vector.

    They are log p(next item | history) in nats, up to a constant.
    """

    index: IndexSegment
    table: ItemRows
    vector: FloatArray  # (d + 1,), of the user

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Search the best `n` allowed rows; ties are in the order of the table."""
        index_row = self.table.positions_in(self.index.ids)
        rows = np.flatnonzero(allowed & (index_row >= 0))
        n = min(n, len(rows))
        if n <= 0:
            return rows[:0]
        table_row = np.full(len(self.index), -1, dtype=np.int64)
        table_row[index_row[rows]] = rows
        nearest, scores = self.index.nearest(self.vector, n, table_row >= 0, EXACT)
        best: RowArray = table_row[nearest][np.lexsort((table_row[nearest], -scores))[:n]]
        return best

    def at(self, rows: RowArray) -> FloatArray:
        """Return scores, (len(rows),); NaN for items without a training event."""
        index_row = self.table.positions_in(self.index.ids)[rows]
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        known = index_row >= 0
        scores[known] = np.einsum("nd,d->n", self.index.vectors(index_row[known]), self.vector)
        return scores

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        """Return {} per row: a network's scores have no shares."""
        return [{} for _ in rows]


@dataclass(frozen=True)
class SequenceChannel(StaticChannel):
    """Searches the model's item vectors with the user vector of a history.

    The index is exact: the model scored all its items at every training step, so there are never
    too many to score.
    """

    model: SequenceModel
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> SequenceScores | None:
        """Score what comes next; None if no item of the history is known."""
        return self.score_many([query], table)[0]

    def score_many(self, queries: Sequence[Query], table: ItemRows) -> list[SequenceScores | None]:
        """Score several queries in one pass of the network."""
        histories = [[entry.item.id for entry in query.history] for query in queries]
        times = [
            [np.nan if entry.timestamp is None else entry.timestamp for entry in query.history]
            for query in queries
        ]
        return [
            None if np.isnan(vector).any() else SequenceScores(self._index, table, vector)
            for vector in self.model.user_vectors(histories, times)
        ]

    @cached_property
    def _index(self) -> IndexSegment:
        no_texts = np.zeros(len(self.model.items), dtype=FINGERPRINT_DTYPE)
        return IndexSegment.of(IndexRows(self.model.items, no_texts, self.model.item_vectors), "exact")
