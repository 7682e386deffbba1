"""What administrators did, kept in the store: who, when, what, to what. Nothing here takes an entry back."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from recsys.config import load_settings
from recsys.data.database import AUDIT_LOG
from recsys.data.store import Store


@dataclass(frozen=True, slots=True)
class Entry:
    """One act. `time` is seconds since 1970, `action` such as "keys.create"."""

    id: int
    time: float
    actor: str
    action: str
    target: str
    details: Mapping[str, Any] = field(default_factory=dict)


def record(store: Store, actor: str, action: str, target: str = "", **details: Any) -> None:
    """Write an act down. `details` are JSON values; neither keys nor what tells who a user is belong there."""
    row = {"time": time.time(), "actor": actor, "action": action, "target": target, "details": details}
    with store.transaction(writes=True) as connection:
        connection.execute(sa.insert(AUDIT_LOG), [row])


def record_command(action: str, target: str, **details: Any) -> None:
    """Write down an act of a command, in the configured store."""
    with Store(load_settings().database_url) as store:
        record(store, operator(), action, target, **details)


def entries(store: Store, *, limit: int = 50, before: int | None = None, action: str = "") -> list[Entry]:
    """The newest acts first, those before the id `before`, of actions that begin with `action`."""
    query = sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AUDIT_LOG.c.id < before)
    if action:
        query = query.where(AUDIT_LOG.c.action.startswith(action, autoescape=True))
    with store.transaction() as connection:
        return [Entry(**row) for row in connection.execute(query).mappings()]


def operator() -> str:
    """The actor of a command: the account it runs under."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # an account without a name, as in many containers
        return "cli"


def pseudonym(domain: str, user_id: str) -> str:
    """A user in the log: whoever knows the id can find the entry, the entry does not tell the id."""
    return f"{domain}:{sha256(f'{domain}/{user_id}'.encode()).hexdigest()[:16]}"
