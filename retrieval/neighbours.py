"""The strongest neighbours of each item: what keeps item-to-item matrices bounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

STRENGTHS = 16_000_000
"""Entries kept in one matrix (128 MB): all of them up to 4,000 items, then the strongest per item."""

LEAST_NEIGHBOURS = 200
"""Entries kept per item, however many items there are."""


def neighbours_for(n_items: int) -> int:
    """Return how many neighbours of each item a matrix of so many items keeps."""
    return max(LEAST_NEIGHBOURS, STRENGTHS // max(n_items, 1))


def strongest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """Keep the `k` entries of largest magnitude in each row."""
    lengths = np.diff(matrix.indptr)
    if lengths.max(initial=0) <= k:
        return matrix
    kept = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(lengths > k):
        first, end = matrix.indptr[row], matrix.indptr[row + 1]
        weaker = np.argpartition(np.abs(matrix.data[first:end]), end - first - k)[: end - first - k]
        kept[first + weaker] = False
    start = np.concatenate([[0], np.cumsum(np.minimum(lengths, k))])
    return sp.csr_matrix((matrix.data[kept], matrix.indices[kept], start), shape=matrix.shape)


def blocks(work: npt.NDArray[np.number], limit: float) -> Iterator[tuple[int, int]]:
    """Divide rows into runs (first, end) of at most `limit` work, or of one row."""
    done = np.concatenate([[0.0], np.cumsum(work, dtype=np.float64)])
    first = 0
    while first < len(work):
        end = max(first + 1, int(np.searchsorted(done, done[first] + limit, side="right")) - 1)
        yield first, end
        first = end
