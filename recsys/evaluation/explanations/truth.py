"""Ground truth for reasons: the store's items, users and interactions."""

from __future__ import annotations

import calendar
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recsys.config import Feedback
from recsys.explain.phrases import ATTRIBUTE_LIMIT, Fact, facts_of
from recsys.knowledge.relations import RelationGraph
from recsys.types import Context, Interaction, Item
from recsys.utils.sanitize import clean_text

POPULAR_SHARE = 0.1  # the share of the catalogue that counts as "what people choose most"


@dataclass(frozen=True)
class ReasonFacts:
    """The facts that one reason is checked against."""

    item: Item
    past: Mapping[str, bool | None]  # item id -> liked, None where unknown; oldest first
    context: Context
    other: Item | None = None  # the item ranked next
    profile: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """When the person chose each item, by item id; oldest first, None where unknown."""

    def times_of(self, item_id: str) -> Sequence[float | None]:
        """Return when the person chose an item, without what came after the request."""
        now = math.inf if self.context.time is None else self.context.time.timestamp()
        return [time for time in self.times.get(item_id, ()) if time is None or time <= now]


class GroundTruth:
    """The store's facts about a domain, indexed for look-up."""

    def __init__(
        self,
        items: Iterable[Item],
        events: Iterable[Interaction],
        feedback: Feedback | None = None,
        profiles: Mapping[str, Mapping[str, str]] | None = None,
        relations: RelationGraph | None = None,
    ) -> None:
        liked = (feedback or Feedback()).liked
        self.items = {item.id: item for item in items}
        self.profiles = profiles or {}
        self.relations = relations or RelationGraph()
        self.pasts: dict[str, dict[str, bool | None]] = defaultdict(dict)
        self.times: dict[str, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
        self.users: dict[str, set[str]] = defaultdict(set)
        for event in events:
            if event.item_id in self.items:
                self.pasts[event.user_id][event.item_id] = liked(event.rating)
                self.times[event.user_id][event.item_id].append(event.timestamp)
                self.users[event.item_id].add(event.user_id)

    @cached_property
    def values(self) -> frozenset[str]:
        """All attribute values, as reasons show them."""
        names = (node.name for edges in self.relations.edges.values() for node in edges.entities)
        shown = (clean_text(name, ATTRIBUTE_LIMIT) for name in names)
        return frozenset({*shown, *(value for item in self.items.values() for value in values_of(item))}) - {
            ""
        }

    @cached_property
    def facts(self) -> frozenset[Fact]:
        """All facts of all items."""
        return frozenset(fact for item in self.items.values() for fact in facts_of(item))

    def related(self, item_id: str, other: str, relation: str, value: str = "") -> bool:
        """Return whether an item is related to another, by a value if one is named."""
        by_value = all(
            value in (clean_text(name, ATTRIBUTE_LIMIT) for name in self.relations.entities(one, relation))
            for one in (item_id, other)
        )
        return self.relations.related(item_id, other, relation) and (not value or by_value)

    @cached_property
    def _popular_from(self) -> int:
        """Number of users an item needs to be popular."""
        counts = sorted((len(self.users.get(item, ())) for item in self.items), reverse=True)
        return max(1, counts[math.ceil(len(counts) * POPULAR_SHARE) - 1]) if counts else 1

    def popular(self, item: Item) -> bool:
        """Return whether an item is in the most popular tenth of the catalogue."""
        return len(self.users.get(item.id, ())) >= self._popular_from

    def co_consumed(self, a_id: str, b_id: str) -> bool:
        """Return whether users of one item chose the other more often than all users do.

        At least two users must have chosen both.
        """
        a, b = self.users.get(a_id, set()), self.users.get(b_id, set())
        both = len(a & b)
        return both > 1 and both * len(self.pasts) > len(a) * len(b)


def values_of(item: Item) -> set[str]:
    """Return what is known of an item as reasons show it."""
    return {fact.value for fact in facts_of(item)}


def time_names(context: Context) -> set[str]:
    """Return every name of the time of a context."""
    part = context.part_of_day or ""
    names = {context.weekday or "", part, part.split(" ")[-1], context.season or ""}
    names |= {"weekend"} if context.weekend else set()
    names |= {"tonight"} if part.endswith(("evening", "night")) else set()
    if context.time is not None:
        names.add(calendar.month_name[context.time.month])
    names |= {0: {"midnight"}, 12: {"noon"}}.get(-1 if context.hour is None else context.hour, set())
    return names - {""}
