"""The inputs of a range on a page become conditions of the request and of its permalink."""

from __future__ import annotations

from starlette.datastructures import QueryParams

from recsys.service.pages.forms import parse_form, to_request
from recsys.types import Comparison


def test_a_range_is_a_condition_of_the_request_and_of_the_permalink() -> None:
    form = parse_form(QueryParams("where=genre%3DDrama&from.price=2&to.price=5&to.year=&to.price="))
    assert form.where == ("genre=Drama", "price>=2", "price<=5")
    assert (form.bound("price", ">="), form.bound("price", "<="), form.bound("size", "<=")) == ("2", "5", "")
    assert parse_form(QueryParams(form.query)) == form
    rule = to_request(form).rule
    assert rule is not None
    assert rule.where == {"genre": ("Drama",)}
    assert tuple(Comparison(**each.model_dump()) for each in rule.compare) == (
        Comparison(attribute="price", operator=">=", value="2"),
        Comparison(attribute="price", operator="<=", value="5"),
    )


def test_a_form_without_conditions_has_no_rule() -> None:
    assert to_request(parse_form(QueryParams("user=196"))).rule is None
