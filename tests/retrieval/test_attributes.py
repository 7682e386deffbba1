"""A wish finds items by the attribute values that it names."""

from __future__ import annotations

import pytest

from recsys.config.retrieval import RetrieverConfig
from recsys.types import Item
from retrieval import Channel, ChannelRetriever, HybridRetriever, ItemRows, Query
from retrieval.channels.attributes import AttributeChannel
from retrieval.channels.popularity import PopularityChannel


def film(name: str, *genres: str, year: int | None = None) -> Item:
    return Item(id=name, title=name, year=year, attributes={"genre": genres})


FILMS = [
    film("a", "Comedy", "War", year=1994),
    film("b", "Comedy", year=1985),
    film("c", "Film-Noir", "Crime", year=1944),
    film("d", "Documentary", year=1994),
    film("e", "Horror", "Comedy", year=1999),
    film("f", "Drama"),
    film("g", "Children's", year=2004),
]
COUNTS = {"a": 1.0, "b": 50.0, "c": 3.0, "d": 9.0, "e": 7.0}


def scores_for(wish: str, n: int = 10) -> dict[str, float]:
    channel = AttributeChannel(PopularityChannel(COUNTS))
    retriever = ChannelRetriever("attributes", channel, ItemRows(FILMS))
    return {candidate.item.id: candidate.score for candidate in retriever.retrieve(Query(wish=wish), n)}


@pytest.mark.parametrize(
    ("wish", "first"),
    [
        ("a COMEDY, please", ["b", "e", "a"]),
        ("war comedies", ["a", "b", "e"]),
        ("something from the 1990s", ["d", "e", "a"]),
        ("90s comedy", ["e", "a"]),
        ("documentaries of 1994", ["d", "a"]),
        ("film noir or a drama", ["c", "f"]),
        ("Film-Noir", ["c"]),
        ("children's films", ["g"]),
        ("comedies but no horror", ["b", "a"]),
        ("nothing with war, a comedy", ["b", "e"]),
    ],
)
def test_most_named_values_come_first_then_the_most_popular(wish: str, first: list[str]) -> None:
    assert list(scores_for(wish))[: len(first)] == first


def test_excluded_values_come_last() -> None:
    assert list(scores_for("no comedy"))[-3:] == ["b", "e", "a"]


@pytest.mark.parametrize("wish", ["", "  ", "surprise me", "comedian", "the year 2024", "🎬", "no"])
def test_a_wish_that_names_no_value_of_the_catalogue_has_no_scores(wish: str) -> None:
    assert scores_for(wish) == {}


def test_popularity_never_outweighs_a_value() -> None:
    scores = scores_for("war comedy")
    assert scores["a"] > scores["b"] + 0.5


def test_a_new_item_is_found_by_its_values_at_once() -> None:
    table = ItemRows(FILMS)
    channel = AttributeChannel(PopularityChannel(COUNTS))
    query = Query(wish="western")
    assert channel.score(query, table) is None
    later = table.with_changes([film("h", "Western", year=1992)], removed={"d"})
    assert [
        candidate.item.id for candidate in ChannelRetriever("attributes", channel, later).retrieve(query, 1)
    ] == ["h"]


def test_among_other_channels_it_scores_only_with_a_wish() -> None:
    table, popularity = ItemRows(FILMS), PopularityChannel(COUNTS)
    channels: dict[str, Channel] = {"popularity": popularity, "attributes": AttributeChannel(popularity)}
    config = RetrieverConfig(weights={"popularity": 1.0})
    hybrid = HybridRetriever(table, channels, COUNTS, config)
    without = hybrid.retrieve(Query(), 7)
    assert without[0].item.id == "b"
    assert all("attributes" not in candidate.channels for candidate in without)
    with_wish = hybrid.retrieve(Query(wish="a war film"), 7)
    assert (with_wish[0].item.id, with_wish[0].source) == ("a", "attributes")
    weightless = config.model_copy(update={"wish_weights": {"attributes": 0.0}})
    assert (
        HybridRetriever(table, channels, COUNTS, weightless).retrieve(Query(wish="a war film"), 7)[0].item.id
        == "b"
    )


def test_an_unknown_wish_channel_is_an_error() -> None:
    with pytest.raises(ValueError, match="wish_weights"):
        RetrieverConfig.model_validate({"wish_weights": {"gru": 1.0}})
