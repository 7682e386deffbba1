"""What the store knows to be true of a domain: the measure that reasons are held to."""

from __future__ import annotations

import calendar
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from recsys.config import Feedback
from recsys.explain.evidence import ATTRIBUTE_LIMIT
from recsys.types import Context, Interaction, Item
from recsys.utils.sanitize import clean_text

POPULAR_SHARE = 0.1  # "among the films people choose most": among this share of the catalogue


@dataclass(frozen=True)
class ReasonFacts:
    """What is true of one reason: its item, the person's past (item id -> liked, None if nobody knows; oldest first),
    the situation, the item ranked next, and the person's profile."""

    item: Item
    past: Mapping[str, bool | None]
    context: Context
    other: Item | None = None
    profile: Mapping[str, str] = field(default_factory=dict)


class GroundTruth:
    """The store's facts of a domain, in a shape that can be asked."""

    def __init__(
        self,
        items: Iterable[Item],
        events: Iterable[Interaction],
        feedback: Feedback | None = None,
        profiles: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        judge = (feedback or Feedback()).liked
        self.items = {item.id: item for item in items}
        self.profiles = profiles or {}
        self.pasts: dict[str, dict[str, bool | None]] = defaultdict(dict)
        self.people: dict[str, set[str]] = defaultdict(set)
        for event in events:
            if event.item_id in self.items:
                self.pasts[event.user_id][event.item_id] = judge(event.rating)
                self.people[event.item_id].add(event.user_id)

    @cached_property
    def values(self) -> frozenset[str]:
        """All attribute values, as they are shown."""
        return frozenset(value for item in self.items.values() for value in values_of(item))

    @cached_property
    def _popular_from(self) -> int:
        """How many people an item needs to be among the most chosen."""
        counts = sorted((len(self.people.get(item, ())) for item in self.items), reverse=True)
        return max(1, counts[math.ceil(len(counts) * POPULAR_SHARE) - 1]) if counts else 1

    def popular(self, item: Item) -> bool:
        """Whether it is among the tenth of the catalogue that most people met."""
        return len(self.people.get(item.id, ())) >= self._popular_from

    def co_consumed(self, one: str, other: str) -> bool:
        """Whether those who met `one` met `other` more often than everybody did, and more than one of them."""
        a, b = self.people.get(one, set()), self.people.get(other, set())
        both = len(a & b)
        return both > 1 and both * len(self.pasts) > len(a) * len(b)


def values_of(item: Item) -> set[str]:
    """An item's attribute values, as they are shown."""
    shown = {clean_text(v, ATTRIBUTE_LIMIT) for values in item.attributes.values() for v in values}
    return shown - {""}


def moment(context: Context) -> set[str]:
    """Every name of a situation's time."""
    part = context.part_of_day or ""
    found = {context.weekday or "", part, part.split(" ")[-1], context.season or ""}
    found |= {"weekend"} if context.weekend else set()
    found |= {"tonight"} if part.endswith(("evening", "night")) else set()
    if context.time is not None:
        found.add(calendar.month_name[context.time.month])
    found |= {0: {"midnight"}, 12: {"noon"}}.get(-1 if context.hour is None else context.hour, set())
    return found - {""}
