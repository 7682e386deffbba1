"""Typed values are read as people and programs write them, and shown as people do."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import ValidationError

from recsys.config.attributes import AttributeType
from recsys.errors import RequestError
from recsys.knowledge.typed_values import WrongValue, read_value, typed_items, with_attributes
from recsys.types import Item

PRICE = AttributeType(type="money", currency="USD")
WEIGHT = AttributeType(type="number", unit="lb")
RUNTIME = AttributeType(type="duration")
RELEASED = AttributeType(type="date")
PUBLISHED = AttributeType(type="time")
NOON = dt.date(1987, 2, 26).toordinal() + 0.5


@pytest.mark.parametrize(
    ("kind", "text", "shown", "amount"),
    [
        (PRICE, "2.49", "$2.49", 2.49),
        (PRICE, "$1,299", "$1,299.00", 1299),
        (PRICE, "USD 3", "$3.00", 3),
        (AttributeType(type="money", currency="CHF"), "2.5 CHF", "2.50 CHF", 2.5),
        (AttributeType(type="money", currency="JPY"), "¥ 1200", "¥1,200", 1200),
        (AttributeType(type="money", currency="USD", least=-10), "-$2.49", "-$2.49", -2.49),
        (WEIGHT, "22", "22 lb", 22),
        (WEIGHT, "22.50 LB", "22.5 lb", 22.5),
        (AttributeType(type="number", unit="%"), "42.0", "42%", 42),
        (AttributeType(type="number", unit="Oscars"), "1", "1 Oscar", 1),
        (AttributeType(type="number", unit="Oscars"), "2 oscars", "2 Oscars", 2),
        (AttributeType(type="number", unit="% of times on offer"), "42", "42% of times on offer", 42),
        (AttributeType(type="number"), "12,000", "12,000", 12000),
        (RUNTIME, "98", "98 minutes", 98),
        (RUNTIME, "1:38:00", "98 minutes", 98),
        (RUNTIME, "1 h 38 min", "98 minutes", 98),
        (RUNTIME, "PT1H38M", "98 minutes", 98),
        (RUNTIME, "1", "1 minute", 1),
        (AttributeType(type="duration", unit="hours"), "90 min", "1.5 hours", 1.5),
        (RELEASED, "1996-03-14", "14 March 1996", dt.date(1996, 3, 14).toordinal()),
        (RELEASED, "March 14, 1996", "14 March 1996", dt.date(1996, 3, 14).toordinal()),
        (RELEASED, "1996-03", "March 1996", dt.date(1996, 3, 1).toordinal()),
        (RELEASED, "1996", "1996", dt.date(1996, 1, 1).toordinal()),
        (PUBLISHED, "1987-02-26 12:00", "26 February 1987, 12:00", NOON),
        (PUBLISHED, "1987-02-26T14:00:00+02:00", "26 February 1987, 12:00", NOON),
        (PUBLISHED, "1987-02-26", "26 February 1987, 00:00", NOON - 0.5),
    ],
)
def test_a_value_is_shown_as_people_write_it_and_reads_as_itself(
    kind: AttributeType, text: str, shown: str, amount: float
) -> None:
    value = read_value(text, "size", kind)
    assert value.shown == shown
    assert value.first == pytest.approx(amount)
    assert read_value(shown, "size", kind) == value


def test_a_month_ends_on_its_last_day() -> None:
    assert read_value("February 1996", "released", RELEASED).last == dt.date(1996, 2, 29).toordinal()


def test_a_flag_is_shown_by_its_name() -> None:
    kind = AttributeType(type="flag")
    shown = [read_value(text, "gluten_free", kind).shown for text in ("true", "0", "gluten free")]
    assert shown == ["gluten free", "not gluten free", "gluten free"]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (PRICE, "€2.49", "an amount in USD"),  # two currencies in one column
        (PRICE, "EUR 2.49", "an amount in USD"),
        (PRICE, "-1", "an amount in USD, such as $2.49 of at least 0"),
        (PRICE, "free", "an amount in USD"),
        (AttributeType(type="money", currency="USD", most=100), "249", "at most 100"),
        (WEIGHT, "22 oz", "a number in lb"),
        (WEIGHT, "CS", "a number in lb"),
        (AttributeType(type="number"), "nan", "a number"),
        (RUNTIME, "98 parsecs", "a duration in minutes"),
        (RUNTIME, "-5", "at least 0"),
        (RELEASED, "1996-02-30", "a date"),
        (RELEASED, "03/14/96", "a date"),
        (PUBLISHED, "26 February 1987, 25:00", "a time"),
        (PUBLISHED, "noon", "a time"),
        (AttributeType(type="flag"), "maybe", "yes or no"),
    ],
)
def test_a_value_of_another_type_is_refused(kind: AttributeType, text: str, expected: str) -> None:
    with pytest.raises(WrongValue, match=expected.replace("$", r"\$")):
        read_value(text, "price", kind)


@pytest.mark.parametrize(
    "options",
    [
        {"type": "money"},
        {"type": "number", "currency": "USD"},
        {"type": "text", "unit": "lb"},
        {"type": "duration", "unit": "fortnights"},
        {"type": "category", "least": 0},
        {"type": "colour"},
    ],
)
def test_a_type_with_options_that_do_nothing_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AttributeType.model_validate(options)


def test_an_added_item_of_another_type_is_refused_by_name() -> None:
    item = Item(id="1", title="Milk", attributes={"price": ("£2",)})
    with pytest.raises(
        RequestError, match=r"item '1', attributes.price: expected an amount in USD"
    ) as caught:
        typed_items([item], {"price": PRICE})
    assert "$2.49" in caught.value.hint


def test_only_named_attributes_stay() -> None:
    item = Item(id="1", title="Milk", attributes={"price": ("2.49", "$2.49"), "brand": ("store brand",)})
    (shown,) = typed_items([item], {"price": PRICE, "weight": WEIGHT})
    assert shown.attributes == {"price": ("$2.49",), "brand": ("store brand",)}
    assert with_attributes(shown, ["brand"]).attributes == {"brand": ("store brand",)}
    assert with_attributes(shown, None) is shown
