"""What a wish names is found, by what the catalogue itself calls its things."""

from __future__ import annotations

import pytest

from recsys.config.retrieval import RetrieverConfig
from recsys.types import Item
from retrieval import Channel, ChannelRetriever, HybridRetriever, ItemRows, Query
from retrieval.channels.attributes import AttributeChannel
from retrieval.channels.popularity import Popularity


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


def found(wish: str, n: int = 10) -> dict[str, float]:
    channel = AttributeChannel(Popularity(COUNTS))
    retriever = ChannelRetriever("attributes", channel, ItemRows(FILMS))
    return {one.item.id: one.score for one in retriever.retrieve(Query(wish=wish), n)}


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
def test_what_has_most_of_the_wish_comes_first_then_what_is_met_most(wish: str, first: list[str]) -> None:
    assert list(found(wish))[: len(first)] == first


def test_what_is_not_wanted_comes_last() -> None:
    assert list(found("no comedy"))[-3:] == ["b", "e", "a"]


@pytest.mark.parametrize("wish", ["", "  ", "surprise me", "comedian", "the year 2024", "🎬", "no"])
def test_a_wish_that_names_nothing_here_gives_no_answer(wish: str) -> None:
    assert found(wish) == {}


def test_being_met_often_never_outweighs_a_facet() -> None:
    scores = found("war comedy")
    assert scores["a"] > scores["b"] + 0.5


def test_a_new_item_is_found_by_its_facets_at_once() -> None:
    table = ItemRows(FILMS)
    channel = AttributeChannel(Popularity(COUNTS))
    query = Query(wish="western")
    assert channel.ask(query, table) is None
    later = table.changed([film("h", "Western", year=1992)], removed={"d"})
    assert [one.item.id for one in ChannelRetriever("attributes", channel, later).retrieve(query, 1)] == ["h"]


def test_beside_other_channels_it_speaks_only_to_a_wish() -> None:
    table, popularity = ItemRows(FILMS), Popularity(COUNTS)
    channels: dict[str, Channel] = {"popularity": popularity, "attributes": AttributeChannel(popularity)}
    config = RetrieverConfig(weights={"popularity": 1.0})
    hybrid = HybridRetriever(table, channels, COUNTS, config)
    silent = hybrid.retrieve(Query(), 7)
    assert silent[0].item.id == "b"
    assert all("attributes" not in one.channels for one in silent)
    asked = hybrid.retrieve(Query(wish="a war film"), 7)
    assert (asked[0].item.id, asked[0].source) == ("a", "attributes")
    quiet = config.model_copy(update={"wish_weights": {"attributes": 0.0}})
    assert (
        HybridRetriever(table, channels, COUNTS, quiet).retrieve(Query(wish="a war film"), 7)[0].item.id
        == "b"
    )


def test_an_unknown_wish_channel_is_an_error() -> None:
    with pytest.raises(ValueError, match="wish_weights"):
        RetrieverConfig.model_validate({"wish_weights": {"gru": 1.0}})
