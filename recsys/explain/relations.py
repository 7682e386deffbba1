"""What a reason says of how an item is related to what the person liked or chose."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config import Domain
from recsys.config.reasons import ChosenWords
from recsys.explain.evidence import ATTRIBUTE_LIMIT, RelationPhrase, attribute_values, shown_title
from recsys.explain.grammar import Grammar
from recsys.types import Candidate, HistoryEntry, Item
from recsys.utils.sanitize import clean_text

VALUES_SHOWN = 2
"""Shared attribute values that are named."""
LATELY = dt.timedelta(days=6)
"""The weekday of what was chosen so long ago tells the day."""
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class RelationPhrases:
    """Says in one language how a candidate is related to items of a history."""

    domain: Domain
    grammar: Grammar
    now: dt.datetime | None = None  # the time of the request

    def of(self, candidate: Candidate, history: Sequence[HistoryEntry]) -> dict[str, RelationPhrase]:
        """Return what may be said of a candidate, by id of the related item.

        Of several relations to one item, the first of domain.toml that has a phrase in the language counts;
        after all of them, for what was chosen and not rated, the attribute values in common.
        """
        past = {entry.item.id: entry for entry in history if self._is_told(entry)}
        relations, language = self.domain.relations, self.domain.reasons.language
        order = {name: number for number, name in enumerate(relations)}
        phrases: dict[str, RelationPhrase] = {}
        for related in candidate.related:
            entry, relation = past.get(related.item_id), relations.get(related.relation)
            phrase = relation.phrase(language, forward=related.forward) if relation else None
            if entry is None or phrase is None or related.item_id in phrases:
                continue
            slots = {"title": self._title(entry), "value": clean_text(related.value, ATTRIBUTE_LIMIT)}
            phrases[related.item_id] = RelationPhrase(order[related.relation], _filled(phrase, slots))
        shared = {id_: text for id_, entry in past.items() if (text := self._shared(candidate.item, entry))}
        last = {id_: RelationPhrase(len(order), text) for id_, text in shared.items()}
        return last | phrases

    def _is_told(self, entry: HistoryEntry) -> bool:
        return bool(entry.liked or (entry.liked is None and self._words))

    @property
    def _words(self) -> ChosenWords | None:
        return self.domain.reasons.chosen.get(self.domain.reasons.language)

    def _title(self, entry: HistoryEntry) -> str:
        title, words = shown_title(entry.item, self.domain.noun), self._words
        if entry.liked or words is None:
            return self.grammar.liked_title(title)
        slots, text = {"title": self.grammar.titled(title)}, words.title
        if self.now and entry.timestamp is not None:
            day = dt.datetime.fromtimestamp(entry.timestamp, self.now.tzinfo)
            if words.on and dt.timedelta() <= self.now - day <= LATELY:
                slots["weekday"], text = WEEKDAYS[day.weekday()], words.on
        return _filled(text, slots)

    def _shared(self, item: Item, entry: HistoryEntry) -> str:
        """Return in words what the item has in common with one that was chosen."""
        words = self._words
        theirs = set(attribute_values(entry.item))
        values = [value for value in attribute_values(item) if value in theirs][:VALUES_SHOWN]
        if entry.liked is not None or words is None or not words.shares or not values:
            return ""
        slots = {"title": self._title(entry), "values": self.grammar.joined(values)}
        return _filled(words.shares, slots)


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _filled(text: str, slots: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda match: slots[match[1]], text)
