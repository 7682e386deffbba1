"""The channel `fields` compares attribute by attribute, and scores new items as any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from recsys.config.retrieval import FieldsConfig
from recsys.types import HistoryEntry, Item
from retrieval import ChannelRetriever, ItemRows, Query, Retriever
from retrieval.channels.fields import FieldsChannel
from tests.retrieval.contract import RetrieverContract

ITEMS = [
    Item(id="a", title="A", year=1990, attributes={"director": ("Ann",), "country": ("France",)}),
    Item(id="b", title="B", year=1990, attributes={"director": ("Ann",), "country": ("Spain",)}),
    Item(id="c", title="C", year=1999, attributes={"director": ("Bob",), "country": ("France",)}),
    Item(id="d", title="D", year=1999, attributes={"director": ("Bob",), "country": ("Spain",)}),
    Item(id="e", title="E"),
]


def scores(*history: HistoryEntry, **weights: float) -> dict[str, float]:
    retriever = ChannelRetriever("fields", FieldsChannel(FieldsConfig(weights=weights)), ItemRows(ITEMS))
    return {c.item.id: c.score for c in retriever.retrieve(Query(history=history), len(ITEMS))}


def liked(item: Item, like: bool = True) -> HistoryEntry:
    return HistoryEntry(item=item, liked=like)


class TestFields(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        return ChannelRetriever("fields", FieldsChannel(FieldsConfig()), ItemRows(items))


def test_an_item_scores_by_the_weights_of_what_it_shares() -> None:
    found = scores(liked(ITEMS[0]), director=2.0, country=0.5)
    assert found == pytest.approx({"a": 2.5, "b": 2.0, "c": 0.5, "d": 0.0, "e": 0.0})


def test_without_weights_every_attribute_and_the_year_count_alike() -> None:
    assert scores(liked(ITEMS[0])) == pytest.approx({"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0, "e": 0.0})


def test_what_a_disliked_item_has_counts_against() -> None:
    found = scores(liked(ITEMS[0]), liked(ITEMS[2], like=False), director=1.0)
    assert found["b"] > 0 > found["d"]


def test_dislikes_alone_and_an_empty_history_give_no_scores() -> None:
    assert not scores(liked(ITEMS[0], like=False))
    assert not scores()


def test_a_value_of_one_item_alone_tells_nothing() -> None:
    rare = [*ITEMS, Item(id="f", title="F", attributes={"director": ("Cid",)})]
    channel = FieldsChannel(FieldsConfig(weights={"director": 1.0}))
    retriever = ChannelRetriever("fields", channel, ItemRows(rare))
    assert {c.score for c in retriever.retrieve(Query(history=(liked(rare[-1]),)), 6)} == {0.0}


def test_numbers_are_compared_by_how_far_the_history_lies_from_the_mean() -> None:
    lengths = {"short": "20 words", "usual": "100 words", "long": "1,200 words", "none": ""}
    items = [
        Item(id=name, title=name, attributes={"words": (text,)} if text else {})
        for name, text in lengths.items()
    ]
    channel = FieldsChannel(FieldsConfig(weights={"words": 1.0}, numbers=("words",)))
    retriever = ChannelRetriever("fields", channel, ItemRows(items))
    ranked = retriever.retrieve(Query(history=(liked(items[2]),)), 4)
    assert [c.item.id for c in ranked] == ["long", "none", "usual", "short"]
    assert ranked[1].score == 0.0
    assert next(c.item.id for c in retriever.retrieve(Query(history=(liked(items[0]),)), 4)) == "short"


def test_a_number_that_no_item_has_changes_nothing() -> None:
    channel = FieldsChannel(FieldsConfig(weights={"words": 1.0}, numbers=("words",)))
    retriever = ChannelRetriever("fields", channel, ItemRows(ITEMS))
    assert {c.score for c in retriever.retrieve(Query(history=(liked(ITEMS[0]),)), 5)} == {0.0}
