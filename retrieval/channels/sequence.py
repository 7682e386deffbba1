"""A trained next-item model as a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retrieval.base import Fixed, FloatArray, Query, RowArray
from retrieval.sequence.model import SequenceModel
from retrieval.table import BoolArray, ItemRows
from retrieval.text_index.kinds import IndexConfig
from retrieval.text_index.rows import FINGERPRINT_DTYPE, Rows
from retrieval.text_index.segment import IndexSegment

EXACT = IndexConfig(kind="exact")


@dataclass(frozen=True)
class SequenceAnswer:
    """log p(next item | history) but for a constant, nats: products of item vectors with a user vector (d + 1,)."""

    index: IndexSegment
    table: ItemRows
    vector: FloatArray

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Rows of the best `n` allowed items, found by the index; ties are in the order of the table."""
        in_index = self.table.columns(self.index.ids)
        rows = np.flatnonzero(allowed & (in_index >= 0))
        n = min(n, len(rows))
        if n <= 0:
            return rows[:0]
        in_table = np.full(len(self.index), -1, dtype=np.int64)
        in_table[in_index[rows]] = rows
        found, scores = self.index.nearest(self.vector, n, in_table >= 0, EXACT)
        best: RowArray = in_table[found][np.lexsort((in_table[found], -scores))[:n]]
        return best

    def of(self, rows: RowArray) -> FloatArray:
        """Scores, shape (len(rows),); NaN for items without a training event."""
        in_index = self.table.columns(self.index.ids)[rows]
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        known = in_index >= 0
        scores[known] = np.einsum("nd,d->n", self.index.vectors(in_index[known]), self.vector)
        return scores

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        """A network has no shares to tell."""
        return [{} for _ in rows]


@dataclass(frozen=True)
class SequenceChannel(Fixed):
    """Searches the items' output vectors for those that the history leads to.

    The index is exact: the model was trained on all its items at every step, so there are
    never too many to score them all. Items without a training event are unknown to it.
    """

    model: SequenceModel
    evidence_count: bool = False

    def ask(self, query: Query, table: ItemRows) -> SequenceAnswer | None:
        """What comes next; None if nothing in the history is known."""
        return self.ask_many([query], table)[0]

    def ask_many(self, queries: Sequence[Query], table: ItemRows) -> list[SequenceAnswer | None]:
        """The same for several queries, which the network reads together."""
        histories = [[entry.item.id for entry in query.history] for query in queries]
        times = [
            [np.nan if entry.timestamp is None else entry.timestamp for entry in query.history]
            for query in queries
        ]
        return [
            None if np.isnan(vector).any() else SequenceAnswer(self._index, table, vector)
            for vector in self.model.user_vectors(histories, times)
        ]

    @cached_property
    def _index(self) -> IndexSegment:
        fingerprints = np.zeros(
            len(self.model.items), dtype=FINGERPRINT_DTYPE
        )  # these vectors are of no text
        return IndexSegment.of(Rows(self.model.items, fingerprints, self.model.item_vectors), "exact")
