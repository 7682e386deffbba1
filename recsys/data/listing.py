"""Rows a page at a time: users and items by id, events by arrival."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from recsys.data.database import INTERACTIONS, ITEMS, USERS
from recsys.data.store import Row, Store, interaction_of
from recsys.types import Interaction, Item, User


def users_after(store: Store, domain: str, after: str | None, limit: int) -> list[User]:
    """Return users sorted by id, starting after an id."""
    return [User.model_validate(row) for row in _rows_after(store, USERS, domain, after, limit)]


def items_after(store: Store, domain: str, after: str | None, limit: int) -> list[Item]:
    """Return items sorted by id, starting after an id."""
    return [Item.model_validate(row) for row in _rows_after(store, ITEMS, domain, after, limit)]


def events_before(
    store: Store, domain: str, user_id: str, before: int | None, limit: int
) -> list[tuple[int, Interaction]]:
    """Return (sequence number, event) pairs of a user, the newest arrival first.

    `before` is a sequence number; only earlier events are returned.
    """
    c = INTERACTIONS.c
    columns = [column for column in c if column.name not in ("domain", "sequence")]
    query = sa.select(c.sequence, *columns).where(c.domain == domain, c.user_id == user_id)
    if before is not None:
        query = query.where(c.sequence < before)
    query = query.order_by(c.sequence.desc()).limit(limit)
    with store.transaction() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        return [(row.pop("sequence"), interaction_of(row)) for row in rows]


def user_ids_with_prefix(store: Store, domain: str, prefix: str, limit: int) -> list[str]:
    """Return ids of users that begin with a text, the shortest first."""
    query = sa.select(USERS.c.id).where(USERS.c.domain == domain)
    if prefix:
        query = query.where(USERS.c.id.startswith(prefix, autoescape=True))
    query = query.order_by(sa.func.length(USERS.c.id), USERS.c.id).limit(limit)
    with store.transaction() as connection:
        return list(connection.scalars(query))


def _rows_after(store: Store, table: sa.Table, domain: str, after: str | None, limit: int) -> list[Row]:
    columns = [column for column in table.c if column.name != "domain"]
    query: sa.Select[Any] = sa.select(*columns).where(table.c.domain == domain)
    if table is ITEMS:
        query = query.where(ITEMS.c.title != "")  # else it was removed, see `Store.remove_items`
    if after is not None:
        query = query.where(table.c.id > after)
    with store.transaction() as connection:
        return [dict(row) for row in connection.execute(query.order_by(table.c.id).limit(limit)).mappings()]
