"""The situation each stored event happened in, and where a domain's retriever is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from recsys.config import Domain, Settings
from recsys.context.builder import build_context
from recsys.data.store import Store
from recsys.errors import ContextError
from recsys.types import Context, Interaction, Place

PLACE = "place"  # of an event's facts, the one that says where the person was


def retriever_folder(settings: Settings, domain: str) -> Path:
    """Text index, fitted channels and weights of a domain."""
    return settings.data_dir / "retrievers" / domain


def event_contexts(store: Store, domain: Domain) -> Iterator[tuple[Interaction, Context]]:
    """Events with their context: when, where (by default at the user's home), and what the event itself says."""
    yield from with_context(store.interactions(domain.name), homes(store, domain.name), domain)


def homes(store: Store, domain: str) -> dict[str, Place | None]:
    """Where each user lives, as far as it is known."""
    return {user: store.user(domain, user).home for user in store.users(domain)}


def with_context(
    events: Iterable[Interaction], home_of: Mapping[str, Place | None], domain: Domain
) -> Iterator[tuple[Interaction, Context]]:
    """Each event with its context; those that cannot be understood are left out."""
    for event in events:
        try:
            yield event, event_context(event, home_of.get(event.user_id), domain)
        except ContextError:
            continue


def event_context(
    event: Interaction, home: Place | None, domain: Domain, names: Sequence[str] = ()
) -> Context:
    """The context an event happened in, of its time and facts alone: never what was met, or how it was liked.

    Facts are masked as in a request to the domain, with the `names` of the person.
    Raises ContextError where `build_context` does.
    """
    facts = dict(event.context)
    return build_context(
        at=None if event.timestamp is None else dt.datetime.fromtimestamp(event.timestamp, dt.UTC),
        place=facts.pop(PLACE, None),
        home=home,
        extra=facts,
        locality=domain.locality,
        privacy=domain.privacy,
        names=names,
    )
