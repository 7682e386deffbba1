"""What every retriever must do, and the small catalogue it is tested with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.types import HistoryEntry, Item
from retrieval import Query, Retriever
from retrieval.arrays import FloatArray

CATALOGUE = 150


class HashEmbedder:
    """Vectors that depend on the text alone; `texts` records what was embedded."""

    def __init__(self, name: str = "hash", dimension: int = 16) -> None:
        self.name, self.dimension = name, dimension
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> FloatArray:
        self.texts.extend(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            vectors[row] = np.random.default_rng(seed).normal(size=self.dimension)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / norms).astype(np.float32) if len(texts) else vectors


def make_items(n: int) -> list[Item]:
    return [Item(id=f"i{number}", title=f"Title {number}") for number in range(n)]


def make_counts(items: Sequence[Item]) -> dict[str, int]:
    """Distinct interaction counts for two items of three; the third has none."""
    return {item.id: 7 * number % 101 for number, item in enumerate(items) if number % 3}


def history(*items: Item, liked: bool | None = True) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(item=item, liked=liked) for item in items)


class RetrieverContract:
    """Mix into a test class that makes the retriever."""

    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        raise NotImplementedError

    @pytest.fixture
    def items(self) -> list[Item]:
        return make_items(CATALOGUE)

    @pytest.fixture
    def query(self, items: list[Item]) -> Query:
        return Query(history=history(items[3], items[5]), wish="a wish")

    @pytest.fixture
    def retriever(self, items: list[Item], tmp_path: Path) -> Retriever:
        return self.make(items, make_counts(items), tmp_path)

    @pytest.mark.parametrize("n", [1, 20, 120])
    def test_list_is_full_and_without_duplicates(self, retriever: Retriever, query: Query, n: int) -> None:
        ids = [candidate.item.id for candidate in retriever.retrieve(query, n)]
        assert len(ids) == n
        assert len(set(ids)) == n

    def test_more_than_the_catalogue_gives_all_of_it(
        self, retriever: Retriever, query: Query, items: list[Item]
    ) -> None:
        ids = {candidate.item.id for candidate in retriever.retrieve(query, 10 * CATALOGUE)}
        assert ids == {item.id for item in items}

    def test_zero_candidates_can_be_requested(self, retriever: Retriever, query: Query) -> None:
        assert retriever.retrieve(query, 0) == []

    def test_best_comes_first_and_ranks_count_from_one(self, retriever: Retriever, query: Query) -> None:
        candidates = retriever.retrieve(query, 50)
        scores = [candidate.score for candidate in candidates]
        assert scores == sorted(scores, reverse=True)
        assert all(rank >= 1 for candidate in candidates for rank in candidate.channels.values())
        assert all(candidate.source in candidate.channels for candidate in candidates)

    def test_shorter_list_is_the_start_of_a_longer_one(self, retriever: Retriever, query: Query) -> None:
        assert retriever.retrieve(query, 5) == retriever.retrieve(query, 20)[:5]

    def test_excluded_items_never_appear_and_the_list_stays_full(
        self, retriever: Retriever, query: Query
    ) -> None:
        before = retriever.retrieve(query, 20)
        excluded = frozenset(candidate.item.id for candidate in before)
        after = retriever.retrieve(Query(query.history, query.wish, excluded), 20)
        assert len(after) == 20
        assert excluded.isdisjoint(candidate.item.id for candidate in after)

    def test_all_but_one_excluded_gives_that_one(
        self, retriever: Retriever, query: Query, items: list[Item]
    ) -> None:
        excluded = frozenset(item.id for item in items if item.id != "i42")
        candidates = retriever.retrieve(Query(query.history, query.wish, excluded), 20)
        assert [candidate.item.id for candidate in candidates] == ["i42"]

    def test_all_excluded_gives_nothing(self, retriever: Retriever, query: Query, items: list[Item]) -> None:
        excluded = frozenset(item.id for item in items)
        assert retriever.retrieve(Query(query.history, query.wish, excluded), 20) == []

    def test_excluding_an_unknown_id_changes_nothing(self, retriever: Retriever, query: Query) -> None:
        elsewhere = Query(query.history, query.wish, frozenset({"not in the catalogue"}))
        assert retriever.retrieve(elsewhere, 20) == retriever.retrieve(query, 20)

    def test_same_query_gives_the_same_list(
        self, retriever: Retriever, query: Query, items: list[Item], tmp_path: Path
    ) -> None:
        again = self.make(list(reversed(items)), make_counts(items), tmp_path / "again")
        assert retriever.retrieve(query, 50) == again.retrieve(query, 50)

    def test_catalogue_of_one(self, query: Query, tmp_path: Path) -> None:
        retriever = self.make(make_items(1), {}, tmp_path / "one")
        assert [candidate.item.id for candidate in retriever.retrieve(query, 20)] == ["i0"]
