"""Events and feedback as they arrive.

An event is in the history of the next request. The hash of the domain's data stays that of the last
import or change of items, so that an event costs no pass over all others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from recsys.config import Feedback
from recsys.data.database import FEEDBACK, INTERACTIONS, ITEMS, TRACES, USERS, upsert
from recsys.data.event_table import next_sequence
from recsys.data.event_validation import NewEvent, validate_event
from recsys.data.store import Row, Store
from recsys.errors import RequestError, UnknownItem, UnknownRecommendation

FEEDBACK_ONLY = frozenset({"shown", "clicked", "dismissed"})
"""Kinds of feedback that are no events: they do not enter the history."""

CLOCK_ERROR_S = 2 * 86_400.0  # how far ahead a clock or a client's time zone may have been
SHOWN = 60  # characters of a wrong id that a message quotes


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Numbers of events added, events replaced (same user, item, time) and feedback."""

    added: int
    updated: int
    feedback: int


def add_events(store: Store, domain: str, new: Sequence[NewEvent], thresholds: Feedback) -> EventCounts:
    """Store events and feedback, all or none; users who do not exist are added.

    Args:
        store: Where to.
        domain: Name of the domain.
        new: In order of arrival; of equal events the last holds.
        thresholds: Ratings that stand for "liked" and "disliked" where an event has no rating.

    Raises:
        UnknownItem: An item does not exist.
        UnknownRecommendation: Feedback on a recommendation that is not stored.
        RequestError: An event is wrong, see `validate_event`; feedback on a recommendation to another
            user, or on an item that was not in it.
    """
    now = time.time()
    new = [validate_event(event, thresholds) for event in new]
    events = [event for event in new if event.event not in FEEDBACK_ONLY]
    with store.transaction(writes=True) as connection:
        undated = {event.user_id for event in events if event.timestamp is None}
        times = _arrival_times(connection, domain, undated, now)
        rows = [
            {"domain": domain} | _event_row(event, thresholds, times.get(event.user_id, now))
            for event in events
        ]
        rows = list({_key(row): row for row in rows}.values())
        feedback = [_feedback_row(connection, domain, event, now) for event in new if event.recommendation_id]
        _require_items(connection, domain, {event.item_id for event in new})
        _add_missing_users(connection, domain, {event.user_id for event in new})
        updated = _count_existing(connection, domain, rows)
        first = next_sequence(connection, domain)
        numbered = [row | {"sequence": number} for number, row in enumerate(rows, start=first)]
        if numbered:
            upsert(connection, INTERACTIONS, numbered, ["rating", "context"])
        if feedback:
            upsert(connection, FEEDBACK, feedback, ["time"])
    return EventCounts(added=len(rows) - updated, updated=updated, feedback=len(feedback))


def next_moment(now: float, newest: float | None) -> float:
    """Return now, or the float after `newest` if the clock has not passed it yet."""
    return now if newest is None or newest < now else math.nextafter(newest, math.inf)


def existing_ids(table: sa.Table, domain: str, ids: Iterable[str]) -> sa.Select[Any]:
    """Select those of the ids that a table has in a domain."""
    return sa.select(table.c.id).where(table.c.domain == domain, table.c.id.in_(list(ids)))


def _arrival_times(
    connection: sa.Connection, domain: str, user_ids: set[str], now: float
) -> dict[str, float]:
    """Map users to the time of an event that happens now, where it is not simply now.

    It comes after all earlier events of the user, also if the clock was set back. Events further ahead
    than `CLOCK_ERROR_S` were not dated by a clock and are ignored.
    """
    c = INTERACTIONS.c
    query = sa.select(c.user_id, sa.func.max(c.timestamp)).where(
        c.domain == domain, c.user_id.in_(user_ids), c.timestamp >= now, c.timestamp <= now + CLOCK_ERROR_S
    )
    newest = connection.execute(query.group_by(c.user_id)) if user_ids else ()
    return {user_id: next_moment(now, timestamp) for user_id, timestamp in newest}


def _event_row(event: NewEvent, thresholds: Feedback, now: float) -> Row:
    rating = event.rating
    if rating is None and event.event in ("liked", "disliked"):
        rating = thresholds.liked_at_least if event.event == "liked" else thresholds.disliked_at_most
    return {
        "user_id": event.user_id,
        "item_id": event.item_id,
        "rating": rating,
        "timestamp": now if event.timestamp is None else event.timestamp,
        "context": dict(event.context) or None,
    }


def _feedback_row(connection: sa.Connection, domain: str, event: NewEvent, now: float) -> Row:
    query = sa.select(TRACES.c.user_id, TRACES.c.answer).where(
        TRACES.c.domain == domain, TRACES.c.id == event.recommendation_id
    )
    row = connection.execute(query).first()
    if row is None:
        raise UnknownRecommendation(
            f"no recommendation '{str(event.recommendation_id)[:SHOWN]}' is kept",
            hint="send the recommendation_id of an answer, soon after it; no event was kept",
        )
    if row.user_id is not None and row.user_id != event.user_id:
        raise RequestError("that recommendation was for another user", hint="send that user's user_id")
    ranks = {line["item"]["id"]: line["rank"] for line in row.answer["recommendations"]}
    if event.item_id not in ranks:
        raise RequestError(
            f"item '{event.item_id[:SHOWN]}' was not in that recommendation", hint="send an item from it"
        )
    return {
        "domain": domain,
        "recommendation_id": event.recommendation_id,
        "item_id": event.item_id,
        "event": event.event or "chosen",
        "user_id": event.user_id,
        "rank": ranks[event.item_id],
        "strategy": row.answer["strategy"],
        "time": now,
    }


def _require_items(connection: sa.Connection, domain: str, item_ids: set[str]) -> None:
    query = existing_ids(ITEMS, domain, item_ids).where(ITEMS.c.title != "")  # not those that were removed
    if missing := sorted(item_ids - set(connection.scalars(query))):
        names = ", ".join(repr(item_id[:SHOWN]) for item_id in missing[:5])
        raise UnknownItem(f"no item {names} in '{domain}'", hint="POST /v1/items first; no event was kept")


def _add_missing_users(connection: sa.Connection, domain: str, user_ids: set[str]) -> None:
    known = set(connection.scalars(existing_ids(USERS, domain, user_ids)))
    if missing := sorted(user_ids - known):
        blank: Row = {"domain": domain, "profile": {}, "home": None}
        connection.execute(sa.insert(USERS), [blank | {"id": user_id} for user_id in missing])


def _count_existing(connection: sa.Connection, domain: str, rows: Sequence[Row]) -> int:
    c = INTERACTIONS.c
    user_ids, item_ids = {row["user_id"] for row in rows}, {row["item_id"] for row in rows}
    query = sa.select(c.user_id, c.item_id, c.timestamp).where(
        c.domain == domain, c.user_id.in_(user_ids), c.item_id.in_(item_ids)
    )
    existing = {tuple(row) for row in connection.execute(query)}
    return sum(_key(row) in existing for row in rows)


def _key(row: Row) -> tuple[Any, ...]:
    return row["user_id"], row["item_id"], row["timestamp"]
