"""Sessions: what an anonymous person likes, until it expires."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from recsys.data.database import SESSIONS, upsert
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.utils import clock


@dataclass(frozen=True, slots=True)
class StoredSession:
    """The preferences of a session, as item ids."""

    id: str
    liked: list[str]
    disliked: list[str]
    expires: float  # seconds since 1970


def create_session(
    store: Store, domain: str, liked: Sequence[str], disliked: Sequence[str], minutes: int
) -> StoredSession:
    """Begin a session that lives for `minutes`; delete those that have expired."""
    session = StoredSession(secrets.token_urlsafe(24), list(liked), list(disliked), _expiry(minutes))
    with store.transaction(writes=True) as connection:
        connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires < clock.earliest_now()))
        connection.execute(sa.insert(SESSIONS), [{"domain": domain} | asdict(session)])
    return session


def find_session(store: Store, domain: str, session_id: str) -> StoredSession | None:
    """Return a session, None if there is none or it has expired."""
    with store.transaction() as connection:
        return _find(connection, domain, session_id)


def extend_session(
    store: Store,
    domain: str,
    session_id: str,
    liked: Sequence[str],
    disliked: Sequence[str],
    *,
    minutes: int,
    max_items: int,
) -> StoredSession | None:
    """Add preferences to a session, and extend its lifetime to `minutes`.

    The last preference about an item holds.

    Returns:
        The session as it is now, None if there is none or it has expired.

    Raises:
        RequestError: It would have more than `max_items` items.
    """
    with store.transaction(writes=True) as connection:
        old = _find(connection, domain, session_id)
        if old is None:
            return None
        new = StoredSession(
            old.id,
            liked=_merged(old.liked, liked, withdrawn=disliked),
            disliked=_merged(old.disliked, disliked, withdrawn=liked),
            expires=_expiry(minutes),
        )
        if len(new.liked) + len(new.disliked) > max_items:
            raise RequestError(f"a session holds at most {max_items} items", hint="begin another")
        row = {"domain": domain} | asdict(new)
        upsert(connection, SESSIONS, [row], ["liked", "disliked", "expires"])
    return new


def end_session(store: Store, domain: str, session_id: str) -> bool:
    """Delete a session; return False if there is none or it has expired."""
    with store.transaction(writes=True) as connection:
        if _find(connection, domain, session_id) is None:
            return False
        same = (SESSIONS.c.domain == domain) & (SESSIONS.c.id == session_id)
        connection.execute(sa.delete(SESSIONS).where(same))
    return True


def _find(connection: sa.Connection, domain: str, session_id: str) -> StoredSession | None:
    c = SESSIONS.c
    query = sa.select(c.id, c.liked, c.disliked, c.expires).where(
        c.domain == domain, c.id == session_id, c.expires >= clock.earliest_now()
    )
    row = connection.execute(query).mappings().first()
    return StoredSession(**row) if row else None


def _expiry(minutes: int) -> float:
    return clock.latest_now() + minutes * 60


def _merged(old: Iterable[str], new: Iterable[str], *, withdrawn: Iterable[str]) -> list[str]:
    removed = set(withdrawn)
    return [item_id for item_id in dict.fromkeys((*old, *new)) if item_id not in removed]
