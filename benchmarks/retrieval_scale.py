"""Measure recall, latency, memory and build time of the text index.

    python -m benchmarks.retrieval_scale --out benchmarks/results/retrieval_scale.json

Items are generated: unit vectors in clusters of power-law sizes, each of low rank, so that nearest
neighbours mean something. Scales were chosen to agree with the packaged embedder on the 1,682 films
of MovieLens: mean cosine .40 there, .39 here; cosine of the first, tenth and hundredth neighbour
.72, .62, .53 there, .73, .66, .53 here. A query is a mix of two to eight items of one or two tastes,
as a history is.

`systems` are the kinds of `retrieval.text_index`, timed through `TextIndex.search`; `tried` are other
FAISS indexes, timed bare. Latency is one query at a time on one thread: by the clock, and by the
thread's CPU time, which other programs on the machine cannot lengthen. What the output already has is
not measured again, and indexes once built are kept in `--work`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from rich.progress import track

from benchmarks.environment import describe, write_json
from recsys.types import Item
from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.text_index.index import MOST_ADDED, TextIndex
from retrieval.text_index.kinds import TRAINED_PER_LIST, IndexConfig, Kind, lists_for, make
from retrieval.text_index.rows import FINGERPRINT_DTYPE, IndexRows
from retrieval.text_index.segment import IndexSegment

SEED = 7
DIMENSION = 384
CHUNK = 50_000
N_RESULTS = 100
"""Items per query: recall@100."""

QUERIES = 500
EXACT_QUERIES = 100
CONFIGS: dict[Kind, tuple[IndexConfig, ...]] = {
    "exact": (IndexConfig(kind="exact"),),
    "ivfpq": tuple(IndexConfig(kind="ivfpq", nprobe=lists) for lists in (64, 128, 256, 512, 1024)),
}
TRIED = (
    "IVF{more},PQ192x4fs,Refine(SQfp16)",
    "IVF{lists},PQ192x4fs,Refine(SQ8)",
    "IVF{lists},PQ192x4fs,RFlat",
    "IVF{lists},PQ96x4fs,RFlat",
    "OPQ192_384,IVF{lists},PQ192x4fs,RFlat",
    "IVF{lists},SQ8",
    "IVF{lists},RaBitQ,RFlat",
    "HNSW16,Flat",
    "HNSW32,Flat",
    "HNSW32,SQfp16",
    "HNSW32,SQ8",
)
"""Names for FAISS's index factory; {lists} as in `lists_for`, {more} twice that."""

TRIED_CONSTRUCTION = 100
"""Candidates for the links of an HNSW graph."""


class VectorGenerator:
    """Generates the item vectors of a catalogue, in chunks of a fixed seed each."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng([SEED, 0])
        clusters = int(np.clip(count // 500, 20, 2_000))
        sizes = 1 / (np.arange(clusters) + 10.0)
        self.count = count
        self._shares = sizes / sizes.sum()
        spectrum = (np.arange(DIMENSION) + 3.0) ** -0.45
        spectrum /= np.linalg.norm(spectrum)
        axes, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))
        offsets = rng.standard_normal((clusters, DIMENSION)) * spectrum
        self._centres = (0.62 * axes[:, 0] + 0.42 * offsets @ axes.T).astype(np.float32)
        weights = (np.arange(64) + 4.0) ** -0.25
        weights *= 0.6 / np.linalg.norm(weights)
        self._spread = np.empty((clusters, 64, DIMENSION), dtype=np.float32)
        for cluster in range(clusters):
            basis = (rng.standard_normal((64, DIMENSION)) * spectrum) @ axes.T
            self._spread[cluster] = weights[:, None] * basis / np.linalg.norm(basis, axis=1, keepdims=True)

    def vectors(self) -> FloatArray:
        """Generate unit vectors (count, 384), in no order."""
        vectors = np.empty((self.count, DIMENSION), dtype=np.float32)
        starts = range(0, self.count, CHUNK)
        for start in track(starts, description=f"{self.count:,} items"):
            vectors[start : start + CHUNK] = self._chunk(start, min(CHUNK, self.count - start))
        return vectors

    def _chunk(self, start: int, count: int) -> FloatArray:
        rng = np.random.default_rng([SEED, 1, start])
        cluster = np.sort(rng.choice(len(self._shares), count, p=self._shares))
        coordinates = rng.standard_normal((count, self._spread.shape[1]), dtype=np.float32)
        noise = rng.standard_normal((count, DIMENSION), dtype=np.float32)
        vectors = self._centres[cluster] + np.float32(0.2 / DIMENSION**0.5) * noise
        edges = np.flatnonzero(np.diff(cluster, prepend=-1, append=-1))
        for first, last in pairwise(edges):
            vectors[first:last] += coordinates[first:last] @ self._spread[cluster[first]]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors[rng.permutation(count)], dtype=np.float32)


def make_queries(vectors: FloatArray, count: int) -> FloatArray:
    """Generate unit vectors (count, d): mixes of two to eight items, and noise.

    The items are near one or two anchors.
    """
    rng = np.random.default_rng([SEED, 2])
    queries = np.empty((count, DIMENSION), dtype=np.float32)
    for number in range(count):
        pool = vectors[rng.integers(0, len(vectors), 2_000)]
        anchors = vectors[rng.integers(0, len(vectors), rng.integers(1, 3))]
        likeness = np.argsort(-(pool @ anchors.T), axis=0)[:20]
        length = int(rng.integers(2, 9))
        liked = pool[[likeness[rng.integers(0, 20), entry % len(anchors)] for entry in range(length)]]
        mix = 0.5 ** (np.arange(length) / 10) @ liked
        mix = mix / np.linalg.norm(mix) + 0.1 / DIMENSION**0.5 * rng.standard_normal(DIMENSION)
        queries[number] = mix / np.linalg.norm(mix)
    return queries


def make_filters(vectors: FloatArray) -> dict[str, BoolArray | None]:
    """Allow all rows; 1 % and 50 % at random; 10 % that lie in one direction."""
    rng = np.random.default_rng([SEED, 3])
    chance = rng.random(len(vectors))
    along = vectors @ rng.standard_normal(DIMENSION).astype(np.float32)
    return {
        "none": None,
        "1 % at random": chance < 0.01,
        "50 % at random": chance < 0.5,
        "10 % that lie together": along > np.quantile(along, 0.9),
    }


@dataclasses.dataclass(frozen=True)
class SyntheticCatalog:
    """One size of catalogue, with queries and their true results."""

    vectors: FloatArray  # (n, d)
    queries: FloatArray  # (q, d)
    filters: dict[str, BoolArray | None]
    truth: dict[str, RowArray]  # (q, at most 100), under each filter

    @classmethod
    def generate(cls, count: int) -> SyntheticCatalog:
        """Generate `count` items, and search them exactly."""
        vectors = VectorGenerator(count).vectors()
        queries, filters = make_queries(vectors, QUERIES), make_filters(vectors)
        exact = faiss.IndexFlatIP(DIMENSION)
        truth = {}
        for name, allowed in filters.items():
            rows = np.arange(count) if allowed is None else np.flatnonzero(allowed)
            exact.reset()
            exact.add(vectors if allowed is None else vectors[rows])
            truth[name] = rows[exact.search(queries, min(N_RESULTS, len(rows)))[1]]
        return cls(vectors, queries, filters, truth)

    def measure(
        self, search: Callable[[FloatArray], RowArray], filtered: str, queries: int
    ) -> dict[str, float]:
        """Measure recall and latency (milliseconds) of `search`, one query at a time."""
        correct, clock, busy = 0, [], []
        for number, query in enumerate(self.queries[:queries]):
            begun, begun_busy = time.perf_counter(), time.thread_time()
            rows = search(query)
            clock.append(time.perf_counter() - begun)
            busy.append(time.thread_time() - begun_busy)
            correct += len(np.intersect1d(rows, self.truth[filtered][number]))
        return {
            f"recall@{N_RESULTS}": round(correct / self.truth[filtered][:queries].size, 4),
            **{f"p{p}_ms": round(1e3 * float(np.percentile(clock, p)), 3) for p in (50, 99)},
            **{f"p{p}_cpu_ms": round(1e3 * float(np.percentile(busy, p)), 3) for p in (50, 99)},
        }


def built(path: Path, threads: int, build: Callable[[], faiss.Index]) -> tuple[faiss.Index, dict[str, Any]]:
    """Load the index at `path`, or build it there; also return build time and size."""
    facts_path = path.with_suffix(".json")
    if not facts_path.is_file():
        faiss.omp_set_num_threads(threads)
        begun, begun_busy = time.perf_counter(), time.process_time()
        index = build()
        facts = {
            "build_s": round(time.perf_counter() - begun, 1),
            "build_cpu_s": round(time.process_time() - begun_busy, 1),
            "build_threads": threads,
        }
        faiss.write_index(index, str(path))
        facts_path.write_text(json.dumps(facts | {"bytes": path.stat().st_size}))
    return faiss.read_index(str(path)), json.loads(facts_path.read_text())


def measure_kind(catalog: SyntheticCatalog, kind: Kind, path: Path, threads: int) -> dict[str, Any]:
    """Measure a kind of the text index under every parameter and filter."""
    index, facts = built(path, threads, lambda: make(catalog.vectors, kind))
    ids = tuple(f"{row:08}" for row in range(len(catalog.vectors)))
    base = IndexSegment(ids, np.zeros(len(ids), dtype=FINGERPRINT_DTYPE), index, kind)
    faiss.omp_set_num_threads(1)
    runs = []
    for config in CONFIGS[kind]:
        text_index = index_of(base, config)
        for name, allowed in catalog.filters.items():

            def search(query: FloatArray, index: TextIndex = text_index, allowed: Any = allowed) -> RowArray:
                return np.array(
                    [int(item_id) for item_id in index.search(query, N_RESULTS, allowed=allowed)[0]]
                )

            queries = EXACT_QUERIES if kind == "exact" else QUERIES
            runs.append({**_parameter(config), "filter": name, **catalog.measure(search, name, queries)})
            print(kind, runs[-1])
    changes = {}
    if len(base) >= 10 * MOST_ADDED:
        changes = {"changes": measure_changes(base, IndexConfig(kind=kind), catalog)}
        print(kind, changes)
    return facts | {"runs": runs} | changes


def measure_changes(base: IndexSegment, config: IndexConfig, catalog: SyntheticCatalog) -> dict[str, float]:
    """Measure the cost of adding and deleting ten items, searching and compacting."""

    class OtherVectors:
        name, dimension = "", DIMENSION

        def embed(self, texts: Sequence[str]) -> FloatArray:
            chosen = np.random.default_rng([SEED, 5, len(texts)]).integers(
                0, len(catalog.vectors), len(texts)
            )
            return catalog.vectors[chosen[::-1]]

    def timed(change: Callable[[], TextIndex]) -> tuple[TextIndex, float]:
        begun = time.thread_time()
        return change(), round(time.thread_time() - begun, 4)

    items = [Item(id=f"new {number}", title=str(number)) for number in range(MOST_ADDED)]
    index = index_of(base, config)
    full, _ = timed(lambda: index.with_items(items[10:], OtherVectors()))
    _, add = timed(lambda: full.with_items(items[:10], OtherVectors()))
    fewer, drop = timed(lambda: full.without(base.ids[:10]))
    busy = []
    for query in catalog.queries:
        begun = time.thread_time()
        fewer.search(query, N_RESULTS)
        busy.append(time.thread_time() - begun)
    _, compact = timed(fewer.compact)
    return {
        "added": len(items) - 10,
        "add_10_cpu_s": add,
        "drop_10_cpu_s": drop,
        "search_p50_cpu_ms": round(1e3 * float(np.percentile(busy, 50)), 3),
        "search_p99_cpu_ms": round(1e3 * float(np.percentile(busy, 99)), 3),
        "compact_cpu_s": compact,
    }


def index_of(base: IndexSegment, config: IndexConfig) -> TextIndex:
    """Return a text index that is all base."""
    added, alive = IndexSegment.of(IndexRows.empty(DIMENSION), "exact"), np.ones(len(base), dtype=np.bool_)
    return TextIndex(base, added, alive, embedder_name="", config=config)


def measure_tried(catalog: SyntheticCatalog, factory: str, path: Path, threads: int) -> dict[str, Any]:
    """Measure any FAISS index, unfiltered."""

    def build() -> faiss.Index:
        index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
        if isinstance(index, faiss.IndexHNSW):
            index.hnsw.efConstruction = TRIED_CONSTRUCTION
        rng = np.random.default_rng([SEED, 4])
        count = len(catalog.vectors)
        sample = min(count, TRAINED_PER_LIST * 2 * lists_for(count))
        index.train(catalog.vectors[np.sort(rng.choice(count, sample, replace=False))])
        index.add(catalog.vectors)
        return index

    index, facts = built(path, threads, build)
    faiss.omp_set_num_threads(1)
    runs = []
    for parameters in _search_parameters(factory):
        faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]  # wrong in its stubs

        def search(query: FloatArray) -> RowArray:
            rows: RowArray = index.search(query[None], N_RESULTS)[1][0]
            return rows

        runs.append({"parameters": parameters, **catalog.measure(search, "none", QUERIES)})
        print(factory, runs[-1])
    return facts | {"runs": runs}


def _search_parameters(factory: str) -> Iterator[str]:
    if factory.startswith("HNSW"):
        yield from (f"efSearch={ef}" for ef in (128, 256, 512))
    elif "," in factory.replace(",SQ8", "") and factory.endswith((")", "RFlat")):
        yield from (f"nprobe={lists},k_factor_rf={more}" for lists in (64, 128, 256) for more in (4, 8))
    else:
        yield from (f"nprobe={lists}" for lists in (64, 128, 256))


def _parameter(config: IndexConfig) -> dict[str, int]:
    return {"nprobe": config.nprobe} if config.kind == "ivfpq" else {}


def needed_gib(count: int) -> float:
    """Estimate memory: vectors, an exact index of them, and as much again to build."""
    return round(3 * 4 * count * DIMENSION / 2**30, 1)


def main() -> None:
    """Measure what the output does not have yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--kinds", nargs="*", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument(
        "--tried", type=int, nargs="*", default=[1_000_000], help="sizes to try other indexes at"
    )
    parser.add_argument("--threads", type=int, default=2, help="while building")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "whyrec-retrieval-scale")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/retrieval_scale.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)

    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    result |= {"environment": describe(), "seed": SEED, "dimension": DIMENSION, "queries": QUERIES}
    for size in options.sizes:
        part = result.setdefault("sizes", {}).setdefault(str(size), {})
        available = psutil.virtual_memory().available / 2**30
        if needed_gib(size) > available:
            part["not_run"] = f"would need {needed_gib(size)} GiB, {available:.1f} GiB are free"
            write_json(options.out, result)
            continue
        kinds, factories = _missing(part, size, options)
        if not kinds and not factories:
            continue
        catalog = SyntheticCatalog.generate(size)
        for kind in kinds:
            part["systems"][kind] = measure_kind(catalog, kind, _path(options, size, kind), options.threads)
            write_json(options.out, result)
        for factory in factories:
            path = _path(options, size, factory)
            part["tried"][factory] = measure_tried(catalog, factory, path, options.threads)
            write_json(options.out, result)


def _missing(part: dict[str, Any], size: int, options: argparse.Namespace) -> tuple[list[Kind], list[str]]:
    """Return the kinds and FAISS factories not yet measured at this size."""
    systems = part.setdefault("systems", {})
    kinds = [kind for kind in options.kinds if IndexConfig(kind=kind).kind_for(size) == kind]
    if size not in options.tried:
        return [kind for kind in kinds if kind not in systems], []
    tried = part.setdefault("tried", {})
    names = [name.format(lists=lists_for(size), more=2 * lists_for(size)) for name in TRIED]
    return [kind for kind in kinds if kind not in systems], [name for name in names if name not in tried]


def _path(options: argparse.Namespace, size: int, name: str) -> Path:
    path: Path = options.work / f"{size}-{name.replace(',', '_')}.faiss"
    return path


if __name__ == "__main__":
    main()
