"""What the service keeps in the store beside the library's own: events as they come, feedback, sessions, traces.

Events are in the history of the next request; the hash of the domain's data stays that of the
last import or change of items, so that an event costs no pass over all others.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from recsys.config import Feedback
from recsys.data.database import EXPOSURES, FEEDBACK, INTERACTIONS, ITEMS, SESSIONS, TRACES, USERS, upsert
from recsys.data.store import UNKNOWN_TIME, Store
from recsys.errors import RequestError, UnknownItem
from recsys.service.api.schemas import RecommendationResponse, Session, Stored, Taste, Trace, UserEvent
from recsys.service.transport.problems import ServiceError
from recsys.types import Interaction, Item, User
from recsys.utils import clock

TRACE_WAIT_S = 2.0  # for other writers: an answer does without its trace rather than wait longer
AHEAD_S = 2 * 86_400.0  # how far a clock may have been ahead, or a client's time zone wrong

Row = dict[str, Any]


def users_after(store: Store, domain: str, after: str | None, limit: int) -> list[User]:
    """Users in the order of their ids, those after an id."""
    return [User.model_validate(row) for row in _after(store, USERS, domain, after, limit)]


def items_after(store: Store, domain: str, after: str | None, limit: int) -> list[Item]:
    """Items in the order of their ids, those after an id."""
    there = ITEMS.c.title != ""  # else it was removed, see `Store.remove_items`
    return [Item.model_validate(row) for row in _after(store, ITEMS, domain, after, limit, there)]


def events_after(
    store: Store, domain: str, user_id: str, after: int | None, limit: int
) -> list[tuple[int, Interaction]]:
    """A user's events, the newest arrival first, those before a sequence number; each with its own."""
    query = sa.select(INTERACTIONS).where(INTERACTIONS.c.domain == domain, INTERACTIONS.c.user_id == user_id)
    if after is not None:
        query = query.where(INTERACTIONS.c.sequence < after)
    query = query.order_by(INTERACTIONS.c.sequence.desc()).limit(limit)
    with store.transaction() as connection:
        return [_event(dict(row)) for row in connection.execute(query).mappings()]


def put_user(store: Store, domain: str, user: User) -> bool:
    """Add or replace a user; True if it is new."""
    of_user = (USERS.c.domain == domain) & (USERS.c.id == user.id)
    with store.transaction(writes=True) as connection:
        new = connection.scalar(sa.select(USERS.c.id).where(of_user)) is None
        upsert(connection, USERS, [{"domain": domain} | user.model_dump(mode="json")], ["profile", "home"])
        return new


def add_events(store: Store, domain: str, events: Sequence[UserEvent], rules: Feedback) -> Stored:
    """Keep events and feedback, all or none; people who are not known yet are added.

    Raises UnknownItem, and UnknownItem too for feedback on what a list did not hold.
    """
    now = time.time()
    acts = [event for event in events if not event.only_feedback]
    with store.transaction(writes=True) as connection:
        moments = _moments(connection, domain, {act.user_id for act in acts if act.timestamp is None}, now)
        rows = [_event_row(act, rules, moments.get(act.user_id, now)) | {"domain": domain} for act in acts]
        rows = list({_key(row): row for row in rows}.values())  # the last holds
        feedback = [_feedback(connection, domain, event, now) for event in events if event.recommendation_id]
        _require(connection, domain, {event.item_id for event in events})
        people = {event.user_id for event in events}
        known = set(connection.scalars(_ids(USERS, domain, people)))
        if missing := sorted(people - known):
            blank: Row = {"domain": domain, "profile": {}, "home": None}
            connection.execute(sa.insert(USERS), [blank | {"id": one} for one in missing])
        there = _there(connection, domain, rows)
        newest = sa.select(sa.func.max(INTERACTIONS.c.sequence)).where(INTERACTIONS.c.domain == domain)
        first = (connection.scalar(newest) or 0) + 1
        numbered = [row | {"sequence": number} for number, row in enumerate(rows, start=first)]
        if numbered:
            upsert(connection, INTERACTIONS, numbered, ["rating", "context"])
        if feedback:
            upsert(connection, FEEDBACK, feedback, ["time"])
    return Stored(added=len(rows) - there, updated=there, feedback=len(feedback))


def add_trace(
    store: Store,
    answer: RecommendationResponse,
    request: Row,
    request_id: str,
    keep: int,
    unit: str | None = None,
) -> None:
    """Keep an answer and what was asked; beyond the newest `keep` of a domain the oldest go.

    For good it is kept which arms made it for which `unit`, see `recsys.recommender.experiments`.
    Nothing is kept where the person was known and has been deleted since they asked.
    """
    domain = answer.domain
    row: Row = {
        "domain": domain,
        "id": answer.recommendation_id,
        "user_id": request.get("user"),
        "request_id": request_id,
        "request": request,
        "answer": answer.model_dump(mode="json"),
    }
    newest = sa.select(TRACES.c.time).where(TRACES.c.domain == domain).order_by(TRACES.c.time.desc())
    with store.transaction(writes=True, wait=TRACE_WAIT_S, alone=False) as connection:
        if answer.user is not None and connection.scalar(_ids(USERS, domain, [answer.user])) is None:
            return
        row["time"] = _after_time(time.time(), connection.scalar(newest.limit(1)))
        upsert(connection, TRACES, [row], ["time", "request_id", "request", "answer"])
        if unit is not None and answer.arms:
            exposed = {"domain": domain, "recommendation_id": row["id"], "user_id": row["user_id"]}
            exposed |= {"unit": unit, "time": row["time"]}
            rows = [exposed | {"scenario": name, "arm": arm} for name, arm in answer.arms.items()]
            upsert(connection, EXPOSURES, rows, ["arm", "unit", "time"])
        if oldest := connection.scalar(newest.offset(keep).limit(1)):
            connection.execute(sa.delete(TRACES).where(TRACES.c.domain == domain, TRACES.c.time <= oldest))


def arms_of(store: Store, domain: str, recommendation_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Recommendation id -> scenario -> arm, of those that were made for somebody in particular."""
    c = EXPOSURES.c
    query = sa.select(c.recommendation_id, c.scenario, c.arm)
    query = query.where(c.domain == domain, c.recommendation_id.in_(set(recommendation_ids)))
    found: dict[str, dict[str, str]] = {}
    with store.transaction() as connection:
        for recommendation_id, scenario, arm in connection.execute(query):
            found.setdefault(recommendation_id, {})[scenario] = arm
    return found


def trace(store: Store, domain: str, recommendation_id: str) -> Trace | None:
    """The recommendation of that id, if it is still kept."""
    query = sa.select(TRACES).where(TRACES.c.domain == domain, TRACES.c.id == recommendation_id)
    with store.transaction() as connection:
        row = connection.execute(query).mappings().first()
        return _trace(dict(row)) if row else None


def traces_before(store: Store, domain: str, before: float | None, limit: int) -> list[Trace]:
    """Traces, the newest first, those older than a time."""
    query = sa.select(TRACES).where(TRACES.c.domain == domain)
    if before is not None:
        query = query.where(TRACES.c.time < before)
    with store.transaction() as connection:
        rows = connection.execute(query.order_by(TRACES.c.time.desc()).limit(limit)).mappings()
        return [_trace(dict(row)) for row in rows]


def new_session(store: Store, domain: str, taste: Taste, minutes: int) -> Session:
    """Begin a session; those that expired are cleared away."""
    session = Session(
        id=secrets.token_urlsafe(24),
        liked=taste.liked,
        disliked=taste.disliked,
        expires=clock.at_most() + minutes * 60,
    )
    with store.transaction(writes=True) as connection:
        connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires < clock.surely()))
        connection.execute(sa.insert(SESSIONS), [{"domain": domain} | session.model_dump()])
    return session


def session(store: Store, domain: str, session_id: str) -> Session:
    """A session that has not expired. Raises ServiceError 404."""
    with store.transaction() as connection:
        return _session(connection, domain, session_id)


def add_taste(store: Store, domain: str, session_id: str, taste: Taste, minutes: int, most: int) -> Session:
    """Add to a session, which then lives on; what was said last of an item holds."""
    with store.transaction(writes=True) as connection:
        old = _session(connection, domain, session_id)
        new = Session(
            id=old.id,
            liked=_joined(old.liked, taste.liked, taste.disliked),
            disliked=_joined(old.disliked, taste.disliked, taste.liked),
            expires=clock.at_most() + minutes * 60,
        )
        if len(new.liked) + len(new.disliked) > most:
            raise RequestError(f"a session holds at most {most} items", hint="begin another")
        upsert(
            connection, SESSIONS, [{"domain": domain} | new.model_dump()], ["liked", "disliked", "expires"]
        )
    return new


def end_session(store: Store, domain: str, session_id: str) -> None:
    """Forget a session. Raises ServiceError 404."""
    with store.transaction(writes=True) as connection:
        _session(connection, domain, session_id)
        mine = (SESSIONS.c.domain == domain) & (SESSIONS.c.id == session_id)
        connection.execute(sa.delete(SESSIONS).where(mine))


def _session(connection: sa.Connection, domain: str, session_id: str) -> Session:
    query = sa.select(SESSIONS).where(
        SESSIONS.c.domain == domain, SESSIONS.c.id == session_id, SESSIONS.c.expires >= clock.surely()
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        raise ServiceError(404, "no such session, or it has expired", hint="POST /v1/sessions begins one")
    return Session.model_validate({name: row[name] for name in Session.model_fields})


def _joined(old: Iterable[str], new: Iterable[str], withdrawn: Iterable[str]) -> list[str]:
    gone = set(withdrawn)
    return [name for name in dict.fromkeys((*old, *new)) if name not in gone]


def _after(
    store: Store,
    table: sa.Table,
    domain: str,
    after: str | None,
    limit: int,
    *conditions: sa.ColumnElement[bool],
) -> list[Row]:
    columns = [column for column in table.c if column.name != "domain"]
    query = sa.select(*columns).where(table.c.domain == domain, *conditions)
    if after is not None:
        query = query.where(table.c.id > after)
    with store.transaction() as connection:
        return [dict(row) for row in connection.execute(query.order_by(table.c.id).limit(limit)).mappings()]


def _ids(table: sa.Table, domain: str, ids: Iterable[str]) -> sa.Select[Any]:
    return sa.select(table.c.id).where(table.c.domain == domain, table.c.id.in_(list(ids)))


def _require(connection: sa.Connection, domain: str, item_ids: set[str]) -> None:
    known = set(connection.scalars(_ids(ITEMS, domain, item_ids).where(ITEMS.c.title != "")))
    if missing := sorted(item_ids - known):
        shown = ", ".join(repr(one[:60]) for one in missing[:5])
        raise UnknownItem(f"no item {shown} in '{domain}'", hint="POST /v1/items first; no event was kept")


def _moments(connection: sa.Connection, domain: str, people: set[str], now: float) -> dict[str, float]:
    """When an event of these people happens that happens now: after all of theirs, also where the clock was set back.

    Events from further ahead than `AHEAD_S` were not dated by a clock; they hold nothing up.
    """
    c = INTERACTIONS.c
    query = sa.select(c.user_id, sa.func.max(c.timestamp)).where(
        c.domain == domain, c.user_id.in_(people), c.timestamp >= now, c.timestamp <= now + AHEAD_S
    )
    newest = connection.execute(query.group_by(c.user_id)) if people else ()
    return {user_id: _after_time(now, timestamp) for user_id, timestamp in newest}


def _after_time(now: float, newest: float | None) -> float:
    """Now, or the next moment after `newest` where the clock has not got there yet."""
    return now if newest is None or newest < now else math.nextafter(newest, math.inf)


def _event_row(event: UserEvent, rules: Feedback, now: float) -> Row:
    rating = event.rating
    if rating is None and event.event in ("liked", "disliked"):
        rating = rules.liked_at_least if event.event == "liked" else rules.disliked_at_most
    return {
        "user_id": event.user_id,
        "item_id": event.item_id,
        "rating": rating,
        "timestamp": now if event.timestamp is None else event.timestamp,
        "context": dict(event.context) or None,
    }


def _key(row: Row) -> tuple[Any, ...]:
    return row["user_id"], row["item_id"], row["timestamp"]


def _there(connection: sa.Connection, domain: str, rows: Sequence[Row]) -> int:
    """How many of these events are known already."""
    c = INTERACTIONS.c
    people = {row["user_id"] for row in rows}
    query = sa.select(c.user_id, c.item_id, c.timestamp).where(c.domain == domain, c.user_id.in_(people))
    query = query.where(c.item_id.in_({row["item_id"] for row in rows}))
    known = {tuple(row) for row in connection.execute(query)}
    return sum(_key(row) in known for row in rows)


def _feedback(connection: sa.Connection, domain: str, event: UserEvent, now: float) -> Row:
    query = sa.select(TRACES.c.user_id, TRACES.c.answer).where(
        TRACES.c.domain == domain, TRACES.c.id == event.recommendation_id
    )
    row = connection.execute(query).first()
    if row is None:
        raise ServiceError(
            404,
            f"no recommendation '{str(event.recommendation_id)[:60]}' is kept",
            hint="send the recommendation_id of an answer, soon after it; no event was kept",
        )
    if row.user_id is not None and row.user_id != event.user_id:
        raise RequestError("that recommendation was for somebody else", hint="send its own user_id")
    lines = {line["item"]["id"]: line["rank"] for line in row.answer["recommendations"]}
    if event.item_id not in lines:
        raise RequestError(
            f"item '{event.item_id[:60]}' was not in that recommendation", hint="send an item it holds"
        )
    return {
        "domain": domain,
        "recommendation_id": event.recommendation_id,
        "item_id": event.item_id,
        "event": event.event or "chosen",
        "user_id": event.user_id,
        "rank": lines[event.item_id],
        "strategy": row.answer["strategy"],
        "time": now,
    }


def _event(row: Row) -> tuple[int, Interaction]:
    known = row["timestamp"] != UNKNOWN_TIME
    fields = {name: row[name] for name in ("user_id", "item_id", "rating")}
    fields |= {"timestamp": row["timestamp"] if known else None, "context": row["context"] or {}}
    return row["sequence"], Interaction.model_validate(fields)


def _trace(row: Row) -> Trace:
    return Trace(
        recommendation_id=row["id"],
        user=row["user_id"],
        time=row["time"],
        request_id=row["request_id"],
        request=row["request"],
        answer=RecommendationResponse.model_validate(row["answer"]),
    )
