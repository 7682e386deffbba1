"""Items are found by titles as people write them."""

from __future__ import annotations

import pytest

from recsys.config import Feedback
from recsys.data.catalog import Catalog
from recsys.errors import RequestError, UnknownItem
from recsys.types import Interaction
from tests.fakes import film

ITEMS = (
    film("1", "Toy Story", year=1995),
    film("2", "The Matrix", year=1999),
    film("3", "Cape Fear", year=1962),
    film("4", "Cape Fear", year=1991),
    film("5", "Léon: The Professional", year=1994),
    film("6", "A", year=1998),
    film("7", "???"),
    film("8", "1984", year=1984),
    film("9", "Blade Runner (2049)"),
    film("2001", "A Space Odyssey", year=1968),
)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(ITEMS)


@pytest.mark.parametrize(
    ("title", "item_id"),
    [
        ("Toy Story", "1"),
        ("toy story", "1"),
        ("  TOY   STORY ", "1"),
        ("Toy Story (1995)", "1"),
        ("Matrix", "2"),
        ("Matrix, The", "2"),
        ("Matrix, The (1999)", "2"),
        ("Cape Fear (1991)", "4"),
        ("leon: the professional", None),
        ("LÉON the professional", "5"),
        ("A", "6"),
        ("???", "7"),
        ("1984", "8"),
        ("Blade Runner (2049)", "9"),
    ],
)
def test_title_finds_its_item(catalog: Catalog, title: str, item_id: str | None) -> None:
    if item_id is None:
        with pytest.raises(UnknownItem, match="no item is called") as caught:
            catalog.find(title)
        assert "Léon" in caught.value.hint
    else:
        assert catalog.find(title).id == item_id


def test_unknown_title_is_told_with_the_nearest_ones(catalog: Catalog) -> None:
    with pytest.raises(UnknownItem, match="Toy Storey") as caught:
        catalog.find("Toy Storey")
    assert caught.value.hint == "did you mean: Toy Story (1995)?"


def test_title_like_nothing_else_has_no_suggestion(catalog: Catalog) -> None:
    with pytest.raises(UnknownItem) as caught:
        catalog.find("zzzzzzzz")
    assert "did you mean" not in caught.value.hint


@pytest.mark.parametrize("title", ["Cape Fear", "cape fear!"])
def test_title_of_several_items_asks_which(catalog: Catalog, title: str) -> None:
    with pytest.raises(RequestError, match="several items") as caught:
        catalog.find(title)
    assert "Cape Fear (1962) = id 3" in caught.value.hint
    assert "Cape Fear (1991) = id 4" in caught.value.hint


def test_year_that_no_namesake_has_is_no_match(catalog: Catalog) -> None:
    with pytest.raises(UnknownItem):
        catalog.find("Cape Fear (2001)")


def test_id_wins_over_a_title(catalog: Catalog) -> None:
    assert catalog.find_any("2001").title == "A Space Odyssey"
    assert catalog.find_any("1984").id == "8"


def test_unknown_id_is_an_error_and_get_gives_none(catalog: Catalog) -> None:
    assert catalog.get("nothing") is None
    with pytest.raises(UnknownItem, match="no item 'nothing'"):
        catalog.by_id("nothing")
    assert catalog.by_id("3").year == 1962


@pytest.mark.parametrize("title", ["", "x" * 100_000, "\0", "(1999)", "\ud800"])
def test_odd_titles_are_unknown_and_told_briefly(catalog: Catalog, title: str) -> None:
    with pytest.raises(UnknownItem) as caught:
        catalog.find(title)
    assert len(str(caught.value)) < 300


def test_history_is_dislikes_then_likes(catalog: Catalog) -> None:
    past = catalog.history_of(["Toy Story", "4"], ["Matrix"])
    assert [(entry.item.id, entry.liked) for entry in past] == [("2", False), ("1", True), ("4", True)]


def test_items_keep_their_order(catalog: Catalog) -> None:
    assert [item.id for item in catalog] == [item.id for item in ITEMS]
    assert len(catalog) == len(ITEMS)


@pytest.mark.parametrize(
    ("rated", "history"),
    [
        ([("1", 1.0), ("2", 5.0), ("1", 5.0)], [("2", True), ("1", True)]),
        ([("1", 5.0), ("1", 1.0)], [("1", False)]),
        ([("1", 5.0), ("2", 5.0), ("1", None)], [("2", True), ("1", True)]),
        ([("1", None), ("1", 1.0)], [("1", False)]),
        ([("1", 4.0)] * 12 + [("gone", 5.0)], [("1", True)]),
    ],
)
def test_the_last_rating_of_an_item_holds_and_it_stands_in_the_history_once(
    catalog: Catalog, rated: list[tuple[str, float | None]], history: list[tuple[str, bool]]
) -> None:
    """An item that was rated twice stood in the prompt as liked and as disliked."""
    events = [
        Interaction(user_id="u", item_id=item, rating=rating, timestamp=float(n))
        for n, (item, rating) in enumerate(rated)
    ]
    entries = catalog.entries(events, Feedback(liked_at_least=4, disliked_at_most=2))
    assert [(entry.item.id, entry.liked) for entry in entries] == history


def test_ten_thousand_events_of_one_person_are_read_at_once(catalog: Catalog) -> None:
    events = [Interaction(user_id="u", item_id=str(1 + n % 7), timestamp=float(n)) for n in range(12_000)]
    assert len(catalog.entries(events, Feedback())) == 7
