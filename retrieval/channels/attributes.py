"""Items with the attribute values, years and decades that a wish names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsys.knowledge.attributes import Words, match_values, words_of
from recsys.types import Item
from retrieval.base import DenseScores, Query, StaticChannel
from retrieval.channels.popularity import PopularityChannel
from retrieval.table import ItemRows

_TIE_BREAK = 0.5  # popularity orders items that match equally, and never outweighs a match

RowsByValue = Mapping[Words, tuple[int, ...]]


@dataclass(frozen=True)
class AttributeChannel(StaticChannel):
    """Scores items by how many of the values that the wish names they have.

    A score is the number of named values (attributes, years, decades) that the item has, less
    those that the wish excludes ("no horror"), plus less than one half for popularity. Nothing
    is fitted.
    """

    popularity: PopularityChannel
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score every item; None if the wish names no value of this catalogue."""
        rows_by_value = table.derived(_rows_by_value)
        named = match_values(words_of(query.wish), rows_by_value)
        if not named:
            return None
        scores = np.zeros(len(table), dtype=np.float32)
        for value, wanted in named.items():
            scores[list(rows_by_value[value])] += 1 if wanted else -1
        popularity = np.log1p(self.popularity.score(query, table).values)
        return DenseScores(scores + _TIE_BREAK * popularity / (1 + popularity.max(initial=0)))


def _rows_by_value(table: ItemRows) -> RowsByValue:
    rows_by_value: dict[Words, list[int]] = defaultdict(list)
    for row, item in enumerate(table.items):
        for value in _values_of(item):
            rows_by_value[value].append(row)
    return {value: tuple(rows) for value, rows in rows_by_value.items()}


def _values_of(item: Item) -> set[Words]:
    values = {value for attribute in item.attributes.values() for value in attribute}
    if item.year:
        decade = item.year // 10 * 10
        values |= {str(item.year), f"{decade}s", f"{decade % 100:02}s"}
    return {words for value in values if (words := words_of(value))}
