"""Tables, opening a database, transactions, and database errors as StoreError.

All differences between SQLite and PostgreSQL are handled here. Whoever changes a table adds a file to
`recsys/data/migrations/versions/`. Tables with rows about one person have the columns `domain` and
`user_id`: `recsys.data.erasure` finds the rows by them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError

from recsys.errors import MissingDependency, StoreError
from recsys.utils.tracing import traced

EXAMPLES = 'for example "sqlite:///folder/whyrec.db" or "postgresql+psycopg://user@host/database"'

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_LOCKED = ("is locked by another process", "try again when that one has ended")
_UNREACHABLE = ("cannot be reached", "check that the server runs and that the URL is right")
_FULL = ("has no room to grow", "free some disk space")
_REFUSED = ("refused a row", "it may name a user or item that is not there")
# Prefix of an SQLite error name or of a PostgreSQL SQLSTATE -> what happened, and what to do next.
_PROBLEMS = {
    "SQLITE_NOTADB": ("is not an SQLite database, or is damaged", "move the file away and import again"),
    "SQLITE_CORRUPT": ("is damaged", "move the file away and import again"),
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_READONLY": ("cannot be written", "check the rights of the file and its folder"),
    "SQLITE_CANTOPEN": ("cannot be opened", "check the path and the rights of its folder"),
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": ("cannot be read or written", "check that its disk works and has room"),
    "SQLITE_CONSTRAINT": _REFUSED,
    "08": _UNREACHABLE,
    "23": _REFUSED,
    "22": ("refused a row", "a text in it may hold a character that cannot be stored, such as NUL"),
    "25006": ("cannot be written", "the server or the session is read-only"),
    "28": ("refused the login", "check user and password of the URL"),
    "3D": ("does not exist", "create it, or correct the URL"),
    "42501": ("denies a right", "the user needs to own its tables, or to be granted rights on them"),
    "53100": _FULL,
    "53300": ("has no connection left", "try again, or allow the server more of them"),
    "55P03": _LOCKED,
    "57": _UNREACHABLE,
}
_RETRYABLE = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "08", "53100", "53300", "55P03", "57")
_WRITE_LOCK = 0x77687972  # "whyr": the advisory lock that writing transactions take

_POSTGRESQL_KEEPS = (
    "PostgreSQL: dead rows, until VACUUM (FULL, ANALYZE) and CHECKPOINT; its log, replicas and backups longer"
)

_JSON = sa.JSON(none_as_null=True)
SCHEMA = sa.MetaData()


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=True)


# Columns have the names of the fields in recsys/types.py, so that rows and objects convert directly.
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
    sa.Column("sources", _JSON),  # NULL if all attributes are of the item's own table
)
INTERACTIONS = sa.Table(
    "interactions",
    SCHEMA,
    _key("domain"),
    _key("user_id"),
    _key("item_id"),
    sa.Column("timestamp", sa.Double, primary_key=True),
    sa.Column("rating", sa.Double),
    sa.Column("context", _JSON),  # NULL if empty: faster than parsing "{}" for every event
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
    sa.Column("sources", _JSON),  # what further sources gave: SourceReport
)
RELATIONS = sa.Table(
    "relations",  # an item that was deleted may be named: its edges count again when it comes back
    SCHEMA,
    _key("domain"),
    _key("relation"),
    _key("source"),
    _key("target"),
    sa.Column("source_is_entity", sa.Boolean, nullable=False),
    sa.Column("target_is_entity", sa.Boolean, nullable=False),
)
API_KEYS = sa.Table(
    "api_keys",
    SCHEMA,
    _key("id"),  # the public part of the key
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("scopes", _JSON, nullable=False),
    sa.Column("rate", sa.Text),  # such as "600/minute"; NULL for the rate of the settings
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

# Written by the service; times are seconds since 1970.
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
    "exposures",  # the arm of each scenario that produced a list; outlives the trace
    SCHEMA,
    _key("domain"),
    _key("recommendation_id"),
    _key("scenario"),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),  # digest of the assigned user or session
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
    _key("key"),  # SHA-256 of sender, address and Idempotency-Key
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),  # NULL while the first request runs
    sa.Column("answer", _JSON),
    sa.Column("time", sa.Double, nullable=False),
)


def parse_url(url: str) -> sa.URL:
    """Parse a SQLAlchemy URL.

    Raises:
        StoreError: It cannot be read. The message does not quote it: it may hold a password.
    """
    try:
        return sa.make_url(url)
    except (SQLAlchemyError, ValueError):
        raise StoreError("the URL of the store cannot be read", hint=EXAMPLES) from None


def sqlite_file(url: str) -> str | None:
    """Return the file that an SQLite URL names; None for other databases and for none."""
    return parse_url(url).database or None if url.startswith("sqlite") else None


def display_url(url: str) -> str:
    """Return a URL with its password hidden."""
    return parse_url(url).render_as_string(hide_password=True)


def url_password(url: str) -> str:
    """Return the password in a URL, "" if there is none."""
    return str(parse_url(url).password or "")


def open_database(url: str, busy_timeout: float) -> sa.Engine:
    """Return an engine for a SQLAlchemy URL; folders of an SQLite file are created.

    Args:
        url: An SQLite or PostgreSQL URL.
        busy_timeout: Seconds to wait for another process that writes.

    Raises:
        StoreError: The URL is wrong, or names another kind of database.
        MissingDependency: The driver is not installed.
    """
    parsed = parse_url(url)
    backend = parsed.get_backend_name()
    if backend not in _INSERT:
        raise StoreError(f"a store cannot be kept in '{backend}'", hint=EXAMPLES)
    if parsed.drivername == "postgresql":  # SQLAlchemy would take the driver before psycopg 3
        parsed = parsed.set(drivername="postgresql+psycopg")
    options: dict[str, Any] = {"json_serializer": partial(json.dumps, ensure_ascii=False)}
    if backend == "sqlite":
        _create_folder(parsed)
        parsed = _readable(parsed)
        # Without an isolation level the driver does not begin at the first write: `_begin_sqlite` begins
        # before the first read.
        options["connect_args"] = {"timeout": busy_timeout, "isolation_level": None}
    else:
        options["pool_pre_ping"] = True  # a server that was restarted leaves dead connections behind
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
        sa.event.listen(engine, "connect", _set_pragmas)
        sa.event.listen(engine, "begin", partial(_begin_sqlite, busy_timeout))
    else:
        sa.event.listen(engine, "begin", partial(_lock_postgresql, busy_timeout))
    return engine


@contextmanager
def transaction(
    engine: sa.Engine, *, writes: bool = False, wait: float | None = None, exclusive: bool = True
) -> Iterator[sa.Connection]:
    """Open a transaction: all of its changes are kept, or none.

    Args:
        engine: From `open_database`.
        writes: Whether it writes. If so, it waits for other writers before it reads.
        wait: Seconds to wait for other writers, if less than the busy timeout.
        exclusive: False for a transaction whose rows no other touches: in PostgreSQL several of
            them may write at the same time.

    Raises:
        StoreError: The database reported an error, or holds a row that cannot be read.
    """
    try:
        with traced("store", writes=writes), engine.connect() as connection:
            connection.execution_options(writes=writes, wait=wait, exclusive=exclusive)
            if connection.dialect.name == "postgresql":
                # As in SQLite: a reader sees one snapshot, a writer sees what writers before it committed.
                level = "READ COMMITTED" if writes else "REPEATABLE READ"
                connection.execution_options(isolation_level=level)
            with connection.begin():
                yield connection
    except (
        SQLAlchemyError,
        engine.dialect.loaded_dbapi.Error,
        json.JSONDecodeError,
        ValidationError,
        UnicodeError,
    ) as error:
        raise _store_error(engine.url, error) from error


def scrub(engine: sa.Engine, wait: float) -> str:
    """Remove the bytes of deleted rows from the files of an SQLite database.

    Its `secure_delete` misses the copies that a rebalanced page keeps, so the file is written anew;
    its write-ahead log holds the rows as they were, so it is emptied.

    Args:
        engine: From `open_database`.
        wait: Seconds to wait for other processes that write, and then for those that read.

    Returns:
        What still holds deleted rows and until when, "" if nothing does.
    """
    if engine.dialect.name != "sqlite":
        return _POSTGRESQL_KEEPS
    file, database = Path(_database_name(engine.url)).name, engine.raw_connection()
    try:
        cursor = database.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(1000 * wait)}")
        cursor.execute("VACUUM")
        is_held = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        return f"{file} and its write-ahead log, not rewritten ({error}): until the next deletion"
    finally:
        database.close()
    until = "until the last connection closes, or the next deletion"
    return f"{file}-wal: the write-ahead log, which somebody reads: {until}" if is_held else ""


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], updated: Sequence[str]
) -> None:
    """Insert rows; where the primary key exists, set the `updated` columns instead."""
    insert = _INSERT[connection.dialect.name](table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: insert.excluded[name] for name in updated}
    )
    connection.execute(statement, rows)


def insert_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert many rows that are not there yet, by the fastest way of the database.

    Args:
        connection: Inside a transaction.
        table: Where to.
        columns: Names of the values of a row.
        rows: Values as the driver takes them, JSON as text.
    """
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def unreadable_row(url: sa.URL) -> StoreError:
    """Return the error for a stored row that is not what this version can read."""
    return StoreError(
        f"{_database_name(url)}: the database holds a row that cannot be read",
        hint="import again into a new one",
    )


def _create_folder(url: sa.URL) -> None:
    if not url.database or url.database.startswith((":memory:", "file:")):
        return
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{url.database}: its folder cannot be made: {error.strerror}"
        raise StoreError(problem, hint="check the path and your rights") from error


def _readable(url: sa.URL) -> sa.URL:
    """Return the URL that reads a write-protected file; others unchanged.

    SQLite would make files beside it even to read. Without a log of changes nobody is writing it, and it
    is read as it is.
    """
    if not url.database or url.database.startswith((":memory:", "file:")):
        return url
    file = Path(url.database).absolute()
    if not file.is_file() or (_is_writable(file) and _is_writable(file.parent)):
        return url
    log = file.with_name(f"{file.name}-wal")
    options = {"uri": "true", "mode": "ro"} | ({} if log.is_file() else {"immutable": "1"})
    return url.set(database=file.as_uri(), query={**url.query, **options})


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK)


def _set_pragmas(connection: sqlite3.Connection, _: object) -> None:
    with suppress(sqlite3.OperationalError):  # another process is setting it, or the file is read-only
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # nearly all of it: see `scrub`


def _begin_sqlite(busy_timeout: float, connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_wait_ms(busy_timeout, connection)}")
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lock_postgresql(busy_timeout: float, connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("writes"):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_wait_ms(busy_timeout, connection)}")
        lock = "pg_advisory_xact_lock" if options.get("exclusive") else "pg_advisory_xact_lock_shared"
        connection.exec_driver_sql(f"SELECT {lock}({_WRITE_LOCK})")


def _wait_ms(busy_timeout: float, connection: sa.Connection) -> int:
    wait: float | None = connection.get_execution_options().get("wait")
    return round(1000 * (busy_timeout if wait is None else min(wait, busy_timeout)))


def _store_error(url: sa.URL, error: Exception) -> StoreError:
    if isinstance(error, json.JSONDecodeError | ValidationError):
        return unreadable_row(url)
    name = _database_name(url)
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or _sqlstate(error)
    for prefix, (problem, hint) in _PROBLEMS.items():
        if code.startswith(prefix):
            store_error = StoreError(f"{name}: the database {problem}", hint=hint)
            store_error.retryable = prefix in _RETRYABLE
            return store_error
    reason = str(cause).partition("\n")[0]
    return StoreError(
        f"{name}: the database failed: {reason}", hint="check that it can be reached and written"
    )


def _database_name(url: sa.URL) -> str:
    name = url.database or url.get_backend_name()
    return url2pathname(name.removeprefix("file://")) if name.startswith("file:///") else name


def _sqlstate(error: Exception) -> str:
    """Return a SQLSTATE for an error that the driver raises without one."""
    if isinstance(error, OperationalError):
        return "08"
    return "22" if isinstance(error, DataError) else "23" if isinstance(error, IntegrityError) else ""
