"""One event, validated: the same for files, HTTP, JSON lines, MCP and Python."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.config import Feedback
from recsys.data.importers import times, values
from recsys.data.importers.times import InvalidTime
from recsys.data.importers.values import NOT_TEXT, finite, quote
from recsys.errors import RequestError


class InvalidField(ValueError):
    """A field of an event is not what was expected."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something a user did, feedback on a recommendation, or both."""

    user_id: str
    item_id: str
    rating: float | None = None
    timestamp: float | None = None  # seconds since 1970; None for now
    context: Mapping[str, str] = field(default_factory=dict)
    event: str | None = None  # what the user did, such as "liked"; one of FEEDBACK_ONLY is feedback alone
    recommendation_id: str | None = None  # the recommendation that this is feedback on


def validate_event(event: NewEvent, thresholds: Feedback) -> NewEvent:
    """Return an event with clean ids, a finite rating and its time in seconds.

    Args:
        event: As it was sent; its time may be ISO 8601, its ids may be numbers.
        thresholds: Ratings that stand for "liked" and "disliked".

    Raises:
        RequestError: A field is wrong, or the rating contradicts what the user did.
    """
    try:
        event = dataclasses.replace(
            event,
            user_id=event_id(event.user_id),
            item_id=event_id(event.item_id),
            rating=event_rating(event.rating),
            timestamp=event_time(event.timestamp),
        )
    except InvalidField as error:
        raise RequestError(str(error), hint="correct the event; no event was kept") from error
    _require_consistent(event, thresholds)
    return event


def _require_consistent(event: NewEvent, thresholds: Feedback) -> None:
    """Raise RequestError for a rating that does not count as what the user did."""
    if event.rating is None or event.event not in ("liked", "disliked"):
        return
    bound = thresholds.liked_at_least if event.event == "liked" else thresholds.disliked_at_most
    if bound is not None and thresholds.liked(event.rating) is not (event.event == "liked"):
        side = "at least" if event.event == "liked" else "at most"
        raise RequestError(
            f"rating: '{event.event}' with the rating {event.rating:g} of item {quote(event.item_id)} is a "
            f"contradiction: here that is {side} {bound:g}",
            hint="send one of them, or a rating that agrees; no event was kept",
        )


def event_id(value: object) -> str:
    """Return an id stripped, its accents composed; a whole number becomes "7".

    Raises:
        InvalidField: It is neither text nor a whole number, or empty.
    """
    value = values.number_as_id(value)
    if not isinstance(value, str):
        raise InvalidField(f"expected an id as text or a whole number, found {quote(value)}")
    text = values.identifier(value)
    if not text:
        raise InvalidField(f"expected an id, found {quote(value)}")
    if NOT_TEXT.search(text):
        raise InvalidField("holds a NUL byte or half a character")
    return text


def event_time(value: object) -> float | None:
    """Return seconds since 1970 of a number, ISO 8601 or datetime; None stays None.

    Raises:
        InvalidField: It is neither, not from 1900 to 2199, or rather a date: 20240331, 45352, 2009.
    """
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, dt.date) else str(value).strip().strip("\ufeff")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str | dt.date):
            raise InvalidTime("seconds since 1970 or an ISO 8601 time", text)
        times.require_no_date(text)
        return times.timestamp(text)
    except InvalidTime as error:
        raise InvalidField(f"{error}: {error.remedy()}") from error


def event_rating(value: object) -> float | None:
    """Return a finite number; None stays None. Raises InvalidField for all else."""
    if value is None:
        return None
    text = str(value).strip()
    number = None if isinstance(value, bool) or not isinstance(value, int | float | str) else finite(text)
    if number is None:
        raise InvalidField(f"expected a finite number, found {quote(value)}")
    return number
