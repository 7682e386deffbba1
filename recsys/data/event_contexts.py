"""The context that each stored event happened in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recsys.config import Domain
from recsys.context.builder import build_context
from recsys.data.store import Store
from recsys.errors import ContextError
from recsys.types import Context, Interaction, Place

PLACE_FACT = "place"  # the fact of an event that says where the user was


def event_contexts(store: Store, domain: Domain) -> Iterator[tuple[Interaction, Context]]:
    """Yield the stored events with their contexts."""
    yield from attach_contexts(store.interactions(domain.name), user_homes(store, domain.name), domain)


def user_homes(store: Store, domain: str) -> dict[str, Place | None]:
    """Return where each user lives, as far as it is known."""
    return {user.id: user.home for user in store.all_users(domain)}


def attach_contexts(
    events: Iterable[Interaction], home_of: Mapping[str, Place | None], domain: Domain
) -> Iterator[tuple[Interaction, Context]]:
    """Yield events with their contexts, without those whose context is malformed.

    Neighbours that share time, home and facts, such as those of a basket, share a context.
    """
    shared: tuple[object, ...] = ()
    context = Context()
    for event in events:
        home = home_of.get(event.user_id)
        if (event.timestamp, home, event.context) != shared:
            try:
                context = event_context(event, home, domain)
            except ContextError:
                continue
            shared = (event.timestamp, home, event.context)
        yield event, context


def event_context(
    event: Interaction, home: Place | None, domain: Domain, names: Sequence[str] = ()
) -> Context:
    """Return an event's context from its time and facts, not its item or rating.

    Args:
        event: The event.
        home: Where the user lives, which stands in for a place that the event does not name.
        domain: Its locality and privacy apply, as in a request.
        names: Names of the user, which are masked.

    Raises:
        ContextError: As `build_context`.
    """
    facts = dict(event.context)
    return build_context(
        at=None if event.timestamp is None else dt.datetime.fromtimestamp(event.timestamp, dt.UTC),
        place=facts.pop(PLACE_FACT, None),
        home=home,
        extra=facts,
        domain=domain,
        names=names,
    )
