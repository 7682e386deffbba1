"""Passages of an item's description that a reason may quote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from recsys.explain.evidence import MeasuredCandidate
from recsys.explain.item_parts import ItemPart, sentences
from recsys.utils.sanitize import clean_text

PASSAGE_LIMIT = 180  # characters of a quoted sentence
CONSIDERED = 8  # sentences of a description, from its start
_QUOTATION = re.compile('["\u201c\u201d\u300c\u300d]')
_WORD = re.compile(r"\w{4,}")


def measured_passage(measured: MeasuredCandidate) -> tuple[str, float] | None:
    """Return the sentence that lifts the item most, and its effect in nats."""
    effects = {part: effect for part, effect in measured.own_effects.items() if part.sentence}
    lifting = [part for part in effects if effects[part] > measured.noise and _short(part.sentence)]
    best = max(lifting, key=lambda part: effects[part], default=ItemPart())
    return (best.sentence, effects[best]) if best.sentence else None


def telling_passage(
    measured: MeasuredCandidate, interests: Iterable[str], orders: str, least: int = 1
) -> str:
    """Return the sentence with most words of these texts, less the title's; or "".

    Args:
        measured: The candidate.
        interests: What the reason is about: the wish, titles of the past.
        orders: Pattern of what reads as an order; such sentences are never quoted.
        least: Words that it has to share.
    """
    wanted = set(_words(" ".join(interests))) - set(_words(measured.item.title))
    order = re.compile(orders, re.IGNORECASE)
    known = [
        sentence
        for sentence in sentences(clean_text(measured.item.description, len(measured.item.description)))
        if _short(sentence) and not order.search(sentence)
    ]
    shared = {sentence: len(wanted.intersection(_words(sentence))) for sentence in known[:CONSIDERED]}
    best = max(shared, key=lambda sentence: shared[sentence], default="")
    return best if best and shared[best] >= least else ""


def _short(sentence: str) -> bool:
    """Return whether a sentence can be quoted: without quotations of its own."""
    return len(sentence) <= PASSAGE_LIMIT and not _QUOTATION.search(sentence)


def _words(text: str) -> Iterator[str]:
    return (match.casefold() for match in _WORD.findall(text))
