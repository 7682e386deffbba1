"""Items that are what somebody asks for by name: a genre, a category, a year, a decade."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.types import Item
from retrieval.base import DenseAnswer, Fixed, Query
from retrieval.channels.popularity import Popularity
from retrieval.table import ItemRows

_NOT = frozenset(["no", "not", "without", "except", "never", "nothing", "don't", "dont"])
_REACH = 3  # words that a "not" speaks of
_TIE = 0.5  # being met often orders what fulfils a wish alike, and never outweighs a facet
Words = tuple[str, ...]
Facets = Mapping[Words, tuple[int, ...]]


@dataclass(frozen=True)
class AttributeChannel(Fixed):
    """How much of what a wish names an item is: what a search form with boxes would find.

    A score is the number of the wish's facets (attribute values, years, decades) that the
    item has, less those that it should not have ("no horror"), plus less than one half for
    being met often. Words are compared without case and plural. Nothing is fitted.
    """

    popularity: Popularity
    evidence_count: bool = False

    def ask(self, query: Query, table: ItemRows) -> DenseAnswer | None:
        """The score of every item; None if the wish names no facet of this catalogue."""
        facets = table.derived(_facets_of)
        named = _named(_words(query.wish), facets)
        if not named:
            return None
        scores = np.zeros(len(table), dtype=np.float32)
        for facet, wanted in named.items():
            scores[list(facets[facet])] += 1 if wanted else -1
        met = np.log1p(self.popularity.ask(query, table).scores)
        return DenseAnswer(scores + _TIE * met / (1 + met.max(initial=0)))


def matched_attributes(wish: str, values: Sequence[str]) -> list[str]:
    """Those of an item's values that a wish asks for by name, in their order."""
    named = _named(_words(wish), {words: () for value in values if (words := _words(value))})
    return [value for value in values if named.get(_words(value))]


def _facets_of(table: ItemRows) -> Facets:
    """The rows of each facet."""
    rows: dict[Words, list[int]] = defaultdict(list)
    for row, item in enumerate(table.items):
        for facet in _of(item):
            rows[facet].append(row)
    return {facet: tuple(found) for facet, found in rows.items()}


def _of(item: Item) -> set[Words]:
    said = {value for values in item.attributes.values() for value in values}
    if item.year:
        decade = item.year // 10 * 10
        said |= {str(item.year), f"{decade}s", f"{decade % 100:02}s"}
    return {words for one in said if (words := _words(one))}


def _named(wish: Words, facets: Facets) -> dict[Words, bool]:
    """The facets that stand in a wish, longest first at every place, and whether they are wanted."""
    longest = max(map(len, facets), default=0)
    named: dict[Words, bool] = {}
    place = 0
    while place < len(wish):
        for length in range(min(longest, len(wish) - place), 0, -1):
            facet = wish[place : place + length]
            if facet in facets:
                named[facet] = _NOT.isdisjoint(wish[max(0, place - _REACH) : place])
                place += length
                break
        else:
            place += 1
    return named


def _words(text: str) -> Words:
    return tuple(_singular(word) for word in re.findall(r"[\w']+", text.casefold()))


def _singular(word: str) -> str:
    """Close enough to tell that "comedies" are comedy: both sides of a comparison go through it."""
    if not word.isalpha() or len(word) < 4:
        return word
    return f"{word[:-3]}y" if word.endswith("ies") else word.removesuffix("s")
