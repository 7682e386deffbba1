"""What a reason says of how an item is related to what the person liked or chose."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.explain.evidence import shown_title
from recsys.explain.grammar import filled
from recsys.explain.phrases import ATTRIBUTE_LIMIT, Phrases
from recsys.types import Candidate, HistoryEntry
from recsys.utils.sanitize import clean_text

LATELY = dt.timedelta(days=6)
"""The weekday of what was chosen so long ago tells the day."""


@dataclass(frozen=True)
class RelationPhrases:
    """Says in one language how a candidate is related to items of a history."""

    phrases: Phrases
    now: dt.datetime | None = None  # the time of the request
    examples: frozenset[str] = frozenset()  # ids of items that the wish names

    def of(self, candidate: Candidate, history: Sequence[HistoryEntry]) -> dict[str, str]:
        """Return what may be said of a candidate, by id of the related item.

        Of several relations to one item, the first of domain.toml that has a phrase in the language
        counts; items come in the order of their relations there.
        """
        past = {entry.item.id: entry for entry in history if entry.liked is not False}
        domain = self.phrases.domain
        relations, language = domain.relations, domain.reasons.language
        found: dict[str, str] = {}
        order = list(relations)
        known = [related for related in candidate.related if related.relation in relations]
        for related in sorted(known, key=lambda one: order.index(one.relation)):
            entry = past.get(related.item_id)
            phrase = relations[related.relation].phrase(language, forward=related.forward)
            if entry is not None and phrase is not None and related.item_id not in found:
                slots = {"title": self._title(entry), "value": clean_text(related.value, ATTRIBUTE_LIMIT)}
                found[related.item_id] = filled(phrase, slots)
        return found

    def _title(self, entry: HistoryEntry) -> str:
        title, grammar = shown_title(entry.item, self.phrases.domain.noun), self.phrases.grammar
        if entry.item.id in self.examples:
            return grammar.past_title(title, grammar.table["named"])
        if entry.liked:
            return grammar.past_title(title)
        day = None
        if self.now and entry.timestamp is not None:
            at = dt.datetime.fromtimestamp(entry.timestamp, self.now.tzinfo)
            day = at if dt.timedelta() <= self.now - at <= LATELY else None
        return grammar.past_title(title, self.phrases.verb, WEEKDAYS[day.weekday()] if day else "")


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
