from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.retrieval import TextConfig
from recsys.types import Candidate, HistoryEntry, Item
from retrieval import (
    ChannelRetriever,
    ItemRows,
    Query,
    Retriever,
    SentenceEmbedder,
    TextChannel,
    TextIndex,
    item_text,
)
from retrieval.arrays import FloatArray
from retrieval.channels.text import shown_items
from tests.retrieval.contract import HashEmbedder, RetrieverContract, history, make_items

ITEMS = make_items(60)


def text_retriever(
    items: Sequence[Item] = ITEMS, embedder: HashEmbedder | SentenceEmbedder | None = None, **config: float
) -> ChannelRetriever:
    embedder = embedder or HashEmbedder()
    index = TextIndex.build(items, embedder)
    return ChannelRetriever("text", TextChannel(index, embedder, TextConfig(**config)), ItemRows(items))


class TestTextRetriever(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        return text_retriever(items)


class AxisEmbedder:
    """The text's leading letter is the axis it points along: a, b, c or d."""

    name, dimension = "axis", 4

    def embed(self, texts: Sequence[str]) -> FloatArray:
        return np.eye(4, dtype=np.float32)[["abcd".index(text[0]) for text in texts]]


def scores(query: Query, **config: float) -> dict[str, float]:
    """Score of each axis item for a query."""
    items = [Item(id=letter, title=letter) for letter in "abcd"]
    embedder = AxisEmbedder()
    index = TextIndex.build(items, embedder)
    channel = TextChannel(index, embedder, TextConfig(**config))
    retriever = ChannelRetriever("text", channel, ItemRows(items))
    return {candidate.item.id: candidate.score for candidate in retriever.retrieve(query, 4)}


def entry(letter: str, liked: bool | None = True) -> HistoryEntry:
    return HistoryEntry(item=Item(id=letter, title=letter), liked=liked)


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.item.id for candidate in candidates]


def test_without_history_and_wish_there_are_no_candidates() -> None:
    assert text_retriever().retrieve(Query(), 10) == []
    assert text_retriever().retrieve(Query(wish="  \n"), 10) == []


def test_dislikes_alone_give_no_direction() -> None:
    assert text_retriever().retrieve(Query(history(ITEMS[1], ITEMS[2], liked=False)), 10) == []


def test_like_that_is_taken_back_still_counts() -> None:
    cosine = scores(Query((entry("a"), entry("a", liked=False))))
    assert cosine["a"] == pytest.approx(1.0)


def test_newer_history_weighs_more() -> None:
    cosine = scores(Query((entry("a"), entry("b"))), half_life=1.0)
    assert cosine["b"] == pytest.approx(2 * cosine["a"])


def test_endless_half_life_means_no_decay() -> None:
    cosine = scores(Query(tuple(entry(letter) for letter in "ab")), half_life=float("inf"))
    assert cosine["a"] == pytest.approx(cosine["b"])


def test_unknown_liking_counts_as_mildly_liked() -> None:
    cosine = scores(Query((entry("a", liked=None), entry("b"))), half_life=1e9)
    assert cosine["a"] == pytest.approx(cosine["b"] / 2)


def test_disliked_history_is_pushed_away() -> None:
    cosine = scores(Query((entry("a"), entry("b", liked=False))))
    assert cosine["b"] < cosine["c"] < cosine["a"]


def test_many_dislikes_do_not_drown_one_like() -> None:
    """Summing all once made the dislikes the direction, and the farthest item best."""
    cosine = scores(Query((entry("a"), *(entry("b", liked=False) for _ in range(30)))))
    assert max(cosine, key=cosine.__getitem__) == "a"
    assert cosine["a"] > 0.9


@pytest.mark.parametrize("wish_weight", [0.2, 0.5, 0.9])
def test_wish_takes_its_weight_and_history_the_rest(wish_weight: float) -> None:
    cosine = scores(Query((entry("a"),), wish="b"), wish_weight=wish_weight)
    assert cosine["b"] / cosine["a"] == pytest.approx(wish_weight / (1 - wish_weight), rel=1e-4)


def test_wish_without_history_is_the_whole_query() -> None:
    cosine = scores(Query(wish="c"), wish_weight=0.3)
    assert cosine["c"] == pytest.approx(1.0)


def test_wish_of_no_weight_is_not_even_embedded() -> None:
    embedder = HashEmbedder()
    retriever = text_retriever(embedder=embedder, wish_weight=0)
    embedder.texts.clear()
    with_wish = retriever.retrieve(Query(history(ITEMS[1]), wish="a wish"), 10)
    assert with_wish == retriever.retrieve(Query(history(ITEMS[1])), 10)
    assert embedder.texts == []


@pytest.mark.parametrize("wish", ["", "a wish"])
def test_shares_add_up_to_the_history_part_of_the_score(wish: str) -> None:
    embedder = HashEmbedder()
    retriever = text_retriever(embedder=embedder, wish_weight=0.6, half_life=3.0)
    liking = [True, None, False, True, None, True]
    past = tuple(HistoryEntry(item=item, liked=like) for item, like in zip(ITEMS, liking, strict=False))
    past += (past[0],)
    candidates = retriever.retrieve(Query(past, wish), 60)
    assert len(candidates) == 60

    remainder = np.array([c.score - sum(c.contributions.values()) for c in candidates])
    if not wish:
        assert remainder == pytest.approx(np.zeros(60), abs=1e-5)
        return
    vectors = embedder.embed([item_text(c.item) for c in candidates])
    toward_wish = vectors @ embedder.embed([wish])[0]
    factor = float(remainder @ toward_wish / (toward_wish @ toward_wish))
    assert factor > 0
    assert remainder == pytest.approx(factor * toward_wish, abs=1e-5)


def test_shares_name_each_history_item_once_and_those_of_dislikes_are_negative() -> None:
    past = (*history(ITEMS[1], ITEMS[2]), *history(ITEMS[1]), *history(ITEMS[3], liked=False))
    candidates = {c.item.id: c for c in text_retriever().retrieve(Query(past), 60)}
    assert set(candidates["i1"].contributions) == {"i1", "i2", "i3"}
    assert max(candidates["i1"].contributions, key=candidates["i1"].contributions.__getitem__) == "i1"
    assert candidates["i3"].contributions["i3"] < 0


def test_wish_alone_has_no_contributions() -> None:
    assert all(not c.contributions for c in text_retriever().retrieve(Query(wish="a wish"), 10))


def test_history_outside_the_catalogue_still_counts() -> None:
    gone = Item(id="gone", title="Gone from the shelves")
    candidates = text_retriever().retrieve(Query(history(ITEMS[1], gone)), 10)
    assert set(candidates[0].contributions) == {"i1", "gone"}
    assert candidates[0].score == pytest.approx(sum(candidates[0].contributions.values()), abs=1e-5)


def test_very_long_history_is_remembered_for_ten_half_lives() -> None:
    past = tuple(HistoryEntry(item=ITEMS[number % 60], liked=True) for number in range(5_000))
    candidates = text_retriever(half_life=2.0).retrieve(Query(past), 5)
    assert len(candidates[0].contributions) == 21


def test_packaged_model_finds_the_animated_film_for_a_wish() -> None:
    films = [
        Item(
            id="1", title="Toy Story", year=1995, attributes={"genre": ("Animation", "Children's", "Comedy")}
        ),
        Item(id="2", title="Pulp Fiction", year=1994, attributes={"genre": ("Crime", "Drama")}),
        Item(id="3", title="Alien", year=1979, attributes={"genre": ("Horror", "Sci-Fi")}),
        Item(id="4", title="Casablanca", year=1942, attributes={"genre": ("Drama", "Romance", "War")}),
        Item(id="5", title="🎬"),
    ]
    retriever = text_retriever(films, SentenceEmbedder("all-minilm-l6-v2"))
    assert ids(retriever.retrieve(Query(wish="animated film for children"), 5))[0] == "1"
    assert ids(retriever.retrieve(Query(wish="scary monsters in outer space"), 5))[0] == "3"
    assert len(retriever.retrieve(Query(wish="🎬"), 5)) == 5


def test_what_all_texts_have_in_common_says_nothing_where_the_mean_is_subtracted() -> None:
    plain, centred = (scores(Query(history=(entry("a"),)), centred=flag) for flag in (False, True))
    assert plain == pytest.approx({"a": 1, "b": 0, "c": 0, "d": 0})
    assert centred["a"] > 0 > centred["b"] == pytest.approx(centred["c"])
    assert not scores(Query(history=tuple(entry(letter) for letter in "abcd")), centred=True, half_life=1e9)


def test_a_text_has_as_much_of_the_description_as_it_is_given() -> None:
    long = Item(id="a", title="a", description="bread and butter")
    assert [item.description for item in shown_items([long], TextConfig(description=5))] == ["bread"]
    assert shown_items([long], TextConfig()) == [long]
