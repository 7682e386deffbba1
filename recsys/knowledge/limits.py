"""How much of what a person has and is shown may be of one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from recsys.config import Rule
from recsys.types import HistoryEntry, Item


@dataclass(frozen=True)
class Limit:
    """A `limit` rule with the history of one request.

    Of a history of h items, m of which have a value, a list may hold floor(share * (h + first)) - m more of
    it: no list of `first` items or more then brings a value above its share.
    """

    rule: Rule
    chosen: Mapping[str, HistoryEntry]
    counts: Callable[[Item], bool]  # whether the rule's expression holds for an item

    def is_broken(self, item: Item, kept: Sequence[Item]) -> bool:
        """Return whether an item beside those that are kept makes too many of one value."""
        values = self._values([item])
        listed = self._values(kept) if values else Counter[str]()
        return any(self._held[value] + listed[value] >= self._room for value in values)

    @cached_property
    def _room(self) -> int:
        return int(self.rule.share * (len(self.chosen) + self.rule.first) + 1e-9)

    @cached_property
    def _held(self) -> Counter[str]:
        return self._values(entry.item for entry in self.chosen.values())

    def _values(self, items: Iterable[Item]) -> Counter[str]:
        having = [(item, values) for item in items if (values := item.attributes.get(self.rule.by or ""))]
        return Counter(value for item, values in having if self.counts(item) for value in values)
