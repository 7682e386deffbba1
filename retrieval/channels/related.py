"""Items that are related to what a person liked: the next part, the same director."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import RelatedConfig
from recsys.knowledge.relations import RelationGraph
from recsys.types import Item
from retrieval.arrays import BoolArray, RowArray
from retrieval.base import DenseScores, Query, best_first
from retrieval.channels.item_item import history_weights
from retrieval.table import ItemRows


@dataclass(frozen=True)
class RelatedScores(DenseScores):
    """Scores of which most are 0: items that are related to nothing are not found."""

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Return the best `n` allowed rows above 0; ties are in the order of the table."""
        rows = np.flatnonzero(allowed & (self.values > 0))
        return rows[best_first(self.values[rows], n)]


@dataclass(frozen=True)
class RelatedChannel:
    """Sums how strongly an item is related to each item of a history.

    A relation counts `strength` (see `recsys.knowledge.relations.Link`) times its weight times that of the
    history item. Nothing is fitted, so new items are found at once.
    """

    graph: RelationGraph
    config: RelatedConfig
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> RelatedScores | None:
        """Score all items; None if nothing is related to the history."""
        shares: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        weights = history_weights(query.history, self.config.memory).tolist()
        for entry, weight in zip(query.history, weights, strict=True):
            for link in self.graph.links(entry.item.id) if weight > 0 else ():
                amount = weight * self.config.relations.get(link.relation, 1.0) * link.strength
                if amount > 0 and (row := table.row_of.get(link.item_id)) is not None:
                    shares[row][entry.item.id] += amount
        if not shares:
            return None
        values = np.zeros(len(table), dtype=np.float32)
        for row, by_item in shares.items():
            values[row] = sum(by_item.values())
        return RelatedScores(values, lambda rows: [dict(shares.get(row, {})) for row in rows.tolist()])

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> RelatedChannel:
        """Return the channel with new items and without deleted ones."""
        return dataclasses.replace(self, graph=self.graph.with_items(changed, removed))
