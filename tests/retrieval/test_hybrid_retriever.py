from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from recsys.config import RetrieverConfig
from recsys.errors import ConfigError, RequestError
from recsys.types import Candidate, Item
from retrieval import HybridRetriever, Query, Retriever, build_retriever
from tests.retrieval.contract import HashEmbedder, RetrieverContract, history, make_counts, make_items

ITEMS = make_items(200)


class TestHybridRetriever(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        return build_retriever(items, counts, HashEmbedder(), RetrieverConfig(), folder / "index", "data")[0]


class FixedRetriever:
    """Returns the items it was given, and remembers how many it was asked for."""

    def __init__(self, *numbers: int, because: Mapping[str, float] | None = None) -> None:
        self.candidates = [
            Candidate(item=ITEMS[number], score=1.0, source="fixed", because=because or {})
            for number in numbers
        ]
        self.asked: list[int] = []

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        self.asked.append(n)
        return self.candidates[:n]


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.item.id for candidate in candidates]


def test_score_is_the_weighted_sum_of_reciprocal_ranks() -> None:
    a, b = FixedRetriever(1, 2), FixedRetriever(2, 3)
    candidates = HybridRetriever({"a": (a, 2.0), "b": (b, 1.0)}, rrf_k=60).retrieve(Query(), 3)
    assert ids(candidates) == ["i2", "i1", "i3"]
    assert [candidate.score for candidate in candidates] == pytest.approx([2 / 62 + 1 / 61, 2 / 61, 1 / 62])
    assert candidates[0].channels == {"a": 2, "b": 1}
    assert [candidate.source for candidate in candidates] == ["a", "a", "b"]


def test_ties_are_ordered_by_item_id() -> None:
    hybrid = HybridRetriever({"a": (FixedRetriever(9, 4), 1.0), "b": (FixedRetriever(4, 9), 1.0)}, rrf_k=1)
    assert ids(hybrid.retrieve(Query(), 2)) == ["i4", "i9"]


def test_middling_in_both_channels_beats_best_in_one() -> None:
    a, b = FixedRetriever(*range(50)), FixedRetriever(*range(100, 149), 49)
    assert ids(HybridRetriever({"a": (a, 1.0), "b": (b, 1.0)}, rrf_k=60).retrieve(Query(), 1)) == ["i49"]


def test_channel_without_weight_is_not_asked() -> None:
    silent = FixedRetriever(1)
    hybrid = HybridRetriever({"silent": (silent, 0.0), "b": (FixedRetriever(2), 1.0)}, rrf_k=60)
    assert ids(hybrid.retrieve(Query(), 5)) == ["i2"]
    assert silent.asked == []


def test_channels_are_asked_for_more_than_is_wanted() -> None:
    channel = FixedRetriever(*range(200))
    hybrid = HybridRetriever({"a": (channel, 1.0)}, rrf_k=60)
    hybrid.retrieve(Query(), 3)
    hybrid.retrieve(Query(), 40)
    assert channel.asked == [100, 200]


def test_because_is_kept_from_the_channel_that_says_it() -> None:
    telling = FixedRetriever(1, because={"h": 0.5})
    channels = {"telling": (telling, 1.0), "other": (FixedRetriever(1, 2), 1.0)}
    for order in (channels, dict(reversed(channels.items()))):
        candidates = HybridRetriever(order, rrf_k=60).retrieve(Query(), 2)
        assert [dict(candidate.because) for candidate in candidates] == [{"h": 0.5}, {}]


def test_no_channel_with_weight_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no retrieval channel"):
        HybridRetriever({"a": (FixedRetriever(1), 0.0)}, rrf_k=60)


def test_unknown_person_without_a_wish_gets_popular_items(tmp_path: Path) -> None:
    counts = make_counts(ITEMS)
    hybrid, _ = build_retriever(ITEMS, counts, HashEmbedder(), RetrieverConfig(), tmp_path / "index", "data")
    candidates = hybrid.retrieve(Query(), 20)
    assert len(candidates) == 20
    assert {candidate.source for candidate in candidates} == {"popularity"}
    met = [counts.get(candidate.item.id, 0) for candidate in candidates]
    assert met == sorted(met, reverse=True)


def test_building_says_why_once_and_opens_silently_after(tmp_path: Path) -> None:
    embedder, config, folder = HashEmbedder(), RetrieverConfig(), tmp_path / "index"
    steps: list[tuple[int, int]] = []
    first, reason = build_retriever(
        ITEMS, {}, embedder, config, folder, "data", progress=lambda done, total: steps.append((done, total))
    )
    assert "there is none" in reason
    assert steps[-1] == (200, 200)
    embedder.texts.clear()
    second, reason = build_retriever(ITEMS, {}, embedder, config, folder, "data")
    assert reason == ""
    assert embedder.texts == []
    query = Query(history(ITEMS[7]), "a wish")
    assert first.retrieve(query, 20) == second.retrieve(query, 20)


def test_without_text_weight_nothing_is_embedded(tmp_path: Path) -> None:
    embedder, folder = HashEmbedder(), tmp_path / "index"
    hybrid, reason = build_retriever(ITEMS, {}, embedder, RetrieverConfig(text_weight=0), folder, "data")
    assert len(hybrid.retrieve(Query(wish="a wish"), 20)) == 20
    assert (reason, embedder.texts, folder.exists()) == ("", [], False)


def test_empty_catalogue_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="empty catalogue"):
        build_retriever([], {}, HashEmbedder(), RetrieverConfig(), tmp_path / "index", "data")
