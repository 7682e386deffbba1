"""Freshness, calibration and fragmentation of short lists."""

from __future__ import annotations

import pytest

from recsys.config.attributes import AttributeType
from recsys.data.splits import Case
from recsys.evaluation.metrics.radio import divergence, radio
from recsys.types import Item
from tests.evaluation.world import domain, event

DAY = 86_400.0
KINDS = {"category": AttributeType(type="category"), "published": AttributeType(type="time")}
ITEMS = {
    item.id: item
    for item in (
        Item(
            id=f"{kind}{hour}",
            title="",
            attributes={"category": (kind,), "published": (f"1970-01-03 0{hour}:00",)},
        )
        for kind in ("war", "art")
        for hour in range(6)
    )
}


def case(user: str, *past: str, hour: int = 6) -> Case:
    history = tuple(event(user, item, float(number)) for number, item in enumerate(past))
    return Case(user, history, event(user, "art5", 2 * DAY + 3600 * hour))


def measured(rankings: list[list[str]], cases: list[Case]) -> dict[str, float | None]:
    typed = domain().model_copy(update={"attributes": KINDS})
    return radio(rankings, cases, ITEMS, typed, lambda a, b: a[:3] == b[:3] and a != b)


def test_age_counts_from_publication_to_request() -> None:
    assert measured([["war2", "war4"]], [case("u")])["age_h@5"] == pytest.approx(3.0)


def test_a_list_like_the_past_is_calibrated_and_one_of_something_else_is_not() -> None:
    alike = measured([["war0", "war1"]], [case("u", "war3", "war4")])["calibration@5"]
    unlike = measured([["art0", "art1"]], [case("u", "war3", "war4")])["calibration@5"]
    assert alike == pytest.approx(0.0, abs=1e-6)
    assert unlike == pytest.approx(1.0, abs=0.02)


def test_equal_lists_of_two_people_are_no_fragments() -> None:
    cases = [case("u"), case("v", hour=7)]
    assert measured([["war0", "art0"]] * 2, cases)["fragmentation@5"] == pytest.approx(0.0, abs=1e-6)
    apart = measured([["war0"], ["art0"]], cases)["fragmentation@5"]
    assert apart == pytest.approx(1.0, abs=0.02)
    assert measured([["war0"], ["art0"]], [case("u"), case("u", hour=7)])["fragmentation@5"] is None


def test_what_tells_the_same_as_something_above_it_counts_as_repeated() -> None:
    assert measured([["war0", "art0", "war1", "art1"]], [case("u")])["repeated@5"] == pytest.approx(0.5)


def test_the_divergence_is_symmetric_and_none_of_nothing() -> None:
    a, b = {"x": 3.0, "y": 1.0}, {"x": 1.0, "z": 1.0}
    assert divergence(a, b) == pytest.approx(divergence(b, a))
    assert divergence(a, {}) is None
