"""Channels that sum item-to-item strengths over the history.

`item_item_fitting` has the four ways to fit the matrix of strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.config.retrieval import (
    CooccurrenceConfig,
    EaseConfig,
    HistoryDecay,
    LinearConfig,
    TransitionConfig,
)
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, StrictModel
from retrieval import artefacts
from retrieval.arrays import BoolArray, DoubleArray, FloatArray, RowArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.table import ItemRows

NEGLIGIBLE = 1e-8
"""Weight of a history entry, as a share of the largest, that changes no score of 32 bits."""

ItemItemConfig = TransitionConfig | CooccurrenceConfig | EaseConfig | LinearConfig


@dataclass(frozen=True)
class ItemItemChannel(StaticChannel):
    """A fitted matrix of item-to-item strengths."""

    items: tuple[str, ...]
    interacted: BoolArray  # (items,): which have any event; the others are unknown
    strength: sp.csr_matrix  # (items, items): [h, i] is what history item h adds to item i
    memory: HistoryDecay
    fitted_on: str  # hash of the events
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score all items; None if no item of the history is known."""
        weight_of: dict[str, float] = {}
        weights = history_weights(query.history, self.memory).tolist()
        least = NEGLIGIBLE * max(weights, default=0.0)
        for entry, weight in zip(query.history, weights, strict=True):
            if weight > least and entry.item.id in self._row_of:
                weight_of[entry.item.id] = weight_of.get(entry.item.id, 0.0) + weight
        if not weight_of:
            return None
        rows = [self._row_of[item_id] for item_id in weight_of]
        known_weights = np.array(list(weight_of.values()), dtype=np.float32)
        scores = np.asarray(self.strength[rows].T @ known_weights, dtype=np.float32)
        scores[~self.interacted] = np.nan
        positions = table.positions_in(self.items)

        def shares(table_rows: RowArray) -> list[dict[str, float]]:
            # Sliced again: scores that kept these rows would hold megabytes, and evidence holds dozens.
            terms = _columns(self.strength[rows], positions[table_rows]) * known_weights[:, None]
            return [dict(zip(weight_of, row, strict=True)) for row in terms.T.tolist()]

        return DenseScores(scatter(table, self.items, scores), shares)

    def rows(self, item_ids: Sequence[str]) -> RowArray:
        """Return the row of each item in `strength`; -1 for one without interactions."""
        return np.array([self._row_of.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def save(self, folder: Path, config: StrictModel) -> None:
        """Write to `folder`.

        Raises:
            OSError: It cannot be written.
        """
        tensors = {
            "data": self.strength.data,
            "indices": self.strength.indices,
            "indptr": self.strength.indptr,
            "met": self.interacted,
        }
        facts = {"fitted_on": self.fitted_on, "config": config.model_dump(), "items": len(self.items)}
        artefacts.save(folder, type(config).__name__, tensors, facts)

    @classmethod
    def load(cls, folder: Path, config: ItemItemConfig, log: EventLog) -> ItemItemChannel:
        """Read what was fitted on this log with this config.

        Raises:
            IndexDamaged: It is missing, damaged, or was fitted on anything else.
        """
        n = len(log.items)
        tensors, _ = artefacts.load(folder, type(config).__name__, item_item_facts(config, log))
        try:
            parts = (tensors["data"], tensors["indices"], tensors["indptr"])
            strength = sp.csr_matrix(parts, shape=(n, n))
            interacted = tensors["met"].astype(bool).reshape(n)
        except (KeyError, ValueError) as error:
            raise artefacts.damaged(folder, f"tensors do not fit together: {error}") from error
        return cls(log.items, interacted, strength, config.memory, log.hash)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        """The row of each item with interactions."""
        return {item_id: row for row, item_id in enumerate(self.items) if self.interacted[row]}


def _columns(matrix: sp.csr_matrix, columns: RowArray) -> FloatArray:
    """Return some columns of a matrix, (rows, columns); others are not passed over."""
    chosen = np.zeros((matrix.shape[0], len(columns)), dtype=np.float32)
    if not len(columns):
        return chosen
    ascending = np.argsort(columns, kind="stable")
    place = np.searchsorted(columns[ascending], matrix.indices)
    column = ascending[np.minimum(place, len(columns) - 1)]
    found = columns[column] == matrix.indices
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    chosen[row[found], column[found]] = matrix.data[found]
    return chosen


def item_item_facts(config: ItemItemConfig, log: EventLog) -> dict[str, Any]:
    """Return what the manifest says of a channel fitted on this log with this config."""
    return {"fitted_on": log.hash, "config": config.model_dump(), "items": len(log.items)}


def history_weights(history: Sequence[HistoryEntry], memory: HistoryDecay) -> FloatArray:
    """Return the weight of each entry, (len(history),); 0 beyond `memory.length`."""
    times = np.array([np.nan if e.timestamp is None else e.timestamp for e in history], dtype=np.float64)
    weights = decay(times, memory)
    weights[: max(0, len(history) - memory.length)] = 0
    weights[[entry.liked is False for entry in history]] *= memory.disliked
    return weights.astype(np.float32)


def decay(times: DoubleArray, memory: HistoryDecay) -> DoubleArray:
    """Return the weights of events at these times (n,), oldest first.

    An unknown time is a moment of its own.
    """
    if not len(times):
        return np.zeros(0)
    moment = moments(times)
    age = np.arange(len(times))[::-1]
    weights: DoubleArray = np.power(memory.item_decay, age) * np.power(
        memory.moment_decay, moment[-1] - moment
    )
    return weights


def moments(times: DoubleArray) -> RowArray:
    """Return the moment number of each event, from 0; NaN differs from everything."""
    return np.concatenate([[0], np.cumsum(times[1:] != times[:-1])]).astype(np.int64)[: len(times)]
