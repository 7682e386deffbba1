"""Rows of the API keys; `recsys.service.security.keys` gives them their meaning."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from recsys.data.database import API_KEYS
from recsys.data.store import Row, Store


def insert_key(store: Store, row: Row) -> None:
    """Add a key: all columns of the table."""
    with store.transaction(writes=True) as connection:
        connection.execute(sa.insert(API_KEYS), [row])


def find_key(store: Store, key_id: str) -> Row | None:
    """Return the row of a key."""
    with store.transaction() as connection:
        row = connection.execute(sa.select(API_KEYS).where(API_KEYS.c.id == key_id)).mappings().first()
        return dict(row) if row else None


def list_keys(store: Store) -> list[Row]:
    """Return the rows of all keys, the oldest first."""
    query = sa.select(API_KEYS).order_by(API_KEYS.c.created, API_KEYS.c.id)
    with store.transaction() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def has_keys(store: Store) -> bool:
    """Return whether there is any key, valid or not."""
    with store.transaction() as connection:
        return connection.scalar(sa.select(API_KEYS.c.id).limit(1)) is not None


def set_expiry(store: Store, key_id: str, expires: float) -> None:
    """Let a key expire at a time (seconds since 1970)."""
    _update(store, API_KEYS.c.id == key_id, expires=expires)


def set_revoked(store: Store, key_id: str, revoked: float) -> None:
    """Mark a key as revoked at a time (seconds since 1970), unless it already is."""
    _update(store, (API_KEYS.c.id == key_id) & API_KEYS.c.revoked.is_(None), revoked=revoked)


def _update(store: Store, rows: sa.ColumnElement[bool], **values: Any) -> None:
    with store.transaction(writes=True) as connection:
        connection.execute(sa.update(API_KEYS).where(rows).values(**values))
