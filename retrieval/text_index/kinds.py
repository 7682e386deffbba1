"""How FAISS holds a catalogue: exact, or in compressed lists.

Every kind keeps one vector per row, in row order, in its *store*. Compressed lists add a
shortlist, whose rows the caller scores again from the store. Figures are from
benchmarks/results/retrieval_scale.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from recsys.types import StrictModel
from retrieval.arrays import BoolArray, FloatArray, RowArray

if TYPE_CHECKING:
    import faiss

Kind = Literal["exact", "ivfpq"]

EXACT_UP_TO = 50_000
"""Items up to which `auto` is exact: 3 to 5 ms a query on one core, and nothing to train."""

FEW, FEW_SHARE = 10_000, 0.02
"""Rows that are all scored, by every kind: no more than this many, or than this share.

The first is the most that takes under a millisecond; at the second, and a million rows, the lists
that a filter makes worth scanning take as long.
"""

TRAINED_PER_LIST = 64
"""Vectors per list that k-means is trained on."""

SHORTLIST = 8
"""Compressed rows that are scored again from the store, per requested row."""

_SEED = 7


class IndexConfig(StrictModel):
    """How a text index is held and searched."""

    kind: Literal["auto", "exact", "ivfpq"] = Field(
        "auto",
        description="'exact' scores every row, 'ivfpq' scans compressed lists and scores the best again; "
        "'auto' chooses by the number of items",
    )
    nprobe: int = Field(
        256, ge=1, description="lists scanned: recall for time; of a million items .95 (@100) within 10 ms"
    )

    def kind_for(self, count: int) -> Kind:
        """Return the kind for `count` items; few are always exact."""
        if count <= FEW:
            return "exact"
        if self.kind == "auto":
            return "exact" if count <= EXACT_UP_TO else "ivfpq"
        return self.kind


def make(vectors: FloatArray, kind: Kind, trained: faiss.Index | None = None) -> faiss.Index:
    """Build an inner-product index of `kind` over unit vectors.

    Jegou et al.: Product quantization, TPAMI 2011.
    Andre et al.: Quicker ADC, TPAMI 2021 (4-bit codes in registers).

    Args:
        vectors: (n, d).
        kind: Exact or compressed lists.
        trained: Compressed lists whose training is reused if `n` vectors should have as many:
            filling lists takes a fraction of the time of training.
    """
    import faiss

    index: faiss.Index
    if kind == "exact":
        index = faiss.IndexFlatIP(vectors.shape[1])
    elif trained is not None and kind_of(trained) == kind and lists_of(trained) == lists_for(len(vectors)):
        index = faiss.clone_index(trained)
        index.reset()
    else:
        index = _trained_lists(vectors)
    index.add(vectors)
    return index


def kind_of(index: faiss.Index) -> Kind | None:
    """Return the kind of a FAISS index; None for an index of any other form."""
    import faiss

    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        return None
    kinds: tuple[tuple[type, Kind], ...] = ((faiss.IndexFlat, "exact"), (faiss.IndexRefine, "ivfpq"))
    return next((kind for type_, kind in kinds if isinstance(index, type_)), None)


def lists_for(count: int) -> int:
    """Return the power of two under 4 sqrt(count), with 40 vectors per list at least."""
    return 1 << int(np.log2(max(1.0, min(4 * count**0.5, count / 40))))


def lists_of(index: faiss.Index) -> int:
    """Return the number of lists of an `ivfpq` index."""
    faiss = _faiss()
    return int(faiss.downcast_index(faiss.downcast_index(index).base_index).nlist)


def nearest(
    index: faiss.Index, query: FloatArray, n: int, allowed: BoolArray | None, config: IndexConfig
) -> RowArray:
    """Search the rows of greatest inner product.

    Args:
        index: Made by `make`.
        query: (d,).
        n: Rows to return; fewer are found only if fewer are allowed.
        allowed: (rows,), applied inside the search; None allows every row. Where few rows are
            allowed, or `n` is many of them, all are scored: the result is then exact for every kind.
        config: How far to search.

    Returns:
        At most `n` rows, in no order.
    """
    faiss = _faiss()
    total = index.ntotal
    count = total if allowed is None else int(np.count_nonzero(allowed))
    n = min(n, count)
    if n <= 0:
        return np.zeros(0, dtype=np.int64)
    selector = None
    if allowed is not None and count < total:
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    if kind_of(index) != "exact" and count > max(FEW, FEW_SHARE * total, 10 * n):
        rows = _search(index, query, n, _list_parameters(selector, count / total, config))
        if len(rows) == n:
            return rows
    return _search(store(index), query, n, faiss.SearchParameters(sel=selector) if selector else None)


def store(index: faiss.Index) -> faiss.Index:
    """Return the part that holds a vector per row."""
    import faiss

    return faiss.downcast_index(index.refine_index) if isinstance(index, faiss.IndexRefine) else index


def _list_parameters(selector: faiss.IDSelector | None, share: float, config: IndexConfig) -> Any:
    """Scan the more lists the smaller the share of rows allowed."""
    faiss = _faiss()
    lists = faiss.SearchParametersIVF(nprobe=int(config.nprobe / share**0.5), sel=selector)
    return faiss.IndexRefineSearchParameters(k_factor=SHORTLIST, base_index_params=lists)


def _search(
    index: faiss.Index, query: FloatArray, n: int, parameters: faiss.SearchParameters | None
) -> RowArray:
    _, rows = index.search(query.reshape(1, -1), n, params=parameters)
    found: RowArray = rows[0][rows[0] >= 0]
    return found


def _trained_lists(vectors: FloatArray) -> faiss.Index:
    import faiss

    count, dimension = vectors.shape
    lists = lists_for(count)
    index = faiss.index_factory(
        dimension,
        f"IVF{lists},PQ{_subvectors(dimension)}x4fs,Refine(SQfp16)",
        faiss.METRIC_INNER_PRODUCT,
    )
    sample = min(count, TRAINED_PER_LIST * lists)
    rows = np.random.default_rng(_SEED).choice(count, sample, replace=False)
    index.train(vectors[np.sort(rows)])
    return index


def _subvectors(dimension: int) -> int:
    """Return the parts of a vector: of 2 values, or of what divides `dimension`."""
    return next(dimension // size for size in (2, 3, 1) if dimension % size == 0)


def _faiss() -> Any:
    """Return FAISS untyped: its stubs lack most of its Python constructors."""
    import faiss

    return faiss
