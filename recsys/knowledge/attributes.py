"""Which attribute values a text names: words are compared without case and plural."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

Words = tuple[str, ...]

_NEGATIONS = frozenset(["no", "not", "without", "except", "never", "nothing", "don't", "dont"])
_NEGATION_REACH = 3  # words after a negation that it applies to


def matched_attributes(wish: str, values: Sequence[str]) -> list[str]:
    """Return those of an item's values that a wish asks for by name, in their order."""
    named = match_values(words_of(wish), {words for value in values if (words := words_of(value))})
    return [value for value in values if named.get(words_of(value))]


def match_values(text: Words, values: Collection[Words]) -> dict[Words, bool]:
    """Find the values that a text names, the longest first at each position.

    Args:
        text: Words of the text, from `words_of`.
        values: Words of each value.

    Returns:
        For each named value whether it is wanted: no negation stands before it.
    """
    longest = max(map(len, values), default=0)
    named: dict[Words, bool] = {}
    position = 0
    while position < len(text):
        for length in range(min(longest, len(text) - position), 0, -1):
            value = text[position : position + length]
            if value in values:
                named[value] = _NEGATIONS.isdisjoint(text[max(0, position - _NEGATION_REACH) : position])
                position += length
                break
        else:
            position += 1
    return named


def words_of(text: str) -> Words:
    """Split a text into words, each without case and plural."""
    return tuple(_singular(word) for word in re.findall(r"[\w']+", text.casefold()))


def _singular(word: str) -> str:
    """Strip the plural, roughly: both sides of a comparison go through it."""
    if not word.isalpha() or len(word) < 4:
        return word
    return f"{word[:-3]}y" if word.endswith("ies") else word.removesuffix("s")
