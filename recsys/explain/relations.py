"""What a reason says of how an item is related to what the person liked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from recsys.config.relations import Relation
from recsys.explain.evidence import ATTRIBUTE_LIMIT, RelationPhrase, shown_title
from recsys.explain.grammar import Grammar
from recsys.types import Candidate, HistoryEntry
from recsys.utils.sanitize import clean_text

_SLOT = re.compile(r"\{(title|value)\}")


def relation_phrases(
    candidate: Candidate,
    history: Iterable[HistoryEntry],
    relations: Mapping[str, Relation],
    grammar: Grammar,
    language: str,
    noun: str,
) -> dict[str, RelationPhrase]:
    """Return what may be said of a candidate, by id of the related liked item.

    Of several relations to one item, the first of domain.toml that has a phrase in the language counts.
    """
    liked = {entry.item.id: entry.item for entry in history if entry.liked}
    order = {name: number for number, name in enumerate(relations)}
    phrases: dict[str, RelationPhrase] = {}
    for related in candidate.related:
        item, relation = liked.get(related.item_id), relations.get(related.relation)
        phrase = relation.phrase(language, forward=related.forward) if relation else None
        if item is None or phrase is None or related.item_id in phrases:
            continue
        slots = {
            "title": grammar.liked_title(shown_title(item, noun)),
            "value": clean_text(related.value, ATTRIBUTE_LIMIT),
        }
        text = _SLOT.sub(lambda match, slots=slots: slots[match[1]], phrase)  # type: ignore[misc]
        phrases[related.item_id] = RelationPhrase(order[related.relation], text)
    return phrases
