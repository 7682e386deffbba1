"""A request about the past knows nothing of what came after it, where times are real."""

from __future__ import annotations

import datetime as dt

from recsys.recommender.history_filter import events_until
from recsys.types import Interaction

NOON = dt.datetime(2017, 11, 20, 12, tzinfo=dt.UTC)
EVENTS = [
    Interaction(
        user_id="900", item_id=item, timestamp=None if hours is None else NOON.timestamp() + hours * 3600
    )
    for item, hours in (("untimed", None), ("before", -1), ("then", 0), ("after", 1))
]


def test_events_after_the_time_of_the_request_are_left_out_with_a_note() -> None:
    kept, notes = events_until(EVENTS, NOON)
    assert [event.item_id for event in kept] == ["untimed", "before", "then"]
    assert notes == ("left out of the history: 1 events after 2017-11-20",)


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    kept, _ = events_until(EVENTS, NOON.astimezone(dt.timezone(dt.timedelta(hours=-5))))
    assert len(kept) == 3


def test_without_a_later_event_or_a_time_all_stay() -> None:
    assert events_until(EVENTS, None) == (EVENTS, ())
    assert events_until(EVENTS[:3], NOON) == (EVENTS[:3], ())
