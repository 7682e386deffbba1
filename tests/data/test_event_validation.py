"""One event is the same at every door: what is cleaned, and what is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from recsys.config import Feedback
from recsys.data.batch import ImportBatch
from recsys.data.event_validation import NewEvent, validate_event
from recsys.data.events import add_events
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.types import Item

STARS = Feedback(liked_at_least=4, disliked_at_most=2)
GOOD: dict[str, Any] = {"user_id": "u", "item_id": "1"}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"timestamp": 1_700_000_000_000}, "milliseconds? divide them by 1000"),
    ({"timestamp": "1700000000000"}, "milliseconds? divide them by 1000"),
    ({"timestamp": 1.7e15}, "microseconds? divide them by 1000000"),
    ({"timestamp": 1e300}, "from 1900 to 2199"),
    ({"timestamp": -1e30}, "from 1900 to 2199"),
    ({"timestamp": "0001-01-01T00:00:00Z"}, "from 1900 to 2199"),
    ({"timestamp": 20240301}, "a date written as digits"),
    ({"timestamp": "20240301"}, "a date written as digits"),
    ({"timestamp": 45352}, "days of a spreadsheet"),
    ({"timestamp": 2009}, "years"),
    ({"timestamp": 20240301130000}, "a date written as digits"),
    ({"timestamp": "yesterday"}, "ISO 8601"),
    ({"timestamp": True}, "ISO 8601"),
    ({"timestamp": ""}, "ISO 8601"),
    ({"rating": "five"}, "finite number"),
    ({"rating": True}, "finite number"),
    ({"user_id": " "}, "expected an id"),
    ({"item_id": "\ufeff"}, "expected an id"),
    ({"item_id": 1.5}, "text or a whole number"),
    ({"item_id": True}, "text or a whole number"),
    ({"item_id": None}, "text or a whole number"),
    ({"event": "disliked", "rating": 5}, "contradiction"),
    ({"event": "liked", "rating": 1}, "contradiction"),
    ({"event": "liked", "rating": 3}, "contradiction"),
    ({"event": "disliked", "rating": 2.5}, "contradiction"),
    ({"event": "liked", "rating": -1}, "contradiction"),
]
CLEANED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"timestamp": "2023-11-14T22:13:20Z"}, {"timestamp": 1_700_000_000}),
    ({"timestamp": "2023-11-14T23:13:20+01:00"}, {"timestamp": 1_700_000_000}),
    ({"timestamp": "2023-11-14"}, {"timestamp": 1_699_920_000}),
    ({"timestamp": "1700000000"}, {"timestamp": 1_700_000_000}),
    ({"timestamp": 1_700_000_000.5}, {"timestamp": 1_700_000_000.5}),
    ({"user_id": 7, "item_id": 1}, {"user_id": "7", "item_id": "1"}),
    ({"user_id": 7.0}, {"user_id": "7"}),
    ({"user_id": " u\t"}, {"user_id": "u"}),
    ({"user_id": "\ufeffu"}, {"user_id": "u"}),
    ({"user_id": "Ame\u0301lie"}, {"user_id": "Amélie"}),
    ({"rating": "4.5"}, {"rating": 4.5}),
    ({"event": "liked", "rating": 4}, {"rating": 4}),
    ({"event": "disliked", "rating": 2}, {"rating": 2}),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_a_wrong_event_is_refused_and_none_is_kept(fields: dict[str, Any], message: str) -> None:
    with Store("sqlite://") as store:
        store.import_batch("films", ImportBatch(items=(Item(id="1", title="Alpha"),)))
        with pytest.raises(RequestError) as caught:
            add_events(store, "films", [NewEvent(**GOOD), NewEvent(**GOOD | fields)], STARS)
        assert message in caught.value.message
        assert caught.value.hint
        assert store.counts("films")["interactions"] == 0


@pytest.mark.parametrize(("fields", "expected"), CLEANED)
def test_an_event_is_cleaned(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    event = validate_event(NewEvent(**GOOD | fields), STARS)
    assert {name: getattr(event, name) for name in expected} == expected


def test_a_datetime_is_a_time() -> None:
    moment: Any = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    assert validate_event(NewEvent("u", "1", timestamp=moment), STARS).timestamp == 1_700_000_000
