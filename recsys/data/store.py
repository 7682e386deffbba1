"""Users, items and interactions in one database, several domains side by side.

SQLite file by default, PostgreSQL by URL. Order in time is (timestamp, order of arrival):
events of the same moment stay as they came, events of unknown time come before all others.
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
from typing import Any, Self

import sqlalchemy as sa

from recsys.data import migrations
from recsys.data.batch import Changes, ImportBatch, ImportResult, ItemChange, Progress
from recsys.data.database import IMPORTS, INTERACTIONS, ITEMS, USERS, open_database, transaction, upsert
from recsys.errors import RequestError, UnknownItem, UnknownUser
from recsys.types import Interaction, Item, User

UNKNOWN_TIME = -1e18  # stands for no timestamp, as NULL would not take part in the primary key
CHUNK = 10_000  # rows per statement
MAX_COMPARED = 5_000  # items looked through for a suggestion
MAX_ID = 60  # characters of a wrong id in a message

Row = dict[str, Any]

_IN_TIME = (INTERACTIONS.c.timestamp, INTERACTIONS.c.sequence)


class Store:
    """A database of users, items and interactions. A context manager; `close` is safe to repeat.

    `url` is a SQLAlchemy URL. A missing SQLite file and its folders are made, an older database
    is brought up to date. All methods raise StoreError if the database cannot be read or written;
    another process that writes is waited for `busy_timeout` seconds first.
    """

    def __init__(self, url: str, *, busy_timeout: float = 15.0) -> None:
        self._engine = open_database(url, busy_timeout)
        self._mine = threading.local()  # the connection of `atomic`, in the thread that is in it
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
        """Let go of the database."""
        self._engine.dispose()

    def transaction(
        self, *, writes: bool = False, wait: float | None = None, alone: bool = True
    ) -> AbstractContextManager[sa.Connection]:
        """A connection for work on tables that `Store` has no methods for, see `recsys.data.database.transaction`."""
        mine: sa.Connection | None = getattr(self._mine, "connection", None)
        if mine is not None:
            return nullcontext(mine)
        return transaction(self._engine, writes=writes, wait=wait, alone=alone)

    @contextmanager
    def atomic(self) -> Iterator[sa.Connection]:
        """One transaction that writes, which all others of this thread are part of while it lasts: all or nothing.

        What the database refuses is raised as StoreError at its end, whoever asked.
        """
        with transaction(self._engine, writes=True) as connection:
            self._mine.connection = connection
            try:
                yield connection
            finally:
                self._mine.connection = None

    def import_batch(self, domain: str, batch: ImportBatch, progress: Progress | None = None) -> ImportResult:
        """Add what is new and update what changed, in one transaction; nothing is deleted.

        An event is the same one if user, item and timestamp are equal. The same batch again
        changes nothing. `progress` is called with ("storing items", rows done, rows in all).
        """
        with self.transaction(writes=True) as connection:
            merge = partial(_merge, connection, domain, progress=progress)
            newest = sa.select(sa.func.max(INTERACTIONS.c.sequence)).where(INTERACTIONS.c.domain == domain)
            events = enumerate(batch.interactions, start=(connection.scalar(newest) or 0) + 1)
            items = merge(ITEMS, map(_item_row, batch.items))
            users = merge(USERS, (user.model_dump(mode="json") for user in batch.users))
            interactions = merge(INTERACTIONS, (_event_row(event, sequence) for sequence, event in events))
            if any(changes.added or changes.updated for changes in (items, users, interactions)):
                note_import(connection, domain)
            return ImportResult(items, users, interactions, _stored_hash(connection, domain))

    def put_items(self, domain: str, items: Sequence[Item]) -> ItemChange:
        """Add items, and replace those of the same ids, in one transaction.

        Raises RequestError for an item without id or title, or two of one id.
        """
        for place, item in enumerate(items):
            if not item.id.strip() or not item.title.strip():
                shown = item.id[:MAX_ID] or f"number {place + 1}"
                raise RequestError(f"item {shown!r} lacks an id or a title", hint="give both")
        if len({item.id for item in items}) < len(items):
            raise RequestError("two items have one id", hint="every id must be used once")
        with self.transaction(writes=True) as connection:
            before = _stored_hash(connection, domain)
            changes = _merge(connection, domain, ITEMS, map(_item_row, items), None)
            if changes.added or changes.updated:
                note_import(connection, domain)
            return ItemChange(changes, 0, before, _stored_hash(connection, domain))

    def remove_items(self, domain: str, item_ids: Iterable[str]) -> ItemChange:
        """Delete items, in one transaction; their events stay. An import that has them brings them back.

        An item that events refer to leaves its id alone, which nothing reads but they. Raises
        UnknownItem for an id that is not there, RequestError if no item would be left.
        """
        gone = list(dict.fromkeys(item_ids))
        with self.transaction(writes=True) as connection:
            before = _stored_hash(connection, domain)
            there = set(connection.scalars(sa.select(ITEMS.c.id).where(_of(ITEMS, domain))))
            for one in gone:
                if one not in there:
                    hint = _suggestion(connection, domain, one[:MAX_ID])
                    raise UnknownItem(f"no item {one[:MAX_ID]!r} in '{domain}'", hint=hint)
            if len(gone) == len(there):
                raise RequestError("no item would be left", hint="add others first")
            for start in range(0, len(gone), CHUNK):
                _remove(connection, domain, gone[start : start + CHUNK])
            if gone:
                note_import(connection, domain)
            return ItemChange(Changes(), len(gone), before, _stored_hash(connection, domain))

    def counts(self, domain: str) -> dict[str, int]:
        """How many "items", "users" and "interactions" there are."""
        with self.transaction() as connection:
            return _counts(connection, domain)

    def data_hash(self, domain: str) -> str:
        """SHA-256, in hex, of all items and interactions; "" when nothing was imported."""
        with self.transaction() as connection:
            return _stored_hash(connection, domain)

    def items(self, domain: str) -> list[Item]:
        """The catalogue, sorted by id."""
        with self.transaction() as connection:
            found = [Item.model_validate(row) for row in _rows(connection, ITEMS, domain)]
        return sorted(found, key=lambda item: item.id)

    def item(self, domain: str, item_id: str) -> Item:
        """One item. Raises UnknownItem; its hint names items that may have been meant."""
        with self.transaction() as connection:
            for row in _rows(connection, ITEMS, domain, ITEMS.c.id == item_id):
                return Item.model_validate(row)
            hint = _suggestion(connection, domain, item_id[:MAX_ID])
        raise UnknownItem(f"no item {item_id[:MAX_ID]!r} in '{domain}'", hint=hint)

    def users(self, domain: str) -> list[str]:
        """Ids of all users, sorted."""
        with self.transaction() as connection:
            return sorted(connection.scalars(sa.select(USERS.c.id).where(USERS.c.domain == domain)))

    def user(self, domain: str, user_id: str) -> User:
        """One user. Raises UnknownUser; its hint shows what ids look like."""
        with self.transaction() as connection:
            for row in _rows(connection, USERS, domain, USERS.c.id == user_id):
                return User.model_validate(row)
            some = sa.select(USERS.c.id).where(USERS.c.domain == domain).order_by(USERS.c.id).limit(3)
            known = ", ".join(connection.scalars(some))
        hint = f"users are, for example: {known}" if known else "no users are known: import the domain first"
        raise UnknownUser(f"no user {user_id[:MAX_ID]!r} in '{domain}'", hint=hint)

    def history(self, domain: str, user_id: str, *, limit: int | None = None) -> list[Interaction]:
        """What a user did, oldest first; with a `limit` the newest so many. Unknown users did nothing."""
        if limit is not None and limit < 0:
            raise RequestError(f"a history of {limit} events cannot be", hint="limit is 0 or more")
        newest_first = [column.desc() for column in _IN_TIME]
        with self.transaction() as connection:
            of_user = INTERACTIONS.c.user_id == user_id
            rows = _rows(connection, INTERACTIONS, domain, of_user, order=newest_first, limit=limit)
            return [_event(row) for row in rows][::-1]

    def interactions(self, domain: str) -> list[Interaction]:
        """All events, oldest first."""
        with self.transaction() as connection:
            return [_event(row) for row in _rows(connection, INTERACTIONS, domain, order=_IN_TIME)]

    def popularity(self, domain: str) -> dict[str, int]:
        """Interactions per item id; items that nobody met are left out."""
        item_id = INTERACTIONS.c.item_id
        events = sa.select(item_id, sa.func.count()).where(INTERACTIONS.c.domain == domain)
        with self.transaction() as connection:
            return {row[0]: row[1] for row in connection.execute(events.group_by(item_id))}


def _of(table: sa.Table, domain: str) -> sa.ColumnElement[bool]:
    """The rows of a domain. An item without a title is one that was removed, see `_remove`."""
    rows = table.c.domain == domain
    return rows & (table.c.title != "") if table is ITEMS else rows


def _remove(connection: sa.Connection, domain: str, ids: Sequence[str]) -> None:
    """Empty the rows of these items, and delete those that no event refers to."""
    of_domain = INTERACTIONS.c.domain == domain
    met = sa.select(INTERACTIONS.c.item_id).distinct().where(of_domain, INTERACTIONS.c.item_id.in_(ids))
    kept = set(connection.scalars(met))
    rows = (ITEMS.c.domain == domain) & ITEMS.c.id.in_(ids)
    connection.execute(
        sa.update(ITEMS).where(rows).values(title="", year=None, attributes={}, description="", site=None)
    )
    connection.execute(sa.delete(ITEMS).where(rows, ITEMS.c.id.not_in(kept)))


def _merge(
    connection: sa.Connection, domain: str, table: sa.Table, rows: Iterable[Row], progress: Progress | None
) -> Changes:
    """Write the rows that are new or differ from what is there."""
    key = itemgetter(*(column.name for column in table.primary_key if column.name != "domain"))
    content = [column.name for column in table.c if not column.primary_key and column.name != "sequence"]
    fields = itemgetter(*content)
    incoming = {key(row): row for row in rows}
    # Compared as text: the order of attributes counts, which == on dictionaries does not see.
    before = {key(row): repr(fields(row)) for row in _rows(connection, table, domain)}
    same = {one: before[one] == repr(fields(row)) for one, row in incoming.items() if one in before}
    written = [{"domain": domain} | row for one, row in incoming.items() if not same.get(one)]
    for start in range(0, len(written), CHUNK):
        if progress:
            progress(f"storing {table.name}", start, len(written))
        upsert(connection, table, written[start : start + CHUNK], content)
    if progress:
        progress(f"storing {table.name}", len(written), len(written))
    unchanged = sum(same.values())
    return Changes(len(incoming) - len(same), len(same) - unchanged, unchanged)


def note_import(connection: sa.Connection, domain: str) -> None:
    """Hash the data of a domain as it is now, so that others see that it changed."""
    digest = sha256()
    for row in sorted(_rows(connection, ITEMS, domain), key=itemgetter("id")):
        digest.update(repr(row if row["site"] else {k: v for k, v in row.items() if k != "site"}).encode())
    for row in _rows(connection, INTERACTIONS, domain, order=_IN_TIME):
        digest.update(repr(row).encode())
    noted = {
        "data_hash": digest.hexdigest(),
        "counts": _counts(connection, domain),
        "time": dt.datetime.now(dt.UTC),
    }
    upsert(connection, IMPORTS, [{"domain": domain} | noted], list(noted))


def _rows(
    connection: sa.Connection,
    table: sa.Table,
    domain: str,
    *conditions: sa.ColumnElement[bool],
    order: Sequence[sa.ColumnElement[Any]] = (),
    limit: int | None = None,
) -> Iterator[Row]:
    """Rows as the fields of a noun: without domain and sequence, which no noun knows of."""
    columns = [column for column in table.c if column.name not in ("domain", "sequence")]
    query = sa.select(*columns).where(_of(table, domain), *conditions).order_by(*order).limit(limit)
    names = [column.name for column in columns]
    for row in connection.execute(query):
        yield dict(zip(names, row, strict=True))


def _item_row(item: Item) -> Row:
    return {"site": None} | item.model_dump(mode="json")


def _event_row(event: Interaction, sequence: int) -> Row:
    timestamp = UNKNOWN_TIME if event.timestamp is None else event.timestamp
    stored = {"timestamp": timestamp, "context": dict(event.context) or None, "sequence": sequence}
    return event.model_dump(mode="json") | stored


def _event(row: Row) -> Interaction:
    timestamp = None if row["timestamp"] == UNKNOWN_TIME else row["timestamp"]
    return Interaction.model_validate(row | {"timestamp": timestamp, "context": row["context"] or {}})


def _counts(connection: sa.Connection, domain: str) -> dict[str, int]:
    return {
        table.name: connection.scalar(sa.select(sa.func.count()).where(_of(table, domain))) or 0
        for table in (ITEMS, USERS, INTERACTIONS)
    }


def _stored_hash(connection: sa.Connection, domain: str) -> str:
    return connection.scalar(sa.select(IMPORTS.c.data_hash).where(IMPORTS.c.domain == domain)) or ""


def _suggestion(connection: sa.Connection, domain: str, text: str) -> str:
    """Items whose title holds the text, else those whose id or title looks like it."""
    query = sa.select(ITEMS.c.title, ITEMS.c.id).where(_of(ITEMS, domain))
    holds = query.where(ITEMS.c.title.icontains(text, autoescape=True))
    found: list[tuple[str, str]] = [(title, one) for title, one in connection.execute(holds.limit(3))]
    if not found:
        some = {
            name.casefold(): (title, one)
            for title, one in connection.execute(query.limit(MAX_COMPARED))
            for name in (title, one)
        }
        found = [some[name] for name in difflib.get_close_matches(text.casefold(), some)]
    if not found:
        return "see the ids in the catalogue, or import the domain first"
    return "did you mean " + ", ".join(f"{one} ({title})" for title, one in dict.fromkeys(found)) + "?"
