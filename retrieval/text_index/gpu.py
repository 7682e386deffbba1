"""Exact search on a GPU, where FAISS is built for one.

Written from FAISS's manual, not yet run on a GPU.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from retrieval.arrays import BoolArray, FloatArray, RowArray

if TYPE_CHECKING:
    import faiss

MIN_ROWS = 20_000
"""With fewer rows the CPU is faster."""

MAX_RESULTS = 2_048
"""Rows that a GPU search can return."""


class GpuRows:
    """A copy of exact rows on GPU 0. Its working memory serves one search at a time."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        import faiss

        self._resources = faiss.StandardGpuResources()
        self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        self._lock = threading.Lock()

    def nearest(self, query: FloatArray, n: int, allowed: BoolArray | None) -> RowArray | None:
        """Search as `kinds.nearest` does; None if it takes the CPU.

        A GPU search has no filter, so it returns as many more rows as are forbidden, which keeps the
        list full and exact.
        """
        forbidden = 0 if allowed is None else len(allowed) - int(np.count_nonzero(allowed))
        wanted = min(n + forbidden, self._index.ntotal)
        if n <= 0 or wanted > MAX_RESULTS:
            return None
        with self._lock:
            scores, found = self._index.search(query.reshape(1, -1), wanted)
        rows: RowArray = found[0][np.argsort(-scores[0], kind="stable")]
        return (rows if allowed is None else rows[allowed[rows]])[:n]


def copy_of(index: faiss.Index) -> GpuRows | None:
    """Copy exact rows to the GPU; None if there is no room, or it does not pay."""
    import faiss

    if not isinstance(index, faiss.IndexFlat) or index.ntotal < MIN_ROWS:
        return None
    if not getattr(faiss, "get_num_gpus", int)():
        return None
    try:
        return GpuRows(index)
    except RuntimeError:  # how FAISS reports that the GPU's memory is taken, perhaps by the ranking model
        return None
