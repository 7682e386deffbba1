"""Rows in one FAISS index, the part that text indexes share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from retrieval.embedding import FloatArray
from retrieval.text_index import gpu, kinds
from retrieval.text_index.kinds import BoolArray, IndexConfig, Kind, RowArray
from retrieval.text_index.rows import Fingerprints, Rows

if TYPE_CHECKING:
    import faiss

_SPARE = 8
"""Rows looked up beyond those asked for; seldom do more tie with the last."""

_ROUNDING = 4e-6
"""Products of unit vectors that differ by no more may be equal."""


class IndexSegment:
    """Rows in ascending order of id, held by FAISS as `kind`. It never changes."""

    def __init__(
        self, ids: Sequence[str], fingerprints: Fingerprints, index: faiss.Index, kind: Kind
    ) -> None:
        self.ids = tuple(ids)
        self.fingerprints = fingerprints
        self.index = index
        self.kind = kind
        self.rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self._gpu = gpu.copy_of(index)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, rows: Rows, kind: Kind, like: IndexSegment | None = None) -> IndexSegment:
        """Put rows into an index of `kind`; what `like` learned may save the training."""
        index = kinds.make(rows.vectors, kind, like.index if like else None)
        return cls(rows.ids, rows.fingerprints, index, kind)

    def read(self, alive: BoolArray) -> Rows:
        """The rows where `alive` (rows,) is True."""
        ids = tuple(compress(self.ids, alive))
        return Rows(ids, self.fingerprints[alive], self.vectors(np.flatnonzero(alive)))

    def vectors(self, rows: RowArray) -> FloatArray:
        """Array (len(rows), d)."""
        if not len(rows):
            return np.zeros((0, self.index.d), dtype=np.float32)
        vectors: FloatArray = kinds.store(self.index).reconstruct_batch(rows)
        return vectors

    def nearest(
        self, query: FloatArray, n: int, allowed: BoolArray | None, config: IndexConfig
    ) -> tuple[RowArray, FloatArray]:
        """Rows found for `query` (d,) and their inner products, in no order; see `index_kinds.nearest`.

        More than `n` are given, and of exact rows all that tie with the last of them,
        so that the caller may order ties.
        """
        asked = n + _SPARE
        while True:
            rows = self._found(query, asked, allowed, config)
            # Summed row by row: FAISS and matrix products may round equal rows differently.
            scores = np.einsum("nd,d->n", self.vectors(rows), query)
            if len(rows) < asked or np.partition(scores, -n)[-n] > scores.min() + _ROUNDING:
                return rows, scores
            asked *= 4

    def _found(self, query: FloatArray, n: int, allowed: BoolArray | None, config: IndexConfig) -> RowArray:
        rows = self._gpu.nearest(query, n, allowed) if self._gpu else None
        return kinds.nearest(self.index, query, n, allowed, config) if rows is None else rows
