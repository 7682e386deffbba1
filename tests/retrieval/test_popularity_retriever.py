from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recsys.types import Item
from retrieval import PopularityRetriever, Query, Retriever
from tests.retrieval.contract import RetrieverContract, make_items


class TestPopularityRetriever(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        return PopularityRetriever(items, counts)


def test_most_met_first_ties_by_id_never_met_last() -> None:
    retriever = PopularityRetriever(make_items(5), {"i4": 2, "i1": 9, "i2": 2, "gone": 50})
    candidates = retriever.retrieve(Query(), 10)
    assert [candidate.item.id for candidate in candidates] == ["i1", "i2", "i4", "i0", "i3"]
    assert [candidate.score for candidate in candidates] == [9, 2, 2, 0, 0]
    assert [candidate.channels["popularity"] for candidate in candidates] == [1, 2, 3, 4, 5]


def test_empty_catalogue_gives_nothing() -> None:
    assert PopularityRetriever([], {"i1": 3}).retrieve(Query(), 10) == []
