"""Which FAISS index holds a catalogue: exact, a graph, or compressed lists.

Every kind keeps one vector per row, in row order, in its *store*. Approximate kinds
add a shortlister; what they find is scored anew from the store by the caller.
Figures are from benchmarks/results/retrieval_scale.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.types import StrictModel
from retrieval.embedding import FloatArray

if TYPE_CHECKING:
    import faiss

Kind = Literal["exact", "hnsw", "ivfpq"]
BoolArray = npt.NDArray[np.bool_]
RowArray = npt.NDArray[np.int64]

EXACT_UP_TO = 50_000
"""Items up to which `auto` is exact: 3 to 5 ms a query on one core, and nothing to train."""

FEW, FEW_SHARE = 10_000, 0.02
"""Rows that are all scored, by every kind: no more than this many, or than this share.

The first is the most that takes under a millisecond; at the second, and a million
rows, the lists that a filter makes worth scanning take as long.
"""

NEIGHBOURS, CONSTRUCTION_LIST = 32, 100
"""Links of a node in the graph, and candidates looked at to choose them."""

TRAINED_PER_LIST = 64
"""Vectors per list that k-means sees."""

SHORTLIST = 8
"""Compressed rows that are scored anew from the store, per item asked for."""

_SEED = 7


class IndexConfig(StrictModel):
    """How a text index is held and searched. `auto` chooses the kind by the number of items.

    `exact` scores every item. `ivfpq` scans compressed lists and scores the best
    anew; `hnsw` walks a graph, takes longer to build, and suffers more from filters.
    `ef_search` (graph nodes kept while searching) and `nprobe` (lists scanned) buy
    recall with time; as they are, a million items have recall@100 of .95 within 10 ms.
    """

    kind: Literal["auto", "exact", "hnsw", "ivfpq"] = "auto"
    ef_search: int = Field(512, ge=1)
    nprobe: int = Field(256, ge=1)

    def kind_for(self, count: int) -> Kind:
        """The kind for `count` items; few are exact whatever was asked for."""
        if count <= FEW:
            return "exact"
        if self.kind == "auto":
            return "exact" if count <= EXACT_UP_TO else "ivfpq"
        return self.kind


def make(vectors: FloatArray, kind: Kind, like: faiss.Index | None = None) -> faiss.Index:
    """An inner-product index of `kind` over unit `vectors` (n, d).

    Compressed lists take over what `like` learned, if it has as many lists as `n`
    vectors should have: filling them takes a fraction of the time of training.
    Malkov and Yashunin: HNSW, TPAMI 2020. Jegou et al.: Product quantization, TPAMI 2011.
    Andre et al.: Quicker ADC, TPAMI 2021 (4-bit codes in registers).
    """
    import faiss

    count, dimension = vectors.shape
    index: faiss.Index
    if kind == "exact":
        index = faiss.IndexFlatIP(dimension)
    elif kind == "hnsw":
        graph = faiss.index_factory(dimension, f"HNSW{NEIGHBOURS},SQfp16", faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = CONSTRUCTION_LIST  # type: ignore[attr-defined]  # a graph, which its stubs do not say
        index = graph
    elif like is not None and kind_of(like) == kind and lists_of(like) == lists_for(count):
        index = faiss.clone_index(like)
        index.reset()
    else:
        index = _trained_lists(vectors)
    index.add(vectors)
    return index


def kind_of(index: faiss.Index) -> Kind | None:
    """The kind of a FAISS index; None if it is none of ours."""
    import faiss

    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        return None
    kinds: tuple[tuple[type, Kind], ...] = (
        (faiss.IndexFlat, "exact"),
        (faiss.IndexHNSW, "hnsw"),
        (faiss.IndexRefine, "ivfpq"),
    )
    return next((kind for type_, kind in kinds if isinstance(index, type_)), None)


def lists_for(count: int) -> int:
    """Lists for `count` vectors: the power of two under 4 sqrt(count), of 40 vectors at least."""
    return 1 << int(np.log2(max(1.0, min(4 * count**0.5, count / 40))))


def lists_of(index: faiss.Index) -> int:
    """Lists of an `ivfpq` index."""
    faiss = _faiss()
    return int(faiss.downcast_index(faiss.downcast_index(index).base_index).nlist)


def nearest(
    index: faiss.Index, query: FloatArray, n: int, allowed: BoolArray | None, config: IndexConfig
) -> RowArray:
    """At most `n` rows of the greatest inner product with `query` (d,), in no order.

    `allowed` (rows,) filters inside the search; None allows every row. Fewer than
    `n` rows come back only if fewer are allowed. Where few are, or many of them are
    asked for, they are all scored: the answer is then exact for every kind.
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
        rows = _shortlist(index, query, n, selector, count / total, config)
        if len(rows) == n:
            return rows
    return _found(store(index), query, n, faiss.SearchParameters(sel=selector) if selector else None)


def store(index: faiss.Index) -> faiss.Index:
    """The part that holds a vector per row."""
    import faiss

    if isinstance(index, faiss.IndexHNSW):
        return faiss.downcast_index(index.storage)
    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.refine_index)
    return index


def _shortlist(
    index: faiss.Index,
    query: FloatArray,
    n: int,
    selector: faiss.IDSelector | None,
    share: float,
    config: IndexConfig,
) -> RowArray:
    """Rows an approximate kind finds; it looks the farther the smaller the share of rows allowed."""
    faiss = _faiss()
    if isinstance(index, faiss.IndexHNSW):
        wide = int(max(config.ef_search, 2 * n) / share)
        parameters = faiss.SearchParametersHNSW(efSearch=wide, sel=selector)
    else:
        parameters = faiss.IndexRefineSearchParameters(
            k_factor=SHORTLIST,
            base_index_params=faiss.SearchParametersIVF(nprobe=int(config.nprobe / share**0.5), sel=selector),
        )
    return _found(index, query, n, parameters)


def _found(
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
    """Parts a vector is cut into for its code: of 2 values, or what `dimension` divides into."""
    return next(dimension // size for size in (2, 3, 1) if dimension % size == 0)


def _faiss() -> Any:
    """FAISS, whose stubs lack most of what its Python layer adds to constructors."""
    import faiss

    return faiss
