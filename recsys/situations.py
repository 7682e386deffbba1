"""The situation each stored event happened in, and where a domain's retriever is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from recsys.config import Settings
from recsys.context import build_context
from recsys.errors import ContextError
from recsys.store import Store
from recsys.types import Context, Interaction, Place


def retriever_folder(settings: Settings, domain: str) -> Path:
    """Text index, fitted channels and weights of a domain."""
    return settings.data_dir / "retrievers" / domain


def situations(store: Store, domain: str) -> Iterator[tuple[Interaction, Context]]:
    """Events with their context: when, at the user's home, and what the event itself says."""
    yield from with_context(store.interactions(domain), homes(store, domain))


def homes(store: Store, domain: str) -> dict[str, Place | None]:
    """Where each user lives, as far as it is known."""
    return {user: store.user(domain, user).home for user in store.users(domain)}


def with_context(
    events: Iterable[Interaction], home_of: Mapping[str, Place | None]
) -> Iterator[tuple[Interaction, Context]]:
    """Each event with the context that `build_context` makes of it; those it refuses are left out."""
    for event in events:
        at = None if event.timestamp is None else dt.datetime.fromtimestamp(event.timestamp, dt.UTC)
        try:
            yield event, build_context(at=at, home=home_of.get(event.user_id), extra=event.context)
        except ContextError:
            continue
