"""What a person chose before, and what is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from recsys.explain.phrases import Fact, facts_of
from recsys.types import HistoryEntry


class Past:
    """The items of a history, by id, and their facts."""

    def __init__(self, history: Iterable[HistoryEntry]) -> None:
        self.entries: Sequence[HistoryEntry] = tuple(history)  # oldest first
        self.by_id: Mapping[str, HistoryEntry] = {entry.item.id: entry for entry in self.entries}
        self.facts: Mapping[str, frozenset[Fact]] = {
            item_id: frozenset(facts_of(entry.item)) for item_id, entry in self.by_id.items()
        }

    @cached_property
    def disliked_facts(self) -> frozenset[Fact]:
        """Facts that the person disliked at least as often as not, and more than once."""
        rated = self._counted(entry for entry in self.by_id.values() if entry.liked is not None)
        liked = self._counted(entry for entry in self.by_id.values() if entry.liked)
        return frozenset(fact for fact, times in rated.items() if 1 < times >= 2 * liked[fact])

    @cached_property
    def welcome(self) -> Counter[Fact]:
        """How many items that were not disliked have each fact."""
        return self._counted(entry for entry in self.by_id.values() if entry.liked is not False)

    def _counted(self, entries: Iterable[HistoryEntry]) -> Counter[Fact]:
        return Counter(fact for entry in entries for fact in self.facts[entry.item.id])
