"""A filter that names what the catalogue does not have is an error that says what there is."""

from __future__ import annotations

import pytest

from recsys.data.catalog import Catalog
from recsys.errors import RequestError
from recsys.recommender.filter_check import check_filter
from recsys.types import Filter
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
        check_filter(rule, CATALOG)
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
    check_filter(rule, CATALOG)
