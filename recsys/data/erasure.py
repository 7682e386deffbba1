"""A person taken out of everything that is kept of them, and what was learnt from them named."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from recsys.config import Domain, Settings
from recsys.context import pii
from recsys.data.database import INTERACTIONS, SCHEMA, USERS
from recsys.data.store import UNKNOWN_TIME, Store, note_import
from recsys.engine.adapters import list_adapters
from recsys.errors import StoreError
from recsys.utils import sanitize
from recsys.utils.files import remove_folder

KEPT_CHANNELS = ("text",)
"""Of a retriever's folder: fitted on items alone."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted. `rows` counts per table those with any; `refit` names the parts of the
    retriever that are fitted anew at the next load; `adapters` are those whose training may
    have read the person's events: they stay, and are to be tuned anew or removed.
    """

    rows: dict[str, int]
    refit: tuple[str, ...]
    adapters: tuple[str, ...]


def delete_user(store: Store, domain: Domain, user_id: str, settings: Settings) -> Deletion:
    """Delete a person: rows of every table that has any of theirs, and what was fitted on their events.

    The rows go in one transaction, or none. A running process forgets them with the rows, but for
    the sums in its retriever, until it loads it anew. Files that a domain is imported from are
    not touched: an import from them brings the person back.
    Raises UnknownUser, and StoreError, also where fitted files cannot be removed: delete again then.
    """
    adapters = trained_on(store, domain, user_id, settings)
    with store.transaction(writes=True) as connection:
        rows = _delete_rows(connection, domain.name, user_id)
        note_import(connection, domain.name)
    pii.clear_cache()
    sanitize.forget()
    return Deletion(rows, remove_fitted(domain, settings) if rows.get(INTERACTIONS.name) else (), adapters)


def trained_on(store: Store, domain: Domain, user_id: str, settings: Settings) -> tuple[str, ...]:
    """Adapters of the domain that may have read this person's events: made after the first of them.

    When an event arrived is not kept, only when it happened, so an adapter may be listed that
    was made between the two; none is left out. Raises UnknownUser.
    """
    store.user(domain.name, user_id)
    of_user = (INTERACTIONS.c.domain == domain.name) & (INTERACTIONS.c.user_id == user_id)
    with store.transaction() as connection:
        first = connection.scalar(sa.select(sa.func.min(INTERACTIONS.c.timestamp)).where(of_user))
    if first is None:
        return ()
    return tuple(
        adapter.ref
        for adapter in list_adapters(settings, domain.name, domain.folder)
        if first == UNKNOWN_TIME or _made(adapter.published().created) >= first
    )


def remove_fitted(domain: Domain, settings: Settings) -> tuple[str, ...]:
    """Remove what the domain's retriever learnt from events, in caches of evaluations too; what went.

    Weights of the channels stay: a handful of numbers. Raises StoreError.
    """
    folder = settings.retriever_folder(domain.name)
    gone = [path for path in sorted(folder.glob("[!.]*/")) if path.name not in KEPT_CHANNELS]
    evaluations = settings.cache_dir / "evaluation" / domain.name
    for path in (*gone, evaluations):
        _remove(path)
    return tuple(path.name for path in gone)


def _delete_rows(connection: sa.Connection, domain: str, user_id: str) -> dict[str, int]:
    rows: dict[str, int] = {}
    for table in reversed(SCHEMA.sorted_tables):  # those that refer to others first
        column = USERS.c.id if table is USERS else table.c.get("user_id")
        if column is not None:
            theirs = (table.c.domain == domain) & (column == user_id)
            rows[table.name] = connection.execute(sa.delete(table).where(theirs)).rowcount
    return {name: count for name, count in rows.items() if count}


def _remove(folder: Path) -> None:
    try:
        remove_folder(folder)
    except OSError as error:
        raise StoreError(
            f"{folder} could not be removed: {error.strerror}", hint="remove it by hand, it is only a cache"
        ) from error


def _made(created: str) -> float:
    """Seconds since 1970 of an ISO 8601 time; far in the future where it cannot be read."""
    try:
        moment = dt.datetime.fromisoformat(created)
    except ValueError:
        return float("inf")
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
