"""Rows in one FAISS index: the part that text indexes share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.text_index import gpu, kinds
from retrieval.text_index.kinds import IndexConfig, Kind
from retrieval.text_index.rows import Fingerprints, IndexRows

if TYPE_CHECKING:
    import faiss

_EXTRA = 8
"""Rows looked up beyond `n`; rarely do more tie with the last."""

_ROUNDING = 4e-6
"""Products of unit vectors that differ by no more may be equal."""


class IndexSegment:
    """Rows in ascending order of id, held by FAISS as `kind`. Immutable."""

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
    def of(cls, rows: IndexRows, kind: Kind, trained: IndexSegment | None = None) -> IndexSegment:
        """Put rows into an index of `kind`; reusing the training of `trained` saves time."""
        index = kinds.make(rows.vectors, kind, trained.index if trained else None)
        return cls(rows.ids, rows.fingerprints, index, kind)

    def read(self, alive: BoolArray) -> IndexRows:
        """Return the rows where `alive` (rows,) is True."""
        ids = tuple(compress(self.ids, alive))
        return IndexRows(ids, self.fingerprints[alive], self.vectors(np.flatnonzero(alive)))

    def vectors(self, rows: RowArray) -> FloatArray:
        """Return vectors (len(rows), d)."""
        if not len(rows):
            return np.zeros((0, self.index.d), dtype=np.float32)
        vectors: FloatArray = kinds.store(self.index).reconstruct_batch(rows)
        return vectors

    def nearest(
        self, query: FloatArray, n: int, allowed: BoolArray | None, config: IndexConfig
    ) -> tuple[RowArray, FloatArray]:
        """Search the rows nearest to `query` (d,); see `kinds.nearest`.

        Returns:
            Rows and inner products, in no order: more than `n`, and of exact rows all that tie with
            the last of them, so that the caller can order ties.
        """
        wanted = n + _EXTRA
        while True:
            rows = self._search(query, wanted, allowed, config)
            # Summed row by row: FAISS and matrix products may round equal rows differently.
            scores = np.einsum("nd,d->n", self.vectors(rows), query)
            if len(rows) < wanted or np.partition(scores, -n)[-n] > scores.min() + _ROUNDING:
                return rows, scores
            wanted *= 4

    def _search(self, query: FloatArray, n: int, allowed: BoolArray | None, config: IndexConfig) -> RowArray:
        rows = self._gpu.nearest(query, n, allowed) if self._gpu else None
        return kinds.nearest(self.index, query, n, allowed, config) if rows is None else rows
