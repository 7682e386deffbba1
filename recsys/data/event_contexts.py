"""The situation each stored event happened in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recsys.config import Domain
from recsys.context.builder import build_context
from recsys.data.store import Store
from recsys.errors import ContextError
from recsys.types import Context, Interaction, Place

PLACE_FACT = "place"  # of an event's facts, the one that says where the person was


def event_contexts(store: Store, domain: Domain) -> Iterator[tuple[Interaction, Context]]:
    """Events with their context: when, where (by default at the user's home), and what the event itself says."""
    yield from attach_contexts(store.interactions(domain.name), user_homes(store, domain.name), domain)


def user_homes(store: Store, domain: str) -> dict[str, Place | None]:
    """Where each user lives, as far as it is known."""
    return {user: store.user(domain, user).home for user in store.users(domain)}


def attach_contexts(
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
        place=facts.pop(PLACE_FACT, None),
        home=home,
        extra=facts,
        locality=domain.locality,
        privacy=domain.privacy,
        names=names,
    )
