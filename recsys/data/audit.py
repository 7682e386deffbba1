"""The audit log: what administrators did, when, to what; and what rules decided.

Nothing here deletes an entry.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from recsys.config import load_settings
from recsys.data.database import AUDIT_LOG
from recsys.data.store import Store
from recsys.types import RuleAction


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of an administrator."""

    id: int
    time: float  # seconds since 1970
    actor: str  # name of a key, or account of a command
    action: str  # such as "keys.create"
    target: str
    details: Mapping[str, Any] = field(default_factory=dict)


def record(store: Store, actor: str, action: str, target: str = "", **details: Any) -> None:
    """Add an entry; `details` are JSON values without secrets and ids of users."""
    row = {"time": time.time(), "actor": actor, "action": action, "target": target, "details": details}
    with store.transaction(writes=True) as connection:
        connection.execute(sa.insert(AUDIT_LOG), [row])


RULES = "rules.acted"


def record_rules(
    store: Store, domain: str, actions: Iterable[RuleAction], recommendation_id: str, request_id: str
) -> None:
    """Add what rules did in one answer, without values that tell about a person."""
    rules = [action.model_dump(mode="json") for action in actions]
    record(store, "service", RULES, domain, recommendation=recommendation_id, request=request_id, rules=rules)


@dataclass(frozen=True, slots=True)
class Acted:
    """What one version of a rule did in the answers of the service."""

    rule: str
    version: str
    do: str
    trial: bool
    answers: int  # that it acted in
    items: int  # that it left out or moved
    last: float  # seconds since 1970


def acted(store: Store, domain: str, since: float | None = None) -> list[Acted]:
    """Return what the rules of a domain did, by the log, the latest first."""
    found: dict[tuple[str, str], Acted] = {}
    for entry in entries(store, limit=None, action=RULES, target=domain, since=since):
        for rule in entry.details["rules"]:
            key = (rule["rule"], rule["version"])
            one = found.get(key) or Acted(*key, rule["do"], rule["trial"], 0, 0, entry.time)
            found[key] = replace(one, answers=one.answers + 1, items=one.items + rule["items"])
    return list(found.values())


def record_command(action: str, target: str, **details: Any) -> None:
    """Add an entry for an action of a command, in the configured store."""
    with Store(load_settings().database_url) as store:
        record(store, operator(), action, target, **details)


def entries(
    store: Store,
    *,
    limit: int | None = 50,
    before: int | None = None,
    action: str = "",
    target: str = "",
    since: float | None = None,
) -> list[AuditEntry]:
    """Return entries, the newest first.

    Args:
        store: Where the log is.
        limit: How many at most; None: all.
        before: Id of an entry; only older ones are returned.
        action: How the actions begin, such as "keys."; by default all but those of rules.
        target: What was acted on, exactly.
        since: The earliest time, in seconds since 1970.
    """
    query = sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AUDIT_LOG.c.id < before)
    if since is not None:
        query = query.where(AUDIT_LOG.c.time >= since)
    if target:
        query = query.where(AUDIT_LOG.c.target == target)
    if action:
        query = query.where(AUDIT_LOG.c.action.startswith(action, autoescape=True))
    else:
        query = query.where(AUDIT_LOG.c.action != RULES)
    with store.transaction() as connection:
        return [AuditEntry(**row) for row in connection.execute(query).mappings()]


def operator() -> str:
    """Return the actor of a command: the account it runs under."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # an account without a name, as in many containers
        return "cli"


def pseudonym(domain: str, user_id: str) -> str:
    """Return a user's name in the log, which does not reveal the id."""
    return f"{domain}:{sha256(f'{domain}/{user_id}'.encode()).hexdigest()[:16]}"
