"""Filters, and compressed lists, which do not score every item."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from recsys.errors import RequestError
from recsys.types import Item
from retrieval import TextIndex, open_or_build
from retrieval.arrays import FloatArray, RowArray
from retrieval.text_index import gpu
from retrieval.text_index.kinds import EXACT_UP_TO, FEW, IndexConfig, Kind, lists_for
from tests.retrieval.contract import HashEmbedder, make_items

COUNT, CLUSTERS, DIMENSION = 12_000, 60, 32
KINDS: tuple[Kind, ...] = ("exact", "ivfpq")


class ClusterEmbedder:
    """The title's number decides the cluster and the place in it."""

    name, dimension = "cluster", DIMENSION

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        centres = rng.normal(size=(CLUSTERS, DIMENSION))
        vectors = centres[np.arange(2 * COUNT) % CLUSTERS] + 0.7 * rng.normal(size=(2 * COUNT, DIMENSION))
        self.vectors: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
            np.float32
        )

    def embed(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self.vectors[int(text)] for text in texts])


EMBEDDER = ClusterEmbedder()


def numbered(*numbers: int) -> list[Item]:
    return [Item(id=f"{number:05}", title=str(number)) for number in numbers]


@pytest.fixture(scope="module")
def indexes() -> dict[Kind, TextIndex]:
    items = numbered(*range(COUNT))
    return {kind: TextIndex.build(items, EMBEDDER, config=IndexConfig(kind=kind)) for kind in KINDS}


@pytest.fixture
def lists(indexes: dict[Kind, TextIndex]) -> TextIndex:
    return indexes["ivfpq"]


def queries(n: int) -> FloatArray:
    rng = np.random.default_rng(2)
    mixed = EMBEDDER.vectors[rng.integers(0, COUNT, n)] + EMBEDDER.vectors[rng.integers(0, COUNT, n)]
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.01])
def test_lists_find_nine_of_ten_under_any_filter(indexes: dict[Kind, TextIndex], share: float) -> None:
    assert indexes["ivfpq"].kind == "ivfpq"
    allowed = np.random.default_rng(3).random(COUNT) < share if share < 1 else None
    correct = 0
    for query in queries(30):
        ids, _ = indexes["ivfpq"].search(query, 50, allowed=allowed)
        truth, _ = indexes["exact"].search(query, 50, allowed=allowed)
        assert len(ids) == len(set(ids)) == 50
        assert allowed is None or all(allowed[int(item_id)] for item_id in ids)
        correct += len(set(ids) & set(truth))
    assert correct / (30 * 50) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_list_is_full_where_all_that_is_allowed_lies_far_away(
    indexes: dict[Kind, TextIndex], kind: Kind
) -> None:
    """Scanning only the lists nearest to the query would find too few."""
    query = queries(1)[0]
    far = np.zeros(COUNT, dtype=np.bool_)
    far[np.argsort(EMBEDDER.vectors[:COUNT] @ query)[: FEW + 500]] = True
    for n in (10, 100, 2_000):
        ids, _ = indexes[kind].search(query, n, allowed=far)
        assert len(set(ids)) == n
        assert all(far[int(item_id)] for item_id in ids)


@pytest.mark.parametrize("kind", KINDS)
def test_few_allowed_items_are_found_exactly(indexes: dict[Kind, TextIndex], kind: Kind) -> None:
    allowed = np.zeros(COUNT, dtype=np.bool_)
    allowed[[7, 70, 700, 7_000]] = True
    query = queries(1)[0]
    best = sorted([7, 70, 700, 7_000], key=lambda number: -float(EMBEDDER.vectors[number] @ query))
    assert indexes[kind].search(query, 3, allowed=allowed)[0] == [f"{number:05}" for number in best[:3]]
    assert len(indexes[kind].search(query, 100, allowed=allowed)[0]) == 4
    assert len(indexes[kind].search(query, 100, {"00007", "00070"}, allowed)[0]) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_filter_that_allows_nothing_gives_nothing(indexes: dict[Kind, TextIndex], kind: Kind) -> None:
    ids, scores = indexes[kind].search(queries(1)[0], 5, allowed=np.zeros(COUNT, dtype=np.bool_))
    assert ids == []
    assert scores.shape == (0,)


def test_scores_are_the_products_with_the_vectors_given_out(lists: TextIndex) -> None:
    query = queries(1)[0]
    ids, scores = lists.search(query, 20)
    assert scores == pytest.approx(lists.vectors(ids) @ query, abs=1e-6)
    assert scores == pytest.approx([EMBEDDER.vectors[int(item_id)] @ query for item_id in ids], abs=1e-3)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_lists_take_and_drop_items_and_survive_saving(lists: TextIndex, tmp_path: Path) -> None:
    query = EMBEDDER.vectors[COUNT + 5]
    best = lists.search(query, 5)[0]
    changed = lists.with_items(numbered(COUNT + 5), EMBEDDER).without(best[:1])
    assert changed.search(query, 3)[0] == [f"{COUNT + 5:05}", *best[1:3]]
    changed.save(tmp_path / "index")
    opened = TextIndex.open(tmp_path / "index", embedder_name="cluster", config=IndexConfig(kind="ivfpq"))
    assert opened.kind == "ivfpq"
    assert opened.search(query, 3)[0] == [f"{COUNT + 5:05}", *best[1:3]]
    assert best[0] not in opened


def test_every_item_is_listed_by_lists_too(indexes: dict[Kind, TextIndex]) -> None:
    for index in indexes.values():
        assert sorted(index.search(queries(1)[0], COUNT + 1)[0]) == list(index.ids)


def test_another_kind_is_made_from_the_saved_vectors(tmp_path: Path) -> None:
    items = numbered(*range(FEW + 1))
    open_or_build(tmp_path / "index", items, EMBEDDER)

    class Unloaded(ClusterEmbedder):
        def embed(self, texts: Sequence[str]) -> FloatArray:
            raise AssertionError("the model was loaded")

    config = IndexConfig(kind="ivfpq")
    index, reason = open_or_build(tmp_path / "index", items, Unloaded(), config=config)
    assert (index.kind, reason) == ("ivfpq", "held as 'ivfpq', until now as 'exact'")
    assert open_or_build(tmp_path / "index", items, Unloaded(), config=config)[1] == ""


def test_index_on_a_gpu_answers_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the GPU: what FAISS does there cannot be seen here."""
    import faiss

    on_gpu = threading.Event()

    class Gpu:
        def __init__(self, index: faiss.IndexFlat) -> None:
            self._index, self.ntotal = index, index.ntotal

        def search(self, query: FloatArray, n: int) -> tuple[FloatArray, RowArray]:
            on_gpu.set()
            scores, rows = self._index.search(query, n)
            return scores, rows

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda resources, gpu, index: Gpu(index), raising=False)
    monkeypatch.setattr(gpu, "MIN_ROWS", 10)
    items = make_items(3_000)
    moved, query = TextIndex.build(items, HashEmbedder()), HashEmbedder().embed(["a wish"])[0]
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    plain = TextIndex.build(items, HashEmbedder())
    most, few = np.arange(3_000) % 3 > 0, np.arange(3_000) % 50 == 0  # a GPU search cannot filter so many
    for n, excluded, allowed in ((5, (), None), (50, plain.ids[:9], None), (50, (), most), (70, (), few)):
        ids, scores = moved.search(query, n, excluded, allowed)
        expected_ids, expected_scores = plain.search(query, n, excluded, allowed)
        assert (ids, scores.tolist()) == (expected_ids, expected_scores.tolist())
    assert on_gpu.is_set()


def test_kind_follows_the_number_of_items() -> None:
    auto = IndexConfig()
    assert [auto.kind_for(count) for count in (1, EXACT_UP_TO, EXACT_UP_TO + 1)] == [
        "exact",
        "exact",
        "ivfpq",
    ]
    lists = IndexConfig(kind="ivfpq")
    assert [lists.kind_for(count) for count in (1, FEW, FEW + 1)] == ["exact", "exact", "ivfpq"]
    assert IndexConfig(kind="exact").kind_for(10**9) == "exact"


def test_index_that_shrinks_below_the_least_size_of_lists_becomes_exact(lists: TextIndex) -> None:
    small = lists.without(lists.ids[100:]).compact()
    assert (small.kind, len(small)) == ("exact", 100)


def test_lists_grow_with_the_catalogue_in_powers_of_two() -> None:
    assert [lists_for(count) for count in (1, 80, 10_000, 100_000, 1_000_000)] == [1, 2, 128, 1_024, 2_048]


@pytest.mark.parametrize("wrong", [{"kind": "tree"}, {"kind": "hnsw"}, {"nprobe": -1}, {"probes": 3}])
def test_wrong_config_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IndexConfig.model_validate(wrong)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.full(16, np.nan), "not finite"),
        (np.full(16, np.inf), "not finite"),
        (np.ones(15), "shape"),
        (np.ones((1, 16)), "shape"),
        (np.ones(0), "shape"),
    ],
)
def test_query_that_is_no_vector_of_the_index_is_a_request_error(vector: FloatArray, message: str) -> None:
    index = TextIndex.build(make_items(5), HashEmbedder())
    with pytest.raises(RequestError, match=message):
        index.search(vector.astype(np.float32), 3)


@pytest.mark.parametrize(
    "allowed", [np.ones(4, dtype=np.bool_), np.ones(5, dtype=np.int64), np.ones((5, 1), dtype=np.bool_)]
)
def test_filter_of_another_shape_or_type_is_a_request_error(
    allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> None:
    index = TextIndex.build(make_items(5), HashEmbedder())
    with pytest.raises(RequestError, match="`allowed`"):
        index.search(np.ones(16, dtype=np.float32), 3, allowed=allowed)
