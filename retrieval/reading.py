"""The events of the store as arrays, read without an object per event."""

from __future__ import annotations

from collections.abc import Iterable

from recsys.config import Domain
from recsys.data.dataset import EventLog
from recsys.data.store import Store


def read_log(store: Store, domain: Domain, items: Iterable[str]) -> EventLog:
    """Read a domain's events of these items."""
    return EventLog.of(store.interactions(domain.name), items, domain.feedback)
