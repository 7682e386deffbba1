"""A filter that names what the catalogue does not have is an error that says what there is."""

from __future__ import annotations

import json

import pytest

from recsys.config.attributes import AttributeType
from recsys.data.catalog import Catalog
from recsys.errors import RequestError
from recsys.recommender.filter_check import resolve_filter
from recsys.recommender.filter_text import parse_where
from recsys.types import Filter, Item
from tests.fakes import film

CATALOG = Catalog(
    [film("a", "Alien", "Horror", "Sci-Fi"), film("b", "Big", "Comedy"), film("c", "Heat", "Crime")]
)


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        (Filter(where={"genre": ("Comdy",)}), "no item has the genre 'Comdy'", "did you mean Comedy?"),
        (Filter(without={"genre": ("Horor",)}), "no item has the genre 'Horor'", "did you mean Horror?"),
        (Filter(where={"genres": ("Comedy",)}), "no item has an attribute 'genres'", "did you mean genre?"),
        (Filter(where={"colour": ("red",)}), "no item has an attribute 'colour'", "there are: genre"),
        (Filter(where={"genre": ("Funny",)}), "no item has the genre 'Funny'", "there are: Comedy, Crime"),
        (Filter(year_from=2000, year_to=1990), "nothing lies between", "from 1990 to 2000?"),
    ],
)
def test_what_no_item_has_is_an_error_with_the_nearest_name(rule: Filter, message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        resolve_filter(rule, CATALOG)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "rule",
    [
        Filter(),
        Filter(where={"Genre": ("comedy", "CRIME")}),
        Filter(without={"genre": ("Sci-Fi",)}, year_from=1990, year_to=1990),
        Filter(year_to=1800),
    ],
)
def test_what_some_item_may_have_is_no_error(rule: Filter) -> None:
    resolve_filter(rule, CATALOG)


KINDS = {
    "price": AttributeType(type="money", currency="USD"),
    "runtime": AttributeType(type="duration"),
    "released": AttributeType(type="date"),
    "organic": AttributeType(type="flag"),
}
SHELF = Catalog(
    [
        Item(id="milk", title="Milk", attributes={"price": ("$2.49",), "organic": ("organic",)}),
        Item(id="wine", title="Wine", attributes={"price": ("$1,049.00",), "released": ("March 1996",)}),
        Item(
            id="film", title="Film", attributes={"runtime": ("98 minutes",), "released": ("14 March 1996",)}
        ),
        Item(id="old", title="Old", attributes={"price": ("about two",), "released": ("1995",)}),
    ]
)


@pytest.mark.parametrize(
    ("conditions", "passing"),
    [
        (["price<=2.49"], {"milk"}),
        (["price < $2.49"], set()),
        (["price>2.49"], {"wine"}),
        (["price=2..2000"], {"milk", "wine"}),
        (["price>=2", "PRICE<=5"], {"milk"}),
        (["price>-1"], {"milk", "wine"}),
        (["runtime<=2 hours"], {"film"}),
        (["released<=1996"], {"wine", "film", "old"}),
        (["released<1996-03-14"], {"wine", "old"}),
        (["released>March 1996"], set()),
        (["released>=March 1996"], {"wine", "film"}),
        (["released=1995..1995"], {"old"}),
    ],
)
def test_typed_values_are_compared(conditions: list[str], passing: set[str]) -> None:
    resolved = resolve_filter(Filter(**parse_where(conditions)._asdict()), SHELF, KINDS)
    assert set(resolved.only or ()) == passing
    assert not resolved.compare


def test_comparisons_narrow_the_items_that_are_asked_for() -> None:
    rule = Filter(only=frozenset({"milk", "film"}), compare=parse_where(["price>1"]).compare)
    assert resolve_filter(rule, SHELF, KINDS).only == frozenset({"milk"})


def test_a_typed_value_may_be_written_as_an_import_takes_it() -> None:
    rule = Filter(where={"price": ("2.49",), "organic": ("yes",)}, without={"runtime": ("1:38",)})
    resolved = resolve_filter(rule, SHELF, KINDS)
    assert resolved.where == {"price": ("$2.49",), "organic": ("organic",)}
    assert resolved.without == {"runtime": ("98 minutes",)}


@pytest.mark.parametrize(
    ("condition", "message", "hint"),
    [
        ("price<=€5", "price: expected an amount in USD", "such as $2.49"),
        ("organic<=yes", "values of organic cannot be compared", "these can: price, runtime, released"),
        ("prise<=5", "no item has an attribute 'prise'", "did you mean price?"),
        ("released>=soon", "released: expected a date", "March 1996"),
    ],
)
def test_a_comparison_that_cannot_be_made_says_what_can(condition: str, message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        resolve_filter(Filter(compare=parse_where([condition]).compare), SHELF, KINDS)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_untyped_attribute_cannot_be_compared() -> None:
    with pytest.raises(RequestError, match="values of genre cannot be compared"):
        resolve_filter(Filter(compare=parse_where(["genre<=5"])[1]), CATALOG)


def test_equal_filters_are_equal_texts_in_every_process() -> None:
    """A request with its Idempotency-Key again, after a restart, used to count as another request."""
    ids = [f"f{number:02}" for number in range(20)]
    dumped = json.loads(Filter(only=frozenset(ids), never=frozenset(ids)).model_dump_json())
    assert dumped["only"] == dumped["never"] == ids
    assert json.loads(Filter().model_dump_json())["only"] is None
