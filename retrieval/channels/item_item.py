"""Channels that sum item-to-item strengths over the history.

Four ways to fit the matrix of strengths from events: transition counts, co-occurrence, EASE, and
a ridge regression of the next items on the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys.config.retrieval import (
    CooccurrenceConfig,
    EaseConfig,
    HistoryDecay,
    LinearConfig,
    TransitionConfig,
)
from recsys.data.dataset import EventLog, IntArray
from recsys.types import HistoryEntry, StrictModel
from retrieval import artefacts
from retrieval.arrays import BoolArray, DoubleArray, FloatArray, RowArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.table import ItemRows

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
        for entry, weight in zip(query.history, weights, strict=True):
            if weight > 0 and entry.item.id in self._row_of:
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
            terms = self.strength[rows][:, positions[table_rows]].toarray() * known_weights[:, None]
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
        facts = {"fitted_on": log.hash, "config": config.model_dump(), "items": n}
        tensors, _ = artefacts.load(folder, type(config).__name__, facts)
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


def fit_item_item(log: EventLog, config: ItemItemConfig) -> ItemItemChannel:
    """Fit the channel that the config is of."""
    match config:
        case TransitionConfig():
            return fit_transitions(log, config)
        case CooccurrenceConfig():
            return fit_cooccurrence(log, config)
        case EaseConfig():
            return fit_ease(log, config)
        case LinearConfig():
            return fit_linear(log, config)


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
    moment = _moments(times)
    age = np.arange(len(times))[::-1]
    weights: DoubleArray = np.power(memory.item_decay, age) * np.power(
        memory.moment_decay, moment[-1] - moment
    )
    return weights


def fit_transitions(log: EventLog, config: TransitionConfig) -> ItemItemChannel:
    """Count items near each other, normalised by both items' frequency."""
    near = _steps(log.sequences(), len(log.items), config.window, config.power)
    if config.backward:
        near = (near + config.backward * near.T).tocsr()
    row = np.asarray(near.sum(axis=1)).ravel()
    scaled = (
        sp.diags(_inverse(row, config.row_power))
        @ near
        @ sp.diags(_inverse(log.counts, config.popularity_power))
    )
    return _channel(log, scaled, config.memory)


def fit_cooccurrence(log: EventLog, config: CooccurrenceConfig) -> ItemItemChannel:
    """Count the users two items share, normalised by both items' popularity.

    Sarwar et al.: Item-based collaborative filtering recommendation algorithms, WWW 2001.
    """
    user_item = _user_item(log)
    activity = np.asarray(user_item.sum(axis=1)).ravel()
    user_item = sp.diags(_inverse(activity, config.user_power / 2)) @ user_item
    common = (user_item.T @ user_item).tolil()
    common.setdiag(0)
    scale = sp.diags(_inverse(log.counts, config.power))
    return _channel(log, scale @ common.tocsr() @ scale, config.memory)


def fit_ease(log: EventLog, config: EaseConfig) -> ItemItemChannel:
    """Fit a linear autoencoder with zero diagonal.

    Steck: Embarrassingly shallow autoencoders for sparse data, WWW 2019.
    """
    chosen = _most_popular(log, config.max_items)
    user_item = _user_item(log)[:, chosen]
    gram = np.asarray((user_item.T @ user_item).todense(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += config.l2
    inverse = np.linalg.inv(gram)
    strength = inverse / -np.diag(inverse)
    np.fill_diagonal(strength, 0)
    return _channel(log, _spread(strength, chosen, len(log.items)), config.memory)


def fit_linear(log: EventLog, config: LinearConfig) -> ItemItemChannel:
    """Fit a ridge regression of the next items on the decayed history.

    Every position of every user is an example, forwards and backwards in time: that two items
    are near each other tells as much either way. The closed form of SLIT.
    Choi et al.: Session-aware linear item-item models for session-based recommendation, WWW 2021.
    """
    chosen = _most_popular(log, config.max_items)
    column = np.full(len(log.items), -1, dtype=np.int32)
    column[chosen] = np.arange(len(chosen), dtype=np.int32)
    past, future = _examples(log, column, len(chosen), config)
    past = sp.diags(_inverse(np.asarray(past.sum(axis=1)).ravel(), 0.5)) @ past
    gram = np.asarray((past.T @ past).todense(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += config.l2
    strength = np.linalg.solve(gram, np.asarray((past.T @ future).todense(), dtype=np.float64))
    strength *= _inverse(log.counts[chosen], config.popularity_power)
    return _channel(log, _spread(strength, chosen, len(log.items)), config.memory)


class _Entries:
    """The entries of a sparse matrix, collected in pieces."""

    def __init__(self) -> None:
        self._rows: list[npt.NDArray[np.integer]] = []
        self._columns: list[npt.NDArray[np.integer]] = []
        self._values: list[FloatArray] = []

    def add(
        self, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], values: FloatArray
    ) -> None:
        self._rows.append(rows)
        self._columns.append(columns)
        self._values.append(values)

    def matrix(self, shape: tuple[int, int]) -> sp.csr_matrix:
        """Build the matrix; values of one cell are summed."""
        if not self._values:
            return sp.csr_matrix(shape, dtype=np.float32)
        cells = (np.concatenate(self._rows), np.concatenate(self._columns))
        return sp.csr_matrix((np.concatenate(self._values), cells), shape=shape, dtype=np.float32)


def _examples(
    log: EventLog, column: IntArray, n: int, config: LinearConfig
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return weighted history and future, both (examples, n), in both directions."""
    past, future = _Entries(), _Entries()
    examples = 0
    for start, end in zip(log.start[:-1], log.start[1:], strict=True):
        for step in (1, -1):
            items = column[log.item[start:end]][::step]
            known = items >= 0
            items, moment = items[known], _moments(log.time[start:end][::step][known])
            _add_past(past, items, moment, examples, config)
            _add_future(future, items, examples, config)
            examples += max(len(items) - 1, 0)
    return past.matrix((examples, n)), future.matrix((examples, n))


def _add_past(
    past: _Entries, items: IntArray, moment: RowArray, first_example: int, config: LinearConfig
) -> None:
    memory = config.memory
    for distance in range(1, min(config.length, len(items) - 1) + 1):
        before = np.arange(0, len(items) - distance)
        newest = before + distance - 1  # the newest entry of that example's history
        weight = memory.item_decay ** (distance - 1) * memory.moment_decay ** (
            moment[newest] - moment[before]
        )
        past.add(first_example + newest, items[before], weight.astype(np.float32))


def _add_future(future: _Entries, items: IntArray, first_example: int, config: LinearConfig) -> None:
    for distance in range(1, min(config.window, len(items) - 1) + 1):
        newest = np.arange(0, len(items) - distance)
        weight = np.full(len(newest), 1 / distance, dtype=np.float32)
        future.add(first_example + newest, items[newest + distance], weight)


def _moments(times: DoubleArray) -> RowArray:
    """Return the moment number of each event, from 0; NaN differs from everything."""
    return np.concatenate([[0], np.cumsum(times[1:] != times[:-1])]).astype(np.int64)[: len(times)]


def _steps(sequences: Sequence[IntArray], n: int, window: int, power: float) -> sp.csr_matrix:
    """Count, weighted, how often an item follows another within `window`, (n, n)."""
    near = _Entries()
    for items in sequences:
        for distance in range(1, min(window, len(items) - 1) + 1):
            weight = np.full(len(items) - distance, float(distance) ** -power, dtype=np.float32)
            near.add(items[:-distance], items[distance:], weight)
    return near.matrix((n, n))


def _user_item(log: EventLog) -> sp.csr_matrix:
    """Return 1 where a user interacted with an item, (users, items)."""
    shape = (len(log.users), len(log.items))
    matrix = sp.csr_matrix((np.ones(len(log), dtype=np.float32), (log.user, log.item)), shape=shape)
    matrix.data[:] = 1  # duplicates were summed
    return matrix


def _most_popular(log: EventLog, n: int) -> RowArray:
    """Return the rows of the `n` most popular items with events, ascending."""
    order = np.argsort(-log.counts, kind="stable")[:n]
    return np.sort(order[log.counts[order] > 0])


def _spread(strength: npt.NDArray[np.floating[Any]], chosen: RowArray, n: int) -> sp.csr_matrix:
    """Put a (c, c) matrix in the rows and columns `chosen` of an (n, n) one."""
    if len(chosen) == n:
        return sp.csr_matrix(strength.astype(np.float32))
    small = sp.coo_matrix(strength.astype(np.float32))
    return sp.csr_matrix((small.data, (chosen[small.row], chosen[small.col])), shape=(n, n))


def _inverse(amount: npt.NDArray[np.generic], power: float) -> FloatArray:
    """Return amount ** -power, 1 where there is none."""
    safe = np.where(np.asarray(amount) > 0, amount, 1).astype(np.float64)
    return np.power(safe, -power).astype(np.float32)


def _channel(log: EventLog, strength: sp.spmatrix, memory: HistoryDecay) -> ItemItemChannel:
    matrix = sp.csr_matrix(strength, dtype=np.float32)
    matrix.sort_indices()
    return ItemItemChannel(log.items, log.counts > 0, matrix, memory, log.hash)
