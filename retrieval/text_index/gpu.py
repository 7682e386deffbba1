"""Exact search on a GPU, where FAISS was built for one. Written from FAISS's manual; never run here."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from retrieval.embedding import FloatArray
from retrieval.text_index.kinds import BoolArray, RowArray

if TYPE_CHECKING:
    import faiss

WORTH_MOVING = 20_000
"""Rows under which the CPU answers before a GPU would have been asked."""

MOST_FOUND = 2_048
"""Rows a GPU search can return."""


class GpuRows:
    """A copy of exact rows on GPU 0. Its working memory serves one search at a time."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        import faiss

        self._resources = faiss.StandardGpuResources()
        self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        self._lock = threading.Lock()

    def nearest(self, query: FloatArray, n: int, allowed: BoolArray | None) -> RowArray | None:
        """As `index_kinds.nearest`; None if it takes the CPU.

        A GPU search takes no filter, so it finds as many more rows as are forbidden,
        which keeps the list full and exact.
        """
        forbidden = 0 if allowed is None else len(allowed) - int(np.count_nonzero(allowed))
        wanted = min(n + forbidden, self._index.ntotal)
        if n <= 0 or wanted > MOST_FOUND:
            return None
        with self._lock:
            scores, found = self._index.search(query.reshape(1, -1), wanted)
        rows: RowArray = found[0][np.argsort(-scores[0], kind="stable")]
        return (rows if allowed is None else rows[allowed[rows]])[:n]


def copy_of(index: faiss.Index) -> GpuRows | None:
    """A copy of exact rows on the GPU; None if there is none, if it is full, or if it is not worth it."""
    import faiss

    if not isinstance(index, faiss.IndexFlat) or index.ntotal < WORTH_MOVING:
        return None
    if not getattr(faiss, "get_num_gpus", int)():
        return None
    try:
        return GpuRows(index)
    except RuntimeError:  # how FAISS says that the GPU's memory is taken, by the ranking model say
        return None
