"""`Idempotency-Key`: a POST that is sent again with the same key is done once, and answered alike.

Only for requests that write, whose answers hold counts and ids; a recommendation is found by its
key among the traces. Draft: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from fastapi import Header, Request
from pydantic import BaseModel

from recsys.data.database import IDEMPOTENCY
from recsys.data.store import Store
from recsys.errors import StoreError
from recsys.service.transport.problems import ServiceError
from recsys.utils import clock

log = logging.getLogger(__name__)
STUCK_S = 120  # a first request that did not end by then has died with its process
M = TypeVar("M", bound=BaseModel)
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        min_length=1,
        description="the same key again does nothing twice",
    ),
]


def fingerprint(*parts: object) -> str:
    """SHA-256, in hex, of what tells one request from another."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()


def scoped(request: Request, key: str | None) -> str | None:
    """The key of this client for this address, if one came: other clients may use the same words."""
    if not key:
        return None
    state = request.scope.get("state", {})
    return fingerprint(state.get("principal", ""), request.method, request.url.path, request.url.query, key)


def once(
    store: Store,
    key: str | None,
    body: str,
    answer: type[M],
    work: Callable[[], M],
    hours: int,
    *,
    atomic: bool = False,
) -> M:
    """Do the work, or return what it returned when the same key came before.

    `key` is one of `scoped`. `atomic` is for work in this store alone: it is kept together with its
    key, or neither is, whatever happens in between. Other work must do no harm when it is done
    again, which happens where its answer could not be kept.
    Raises ServiceError: 422 for the same key with another body, 409 while the first is still being
    done. Work that raised is forgotten and may be tried again.
    """
    if key is None:
        return work()
    content = fingerprint(body)
    if atomic:
        with store.atomic() as connection:
            found = _claim(connection, key, content, hours)
            if found is not None:
                return answer.model_validate(found)
            done = work()
            _keep(connection, key, done)
        return done
    with store.transaction(writes=True) as connection:
        found = _claim(connection, key, content, hours)
    if found is not None:
        return answer.model_validate(found)
    try:
        done = work()
    except BaseException:
        with suppress(StoreError), store.transaction(writes=True) as connection:
            connection.execute(sa.delete(IDEMPOTENCY).where(IDEMPOTENCY.c.key == key))
        raise
    try:
        with store.transaction(writes=True) as connection:
            _keep(connection, key, done)
    except StoreError as error:  # what is done is done, and said
        log.warning("the answer of a key was not kept: %s", error.message)
    return done


def _claim(connection: sa.Connection, key: str, content: str, hours: int) -> Any:
    """The answer of this key; None where there is none yet, and the key is the caller's now."""
    row, now = IDEMPOTENCY.c, clock.surely()
    old = (row.time < now - hours * 3600) | (row.status.is_(None) & (row.time < now - STUCK_S))
    connection.execute(sa.delete(IDEMPOTENCY).where(old))
    found = connection.execute(sa.select(IDEMPOTENCY).where(row.key == key)).first()
    if found is None:
        new = {"key": key, "body_hash": content, "status": None, "answer": None, "time": clock.at_most()}
        connection.execute(sa.insert(IDEMPOTENCY), [new])
        return None
    if found.body_hash != content:
        raise ServiceError(422, "this Idempotency-Key came with another body", hint="use a new key")
    if found.status is None:
        raise ServiceError(409, "the first request of this key is not done yet", hint="ask again soon")
    return found.answer


def _keep(connection: sa.Connection, key: str, done: BaseModel) -> None:
    kept = {"status": 200, "answer": done.model_dump(mode="json")}
    connection.execute(sa.update(IDEMPOTENCY).where(IDEMPOTENCY.c.key == key).values(**kept))
