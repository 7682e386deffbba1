"""Deletion of a user: all rows about them, and what was fitted on their events."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from recsys.config import Domain, Settings
from recsys.context import pii
from recsys.data.database import INTERACTIONS, SCHEMA, USERS
from recsys.data.event_table import UNKNOWN_TIME
from recsys.data.store import Store, refresh_data_hash, unknown_user
from recsys.engine.adapters import list_adapters
from recsys.errors import StoreError
from recsys.utils import sanitize
from recsys.utils.files import remove_folder

KEPT_CHANNELS = ("text",)
"""Parts of a retriever's folder that are fitted on items only."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted, and what may still know of the person."""

    rows: dict[str, int]  # deleted rows by table; tables without any are left out
    refit: tuple[str, ...]  # parts of the retriever that are fitted again at the next load
    adapters: tuple[str, ...]  # may be trained on the person's events: fine-tune them again or remove them
    remains: tuple[str, ...] = ()  # files of the database that still hold bytes of the rows, and until when


def delete_user(store: Store, domain: Domain, user_id: str, settings: Settings) -> Deletion:
    """Delete a person from every table, and delete what was fitted on their events.

    All rows are deleted in one transaction, then their bytes. A running process keeps the sums in its
    retriever until it loads it again. Files that the domain is imported from are not changed: importing
    them again brings the person back. Backups, exported examples and folders of runs lie where their
    maker put them, and are not changed either.

    Raises:
        UnknownUser: No table has rows about the user.
        StoreError: Also if fitted files cannot be removed; then delete again.
    """
    adapters = trained_on(store, domain, user_id, settings)
    with store.transaction(writes=True) as connection:
        rows = _delete_rows(connection, domain.name, user_id)
        if not rows:
            raise unknown_user(connection, domain.name, user_id)
        refresh_data_hash(connection, domain.name)
    remains = store.scrub()
    pii.clear_cache()
    sanitize.forget()
    refit = remove_fitted(domain, settings) if rows.get(INTERACTIONS.name) else ()
    return Deletion(rows, refit, adapters, (remains,) if remains else ())


def trained_on(store: Store, domain: Domain, user_id: str, settings: Settings) -> tuple[str, ...]:
    """Return the adapters of a domain created after the first event of a user.

    They may be trained on the user's events. The time at which an event arrived is not stored, only
    when it happened: an adapter that was created in between is listed too, none is left out.
    """
    of_user = (INTERACTIONS.c.domain == domain.name) & (INTERACTIONS.c.user_id == user_id)
    with store.transaction() as connection:
        first = connection.scalar(sa.select(sa.func.min(INTERACTIONS.c.timestamp)).where(of_user))
    if first is None:
        return ()
    return tuple(
        adapter.ref
        for adapter in list_adapters(settings, domain.name, domain.folder)
        if first == UNKNOWN_TIME or _seconds(adapter.published().created) >= first
    )


def remove_fitted(domain: Domain, settings: Settings) -> tuple[str, ...]:
    """Remove what a domain's retriever fitted on events, in evaluation caches too.

    The weights of the channels stay: they are a handful of numbers.

    Returns:
        The names of the channels that were removed.

    Raises:
        StoreError: A folder cannot be removed.
    """
    folder = settings.retriever_folder(domain.name)
    removed = [path for path in sorted(folder.glob("[!.]*/")) if path.name not in KEPT_CHANNELS]
    evaluations = settings.cache_dir / "evaluation" / domain.name
    for path in (*removed, evaluations):
        _remove(path)
    return tuple(path.name for path in removed)


def _delete_rows(connection: sa.Connection, domain: str, user_id: str) -> dict[str, int]:
    rows: dict[str, int] = {}
    for table in reversed(SCHEMA.sorted_tables):  # tables that refer to others come first
        column = USERS.c.id if table is USERS else table.c.get("user_id")
        if column is not None:
            of_user = (table.c.domain == domain) & (column == user_id)
            rows[table.name] = connection.execute(sa.delete(table).where(of_user)).rowcount
    return {name: count for name, count in rows.items() if count}


def _remove(folder: Path) -> None:
    try:
        remove_folder(folder)
    except OSError as error:
        raise StoreError(
            f"{folder} could not be removed: {error.strerror}", hint="remove it by hand, it is only a cache"
        ) from error


def _seconds(created: str) -> float:
    """Convert an ISO 8601 time to seconds since 1970, infinity if it cannot be read."""
    try:
        moment = dt.datetime.fromisoformat(created)
    except ValueError:
        return float("inf")
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
