"""Users, items and interactions of several domains in one database.

An SQLite file by default, PostgreSQL by URL. Events are ordered by (timestamp, order of arrival):
events with equal timestamps keep their order of arrival, events of unknown time come first.
"""

from __future__ import annotations

import datetime as dt
import difflib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from hashlib import sha256
from operator import itemgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from recsys.data import migrations
from recsys.data.batch import Changes, ImportBatch, ImportResult, ItemChange, Progress
from recsys.data.database import (
    IMPORTS,
    INTERACTIONS,
    ITEMS,
    USERS,
    open_database,
    scrub,
    transaction,
    unreadable_row,
    upsert,
)
from recsys.data.event_columns import EventColumns
from recsys.data.event_table import UNKNOWN_TIME, hash_events, merge_events, read_events
from recsys.data.relations import read_edges, replace_edges
from recsys.errors import RequestError, StoreError, UnknownItem, UnknownUser
from recsys.knowledge.relations import Edge
from recsys.knowledge.sources import SourceReport
from recsys.types import Interaction, Item, User

if TYPE_CHECKING:
    import polars as pl

CHUNK = 10_000  # rows per statement
MAX_COMPARED = 5_000  # items compared with a misspelt name
MAX_ID = 60  # characters of a wrong id that a message quotes

Row = dict[str, Any]

_OPTIONAL = ("site", "sources")
"""Columns of an item that are NULL, and no part of the hash, where it has none."""

_OLDEST_FIRST = (INTERACTIONS.c.timestamp, INTERACTIONS.c.sequence)


class Store:
    """A database of users, items and interactions.

    A context manager; `close` may be called more than once. A missing SQLite file is created with its
    folders, an older database is brought up to date. All methods raise StoreError if the database
    cannot be read or written.

    Args:
        url: A SQLAlchemy URL.
        busy_timeout: Seconds to wait for another process that writes.
    """

    def __init__(self, url: str, *, busy_timeout: float = 15.0) -> None:
        self._engine, self._busy_timeout = open_database(url, busy_timeout), busy_timeout
        self._local = threading.local()  # `connection`: that of `atomic`, in the thread that is inside it
        with self.transaction() as connection:
            up_to_date = migrations.revision(connection) == migrations.HEAD
        if not up_to_date:
            with self.transaction(writes=True) as connection:
                migrations.upgrade(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections to the database."""
        self._engine.dispose()

    def scrub(self) -> str:
        """Remove the bytes of deleted rows, see `recsys.data.database.scrub`."""
        return scrub(self._engine, self._busy_timeout)

    def transaction(
        self, *, writes: bool = False, wait: float | None = None, exclusive: bool = True
    ) -> AbstractContextManager[sa.Connection]:
        """Open a transaction, see `recsys.data.database.transaction`.

        Inside `atomic` it is part of that one.
        """
        connection: sa.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            return nullcontext(connection)
        return transaction(self._engine, writes=writes, wait=wait, exclusive=exclusive)

    @contextmanager
    def atomic(self) -> Iterator[sa.Connection]:
        """Open a writing transaction that all others of this thread join while it lasts.

        Everything is kept, or nothing. What the database refuses at the end is raised as StoreError here.
        """
        with transaction(self._engine, writes=True) as connection:
            self._local.connection = connection
            try:
                yield connection
            finally:
                self._local.connection = None

    def unreadable_row(self) -> StoreError:
        """Return the error for a row whose content the caller cannot read."""
        return unreadable_row(self._engine.url)

    def import_batch(self, domain: str, batch: ImportBatch, progress: Progress | None = None) -> ImportResult:
        """Add new rows and update those that differ, in one transaction.

        Two events are the same if user, item and timestamp are equal. The edges of relations replace the
        stored ones, if the batch has any of them. Importing a batch again changes nothing.
        `progress` is called with ("storing items", rows done, rows in all).
        """
        with self.transaction(writes=True) as connection:
            merge = partial(_merge, connection, domain, progress=progress)
            items = merge(ITEMS, map(_item_row, batch.items))
            users = merge(USERS, (user.model_dump(mode="json") for user in batch.users))
            events = EventColumns.of(batch.interactions)
            interactions, merged = merge_events(connection, domain, events, progress)
            relations = Changes()
            if batch.edges is not None:
                relations = replace_edges(connection, domain, batch.edges)
            changes = (items, users, interactions, relations)
            if any(change.added or change.updated or change.removed for change in changes):
                refresh_data_hash(connection, domain, merged)
            report = batch.report.sources
            connection.execute(
                sa.update(IMPORTS)
                .where(IMPORTS.c.domain == domain)
                .values(sources=report and report.model_dump(mode="json"))
            )
            return ImportResult(items, users, interactions, _data_hash(connection, domain), relations)

    def put_items(self, domain: str, items: Sequence[Item]) -> ItemChange:
        """Add items, replacing those with the same ids, in one transaction.

        Raises:
            RequestError: An item lacks an id or a title, or two items have the same id.
        """
        for number, item in enumerate(items, start=1):
            if not item.id.strip() or not item.title.strip():
                name = item.id[:MAX_ID] or f"number {number}"
                raise RequestError(f"item {name!r} lacks an id or a title", hint="give both")
        if len({item.id for item in items}) < len(items):
            raise RequestError("two items have the same id", hint="use every id once")
        with self.transaction(writes=True) as connection:
            before = _data_hash(connection, domain)
            changes = _merge(connection, domain, ITEMS, map(_item_row, items), None)
            if changes.added or changes.updated:
                refresh_data_hash(connection, domain)
            return ItemChange(changes, 0, before, _data_hash(connection, domain))

    def remove_items(self, domain: str, item_ids: Iterable[str]) -> ItemChange:
        """Delete items in one transaction; events that refer to them stay.

        Of an item with events the id alone is kept, and only the events refer to it. Importing an
        item again brings it back.

        Raises:
            UnknownItem: An id does not exist.
            RequestError: No item would be left.
        """
        removed = list(dict.fromkeys(item_ids))
        with self.transaction(writes=True) as connection:
            before = _data_hash(connection, domain)
            existing = set(connection.scalars(sa.select(ITEMS.c.id).where(_in_domain(ITEMS, domain))))
            for item_id in removed:
                if item_id not in existing:
                    raise _unknown_item(connection, domain, item_id)
            if len(removed) == len(existing):
                raise RequestError("no item would be left", hint="add others first")
            for start in range(0, len(removed), CHUNK):
                _remove(connection, domain, removed[start : start + CHUNK])
            if removed:
                refresh_data_hash(connection, domain)
            return ItemChange(Changes(), len(removed), before, _data_hash(connection, domain))

    def put_user(self, domain: str, user: User) -> bool:
        """Add or replace a user, and return whether the user is new."""
        same_id = (USERS.c.domain == domain) & (USERS.c.id == user.id)
        with self.transaction(writes=True) as connection:
            new = connection.scalar(sa.select(USERS.c.id).where(same_id)) is None
            row = {"domain": domain} | user.model_dump(mode="json")
            upsert(connection, USERS, [row], ["profile", "home"])
            return new

    def counts(self, domain: str) -> dict[str, int]:
        """Return the numbers of "items", "users" and "interactions"."""
        with self.transaction() as connection:
            return _counts(connection, domain)

    def data_hash(self, domain: str) -> str:
        """Return the SHA-256 of all items and interactions, "" before the first import."""
        with self.transaction() as connection:
            return _data_hash(connection, domain)

    def sources(self, domain: str) -> SourceReport | None:
        """Return what further sources gave at the last import; None without sources."""
        with self.transaction() as connection:
            report = connection.scalar(sa.select(IMPORTS.c.sources).where(IMPORTS.c.domain == domain))
        return None if report is None else SourceReport.model_validate(report)

    def items(self, domain: str) -> list[Item]:
        """Return all items, sorted by id."""
        with self.transaction() as connection:
            items = [Item.model_validate(row) for row in _rows(connection, ITEMS, domain)]
        return sorted(items, key=lambda item: item.id)

    def item(self, domain: str, item_id: str) -> Item:
        """Return one item.

        Raises:
            UnknownItem: It does not exist; the hint names similar items.
        """
        with self.transaction() as connection:
            for row in _rows(connection, ITEMS, domain, ITEMS.c.id == item_id):
                return Item.model_validate(row)
            error = _unknown_item(connection, domain, item_id)
        raise error

    def users(self, domain: str) -> list[str]:
        """Return the ids of all users, sorted."""
        with self.transaction() as connection:
            return sorted(connection.scalars(sa.select(USERS.c.id).where(USERS.c.domain == domain)))

    def all_users(self, domain: str) -> list[User]:
        """Return all users, ordered by id."""
        with self.transaction() as connection:
            rows = _rows(connection, USERS, domain)
            return sorted(map(User.model_validate, rows), key=lambda user: user.id)

    def user(self, domain: str, user_id: str) -> User:
        """Return one user.

        Raises:
            UnknownUser: The user does not exist; the hint shows some ids.
        """
        with self.transaction() as connection:
            for row in _rows(connection, USERS, domain, USERS.c.id == user_id):
                return User.model_validate(row)
            error = unknown_user(connection, domain, user_id)
        raise error

    def history(self, domain: str, user_id: str, *, limit: int | None = None) -> list[Interaction]:
        """Return a user's events, or the newest `limit` of them, oldest first.

        An unknown user has no events.
        """
        if limit is not None and limit < 0:
            raise RequestError(f"a history cannot have {limit} events", hint="limit is 0 or more")
        newest_first = [column.desc() for column in _OLDEST_FIRST]
        with self.transaction() as connection:
            of_user = INTERACTIONS.c.user_id == user_id
            rows = _rows(connection, INTERACTIONS, domain, of_user, order=newest_first, limit=limit)
            return [interaction_of(row) for row in rows][::-1]

    def interactions(self, domain: str) -> EventColumns:
        """Return all events, oldest first."""
        try:
            with self.transaction() as connection:
                return EventColumns(read_events(connection, domain))
        except (TypeError, ValueError) as error:
            raise self.unreadable_row() from error

    def edges(self, domain: str) -> list[Edge]:
        """Return the edges of all relations that have a file, sorted."""
        with self.transaction() as connection:
            return read_edges(connection, domain)

    def popularity(self, domain: str) -> dict[str, int]:
        """Return the number of interactions per item id; items without any are left out."""
        item_id = INTERACTIONS.c.item_id
        events = sa.select(item_id, sa.func.count()).where(INTERACTIONS.c.domain == domain)
        with self.transaction() as connection:
            return {row[0]: row[1] for row in connection.execute(events.group_by(item_id))}


def unknown_user(connection: sa.Connection, domain: str, user_id: str) -> UnknownUser:
    """Return the error for a user who does not exist, with some who do."""
    some = sa.select(USERS.c.id).where(USERS.c.domain == domain).order_by(USERS.c.id).limit(3)
    known = ", ".join(connection.scalars(some))
    hint = f"users are, for example: {known}" if known else "no users are known: import the domain first"
    return UnknownUser(f"no user {user_id[:MAX_ID]!r} in '{domain}'", hint=hint)


def refresh_data_hash(connection: sa.Connection, domain: str, events: pl.DataFrame | None = None) -> None:
    """Store the hash and counts of a domain's data as it is now.

    Other processes recognise by the hash that it has changed.

    Args:
        connection: Inside a writing transaction.
        domain: Name of the domain.
        events: What `read_events` returns, where it is at hand.
    """
    digest = sha256()
    for row in sorted(_rows(connection, ITEMS, domain), key=itemgetter("id")):
        digest.update(repr({k: v for k, v in row.items() if v or k not in _OPTIONAL}).encode())
    digest.update(repr(edges).encode() if (edges := read_edges(connection, domain)) else b"")
    hash_events(digest, read_events(connection, domain) if events is None else events)
    values = {
        "data_hash": digest.hexdigest(),
        "counts": _counts(connection, domain),
        "time": dt.datetime.now(dt.UTC),
    }
    upsert(connection, IMPORTS, [{"domain": domain} | values], list(values))


def interaction_of(row: Row) -> Interaction:
    """Build the event that a row of the interactions table holds."""
    timestamp = None if row["timestamp"] == UNKNOWN_TIME else row["timestamp"]
    return Interaction.model_validate(row | {"timestamp": timestamp, "context": row["context"] or {}})


def _in_domain(table: sa.Table, domain: str) -> sa.ColumnElement[bool]:
    """Select the rows of a domain. An item without a title was removed, see `_remove`."""
    rows = table.c.domain == domain
    return rows & (table.c.title != "") if table is ITEMS else rows


def _remove(connection: sa.Connection, domain: str, ids: Sequence[str]) -> None:
    """Clear the rows of these items, and delete the rows that no event refers to."""
    in_domain = INTERACTIONS.c.domain == domain
    referred = sa.select(INTERACTIONS.c.item_id).distinct().where(in_domain, INTERACTIONS.c.item_id.in_(ids))
    kept = set(connection.scalars(referred))
    rows = (ITEMS.c.domain == domain) & ITEMS.c.id.in_(ids)
    connection.execute(
        sa.update(ITEMS)
        .where(rows)
        .values(title="", year=None, attributes={}, description="", **dict.fromkeys(_OPTIONAL))
    )
    connection.execute(sa.delete(ITEMS).where(rows, ITEMS.c.id.not_in(kept)))


def _merge(
    connection: sa.Connection, domain: str, table: sa.Table, rows: Iterable[Row], progress: Progress | None
) -> Changes:
    """Write the rows that are new or differ from the stored ones."""
    key = itemgetter(*(column.name for column in table.primary_key if column.name != "domain"))
    content = [column.name for column in table.c if not column.primary_key and column.name != "sequence"]
    fields = itemgetter(*content)
    incoming = {key(row): row for row in rows}
    # Compared as text, because the order of attributes counts and == on dictionaries ignores it.
    stored = {key(row): repr(fields(row)) for row in _rows(connection, table, domain)}
    same = {
        row_key: stored[row_key] == repr(fields(row))
        for row_key, row in incoming.items()
        if row_key in stored
    }
    written = [{"domain": domain} | row for row_key, row in incoming.items() if not same.get(row_key)]
    for start in range(0, len(written), CHUNK):
        if progress:
            progress(f"storing {table.name}", start, len(written))
        upsert(connection, table, written[start : start + CHUNK], content)
    if progress:
        progress(f"storing {table.name}", len(written), len(written))
    unchanged = sum(same.values())
    return Changes(len(incoming) - len(same), len(same) - unchanged, unchanged)


def _rows(
    connection: sa.Connection,
    table: sa.Table,
    domain: str,
    *conditions: sa.ColumnElement[bool],
    order: Sequence[sa.ColumnElement[Any]] = (),
    limit: int | None = None,
) -> Iterator[Row]:
    """Yield rows as fields of their type, without the columns domain and sequence."""
    columns = [column for column in table.c if column.name not in ("domain", "sequence")]
    query = sa.select(*columns).where(_in_domain(table, domain), *conditions).order_by(*order).limit(limit)
    names = [column.name for column in columns]
    for row in connection.execute(query):
        yield dict(zip(names, row, strict=True))


def _item_row(item: Item) -> Row:
    return dict.fromkeys(_OPTIONAL) | item.model_dump(mode="json")


def _counts(connection: sa.Connection, domain: str) -> dict[str, int]:
    return {
        table.name: connection.scalar(sa.select(sa.func.count()).where(_in_domain(table, domain))) or 0
        for table in (ITEMS, USERS, INTERACTIONS)
    }


def _data_hash(connection: sa.Connection, domain: str) -> str:
    return connection.scalar(sa.select(IMPORTS.c.data_hash).where(IMPORTS.c.domain == domain)) or ""


def _unknown_item(connection: sa.Connection, domain: str, item_id: str) -> UnknownItem:
    name = item_id[:MAX_ID]
    return UnknownItem(f"no item {name!r} in '{domain}'", hint=_suggestion(connection, domain, name))


def _suggestion(connection: sa.Connection, domain: str, text: str) -> str:
    """Name items whose title contains the text, else items with a similar id or title."""
    query = sa.select(ITEMS.c.title, ITEMS.c.id).where(_in_domain(ITEMS, domain))
    containing = query.where(ITEMS.c.title.icontains(text, autoescape=True))
    similar: list[tuple[str, str]] = [
        (title, item_id) for title, item_id in connection.execute(containing.limit(3))
    ]
    if not similar:
        by_name = {
            name.casefold(): (title, item_id)
            for title, item_id in connection.execute(query.limit(MAX_COMPARED))
            for name in (title, item_id)
        }
        similar = [by_name[name] for name in difflib.get_close_matches(text.casefold(), by_name)]
    if not similar:
        return "see the ids in the catalogue, or import the domain first"
    names = ", ".join(f"{item_id} ({title})" for title, item_id in dict.fromkeys(similar))
    return f"did you mean {names}?"
