"""Opening a database, transactions on it, and its errors in words. Knows no table.

SQLite and PostgreSQL are spoken to in what they have in common; where they differ, here is the place.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from recsys.errors import MissingDependency, StoreError

EXAMPLES = 'for example "sqlite:///folder/whyrec.db" or "postgresql+psycopg://user@host/database"'

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# What SQLite calls an error -> what happened, and the next step.
_SQLITE_PROBLEMS = {
    "SQLITE_NOTADB": ("is not an SQLite database, or is damaged", "move the file away and import again"),
    "SQLITE_CORRUPT": ("is damaged", "move the file away and import again"),
    "SQLITE_BUSY": ("is locked by another process", "try again when that one has ended"),
    "SQLITE_READONLY": ("cannot be written", "check the rights of the file and its folder"),
    "SQLITE_CANTOPEN": ("cannot be opened", "check the path and the rights of its folder"),
    "SQLITE_FULL": ("has no room to grow", "free some disk space"),
    "SQLITE_CONSTRAINT": ("refused a row", "it may name a user or item that is not there"),
}


def open_database(url: str, busy_timeout: float) -> sa.Engine:
    """An engine for a SQLAlchemy URL; the folders of an SQLite file are made.

    `busy_timeout` is how many seconds to wait for another process that writes. Raises StoreError
    for a URL that is wrong or of another database, MissingDependency if its driver is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except (SQLAlchemyError, ValueError):  # which may quote a password, so neither is shown
        raise StoreError("the URL of the store cannot be read", hint=EXAMPLES) from None
    backend = parsed.get_backend_name()
    if backend not in _INSERT:
        raise StoreError(f"a store cannot be kept in '{backend}'", hint=EXAMPLES)
    options: dict[str, Any] = {"json_serializer": partial(json.dumps, ensure_ascii=False)}
    if backend == "sqlite":
        _make_folder(parsed)
        # No isolation level: the driver would begin at the first write, `_begin` does so before all reads.
        options["connect_args"] = {"timeout": busy_timeout, "isolation_level": None}
    try:
        engine = sa.create_engine(parsed, **options)
    except ImportError as error:
        driver = error.name or parsed.drivername
        raise MissingDependency(
            f"the database needs '{driver}', which is not installed", hint=f"pip install {driver}"
        ) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the URL of the store cannot be used: {error}", hint=EXAMPLES) from error
    if backend == "sqlite":
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def transaction(engine: sa.Engine, *, writes: bool = False) -> Iterator[sa.Connection]:
    """All or nothing; one that `writes` waits for other writers before it reads.

    Raises StoreError for whatever the database has to say, and for rows that cannot be read.
    """
    try:
        with engine.connect() as connection:
            connection.execution_options(writes=writes)
            with connection.begin():
                yield connection
    except (SQLAlchemyError, sqlite3.Error, json.JSONDecodeError, ValidationError, UnicodeError) as error:
        raise _explained(engine.url, error) from error


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], updated: Sequence[str]
) -> None:
    """Insert rows; where the primary key is taken, set the `updated` columns instead."""
    insert = _INSERT[connection.dialect.name](table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: insert.excluded[name] for name in updated}
    )
    connection.execute(statement, rows)


def _make_folder(url: sa.URL) -> None:
    if not url.database or url.database.startswith((":memory:", "file:")):
        return
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{url.database}: its folder cannot be made: {error.strerror}"
        raise StoreError(problem, hint="check the path and your rights") from error


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    with suppress(
        sqlite3.OperationalError
    ):  # another process is about to set it, or the file may only be read
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _explained(url: sa.URL, error: Exception) -> StoreError:
    name = url.database or url.get_backend_name()
    if isinstance(error, json.JSONDecodeError | ValidationError):
        return StoreError(
            f"{name}: the database holds a row that cannot be read", hint="import again into a new one"
        )
    cause = getattr(error, "orig", error)
    code = (
        "SQLITE_CONSTRAINT" if isinstance(error, IntegrityError) else getattr(cause, "sqlite_errorname", "")
    )
    for prefix, (problem, hint) in _SQLITE_PROBLEMS.items():
        if code.startswith(prefix):
            explained = StoreError(f"{name}: the database {problem}", hint=hint)
            explained.retryable = prefix == "SQLITE_BUSY"
            return explained
    reason = str(cause).partition("\n")[0]
    return StoreError(
        f"{name}: the database failed: {reason}", hint="check that it can be reached and written"
    )
