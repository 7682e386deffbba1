"""Traces: the recommendations that were given, each with its request."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from recsys.data.database import TRACES, USERS, upsert
from recsys.data.events import existing_ids, next_moment
from recsys.data.exposures import add_exposures
from recsys.data.store import Row, Store
from recsys.types import Recommendations

WRITE_WAIT_S = 2.0  # for other writers: after that an answer is given without its trace


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """A recommendation that was given, as JSON objects."""

    id: str  # the recommendation_id
    user_id: str | None
    time: float  # seconds since 1970
    request_id: str
    request: Row
    answer: Row


def add_trace(
    store: Store,
    recommendation_id: str,
    answer: Recommendations,
    request: Row,
    request_id: str,
    *,
    keep: int,
    unit: str | None = None,
) -> None:
    """Store an answer and its request, and delete all but the newest `keep` traces.

    The arms that produced it for a `unit` (see `recsys.recommender.experiments`) are stored for good.
    Nothing is stored if the user was known to the answer and has been deleted since.
    """
    domain = answer.domain
    row: Row = {
        "domain": domain,
        "id": recommendation_id,
        "user_id": request.get("user"),
        "request_id": request_id,
        "request": request,
        "answer": answer.model_dump(mode="json"),
    }
    newest = sa.select(TRACES.c.time).where(TRACES.c.domain == domain).order_by(TRACES.c.time.desc())
    with store.transaction(writes=True, wait=WRITE_WAIT_S, exclusive=False) as connection:
        if answer.user is not None and connection.scalar(existing_ids(USERS, domain, [answer.user])) is None:
            return
        row["time"] = next_moment(time.time(), connection.scalar(newest.limit(1)))
        upsert(connection, TRACES, [row], ["time", "request_id", "request", "answer"])
        if unit is not None and answer.arms:
            exposure = {"domain": domain, "recommendation_id": recommendation_id, "unit": unit}
            exposure |= {"user_id": row["user_id"], "time": row["time"]}
            add_exposures(connection, exposure, answer.arms)
        if oldest := connection.scalar(newest.offset(keep).limit(1)):
            connection.execute(sa.delete(TRACES).where(TRACES.c.domain == domain, TRACES.c.time <= oldest))


def find_trace(store: Store, domain: str, recommendation_id: str) -> StoredTrace | None:
    """Return the trace of a recommendation, None if it is not stored (any more)."""
    query = sa.select(TRACES).where(TRACES.c.domain == domain, TRACES.c.id == recommendation_id)
    with store.transaction() as connection:
        row = connection.execute(query).mappings().first()
        return _trace(row) if row else None


def traces_before(store: Store, domain: str, before: float | None, limit: int) -> list[StoredTrace]:
    """Return traces older than a time, the newest first."""
    query = sa.select(TRACES).where(TRACES.c.domain == domain)
    if before is not None:
        query = query.where(TRACES.c.time < before)
    with store.transaction() as connection:
        rows = connection.execute(query.order_by(TRACES.c.time.desc()).limit(limit)).mappings()
        return [_trace(row) for row in rows]


def _trace(row: sa.RowMapping) -> StoredTrace:
    return StoredTrace(**{name: row[name] for name in StoredTrace.__slots__})
