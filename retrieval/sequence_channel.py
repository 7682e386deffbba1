"""A trained next-item model as a channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrieval.base import DenseAnswer, Fixed, Query, scatter
from retrieval.sequence import SequenceModel
from retrieval.table import ItemTable


@dataclass(frozen=True)
class SequenceChannel(Fixed):
    """log p(next item | history). Items without a training event are unknown to it."""

    model: SequenceModel
    mass: bool = False

    def ask(self, query: Query, table: ItemTable) -> DenseAnswer | None:
        """Log-probabilities, nats; None if nothing in the history is known."""
        times = [np.nan if entry.timestamp is None else entry.timestamp for entry in query.history]
        scores = self.model.score([entry.item.id for entry in query.history], times)
        if scores is None:
            return None
        return DenseAnswer(scatter(table, self.model.items, scores.astype(np.float32)))
