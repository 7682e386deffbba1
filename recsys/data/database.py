"""The tables, opening a database that holds them, transactions on it, and its errors in words.

SQLite and PostgreSQL are spoken to in what they have in common; where they differ, here is the place.
A table is changed together with a new file in `recsys/data/migrations/versions/`. Rows that tell of
one person have the columns `domain` and `user_id`: `recsys.data.erasure` finds them by those.
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
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError

from recsys.errors import MissingDependency, StoreError
from recsys.utils.tracing import watched

EXAMPLES = 'for example "sqlite:///folder/whyrec.db" or "postgresql+psycopg://user@host/database"'

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_LOCKED = ("is locked by another process", "try again when that one has ended")
_AWAY = ("cannot be reached", "check that the server runs and that the URL is right")
_FULL = ("has no room to grow", "free some disk space")
_REFUSED = ("refused a row", "it may name a user or item that is not there")
# What SQLite calls an error, or PostgreSQL's SQLSTATE, by how it begins -> what happened, and the next step.
_PROBLEMS = {
    "SQLITE_NOTADB": ("is not an SQLite database, or is damaged", "move the file away and import again"),
    "SQLITE_CORRUPT": ("is damaged", "move the file away and import again"),
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_READONLY": ("cannot be written", "check the rights of the file and its folder"),
    "SQLITE_CANTOPEN": ("cannot be opened", "check the path and the rights of its folder"),
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": ("cannot be read or written", "check that its disk works and has room"),
    "SQLITE_CONSTRAINT": _REFUSED,
    "08": _AWAY,
    "23": _REFUSED,
    "22": ("refused a row", "a text in it may hold a character that cannot be stored, such as NUL"),
    "25006": ("cannot be written", "the server or the session is read-only"),
    "28": ("refused the login", "check user and password of the URL"),
    "3D": ("does not exist", "create it, or correct the URL"),
    "42501": ("denies a right", "the user needs to own its tables, or to be granted rights on them"),
    "53100": _FULL,
    "53300": ("has no connection left", "try again, or allow the server more of them"),
    "55P03": _LOCKED,
    "57": _AWAY,
}
_RETRYABLE = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "08", "53100", "53300", "55P03", "57")
_WRITERS = 0x77687972  # "whyr": the advisory lock that those who write take

_JSON = sa.JSON(none_as_null=True)
SCHEMA = sa.MetaData()


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=True)


# Columns bear the names of the fields in recsys/types.py: rows and nouns turn into each other as they are.
USERS = sa.Table(
    "users",
    SCHEMA,
    _key("domain"),
    _key("id"),
    sa.Column("profile", _JSON, nullable=False),
    sa.Column("home", _JSON),
)
ITEMS = sa.Table(
    "items",
    SCHEMA,
    _key("domain"),
    _key("id"),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("year", sa.Integer),
    sa.Column("attributes", _JSON, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("site", _JSON),
)
INTERACTIONS = sa.Table(
    "interactions",
    SCHEMA,
    _key("domain"),
    _key("user_id"),
    _key("item_id"),
    sa.Column("timestamp", sa.Double, primary_key=True),
    sa.Column("rating", sa.Double),
    sa.Column("context", _JSON),  # NULL where there is none: quicker than to parse 100,000 times "{}"
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(["domain", "user_id"], ["users.domain", "users.id"]),
    sa.ForeignKeyConstraint(["domain", "item_id"], ["items.domain", "items.id"]),
    sa.Index("interactions_in_time", "domain", "user_id", "timestamp", "sequence"),
)
IMPORTS = sa.Table(
    "imports",
    SCHEMA,
    _key("domain"),
    sa.Column("data_hash", sa.Text, nullable=False),
    sa.Column("counts", _JSON, nullable=False),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),
)
API_KEYS = sa.Table(
    "api_keys",
    SCHEMA,
    _key("id"),  # the part of the key that is shown
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("scopes", _JSON, nullable=False),
    sa.Column("rate", sa.Text),  # "600/minute"; NULL for that of the settings
    sa.Column("created", sa.Double, nullable=False),  # seconds since 1970, as are the next two
    sa.Column("expires", sa.Double),
    sa.Column("revoked", sa.Double),
)
AUDIT_LOG = sa.Table(
    "audit_log",
    SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),  # seconds since 1970
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("details", _JSON, nullable=False),
)

# What the service keeps; times are seconds since 1970.
TRACES = sa.Table(
    "traces",
    SCHEMA,
    _key("domain"),
    _key("id"),  # the recommendation_id
    sa.Column("user_id", sa.Text),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("request", _JSON, nullable=False),
    sa.Column("answer", _JSON, nullable=False),
    sa.Index("traces_in_time", "domain", "time"),
    sa.Index("traces_of_user", "domain", "user_id"),
)
FEEDBACK = sa.Table(
    "feedback",
    SCHEMA,
    _key("domain"),
    _key("recommendation_id"),
    _key("item_id"),
    _key("event"),
    sa.Column("user_id", sa.Text),
    sa.Column("rank", sa.Integer),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Index("feedback_of_user", "domain", "user_id"),
)
EXPOSURES = sa.Table(
    "exposures",  # which arm of each scenario made a list, for whom; kept when its trace is gone
    SCHEMA,
    _key("domain"),
    _key("recommendation_id"),
    _key("scenario"),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),  # a digest of who was assigned: a user or a session
    sa.Column("user_id", sa.Text),
    sa.Column("time", sa.Double, nullable=False),
    sa.Index("exposures_in_time", "domain", "scenario", "time"),
    sa.Index("exposures_of_user", "domain", "user_id"),
)
SESSIONS = sa.Table(
    "sessions",
    SCHEMA,
    _key("domain"),
    _key("id"),
    sa.Column("liked", _JSON, nullable=False),
    sa.Column("disliked", _JSON, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)
IDEMPOTENCY = sa.Table(
    "idempotency",
    SCHEMA,
    _key("key"),  # SHA-256 of who sent it, where to, and the key
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),  # NULL while the first request runs
    sa.Column("answer", _JSON),
    sa.Column("time", sa.Double, nullable=False),
)


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
    if parsed.drivername == "postgresql":  # SQLAlchemy would take the driver before psycopg 3
        parsed = parsed.set(drivername="postgresql+psycopg")
    options: dict[str, Any] = {"json_serializer": partial(json.dumps, ensure_ascii=False)}
    if backend == "sqlite":
        _make_folder(parsed)
        # No isolation level: the driver would begin at the first write, `_begin` does so before all reads.
        options["connect_args"] = {"timeout": busy_timeout, "isolation_level": None}
    else:
        options["pool_pre_ping"] = True  # a server that was restarted has left dead connections behind
        options["connect_args"] = {"connect_timeout": max(2, round(busy_timeout))}
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
        sa.event.listen(engine, "begin", partial(_begin, busy_timeout))
    else:
        sa.event.listen(engine, "begin", partial(_queue, busy_timeout))
    return engine


@contextmanager
def transaction(
    engine: sa.Engine, *, writes: bool = False, wait: float | None = None, alone: bool = True
) -> Iterator[sa.Connection]:
    """All or nothing; one that `writes` waits for other writers before it reads, `wait` seconds at most if given.

    Not `alone`: its rows are its own, and in PostgreSQL others like it may write at the same time.

    Raises StoreError for whatever the database has to say, and for rows that cannot be read.
    """
    try:
        with watched("store", writes=writes), engine.connect() as connection:
            connection.execution_options(writes=writes, wait=wait, alone=alone)
            if connection.dialect.name == "postgresql":
                # As in SQLite: who reads sees one moment, who writes what those before have written.
                level = "READ COMMITTED" if writes else "REPEATABLE READ"
                connection.execution_options(isolation_level=level)
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
    connection.execute("PRAGMA secure_delete = ON")  # what was deleted is overwritten


def _begin(busy_timeout: float, connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_wait_ms(busy_timeout, connection)}")
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _queue(busy_timeout: float, connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("writes"):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_wait_ms(busy_timeout, connection)}")
        lock = "pg_advisory_xact_lock" if options.get("alone") else "pg_advisory_xact_lock_shared"
        connection.exec_driver_sql(f"SELECT {lock}({_WRITERS})")


def _wait_ms(busy_timeout: float, connection: sa.Connection) -> int:
    wait: float | None = connection.get_execution_options().get("wait")
    return round(1000 * (busy_timeout if wait is None else min(wait, busy_timeout)))


def _explained(url: sa.URL, error: Exception) -> StoreError:
    name = url.database or url.get_backend_name()
    if isinstance(error, json.JSONDecodeError | ValidationError):
        return StoreError(
            f"{name}: the database holds a row that cannot be read", hint="import again into a new one"
        )
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or _code(error)
    for prefix, (problem, hint) in _PROBLEMS.items():
        if code.startswith(prefix):
            explained = StoreError(f"{name}: the database {problem}", hint=hint)
            explained.retryable = prefix in _RETRYABLE
            return explained
    reason = str(cause).partition("\n")[0]
    return StoreError(
        f"{name}: the database failed: {reason}", hint="check that it can be reached and written"
    )


def _code(error: Exception) -> str:
    """A SQLSTATE for what a driver finds by itself, without one."""
    if isinstance(error, OperationalError):
        return "08"
    return "22" if isinstance(error, DataError) else "23" if isinstance(error, IntegrityError) else ""
