"""Channels that add up, over the history, how strongly each item speaks for each other.

Four ways to get the matrix of item-to-item strengths from events: transition counts,
co-occurrence, EASE, and a ridge regression of the next items on the history. They
share everything else, and an item's score is exactly a sum over history items.
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

from recsys.config.retrieval import CooccurrenceConfig, EaseConfig, LinearConfig, Memory, TransitionConfig
from recsys.data.dataset import EventLog, IntArray
from recsys.types import HistoryEntry, StrictModel
from retrieval import artefacts
from retrieval.base import DenseAnswer, Fixed, FloatArray, Query, RowArray, scatter
from retrieval.table import ItemRows

AnyItemItemConfig = TransitionConfig | CooccurrenceConfig | EaseConfig | LinearConfig


@dataclass(frozen=True)
class ItemItem(Fixed):
    """A fitted channel: `strength[h, i]` is what history item h says for item i, shape (items, items).

    `items` are ids; `met` tells which of them had any event: of the others nothing is
    known. `fitted_on` is the hash of the events.
    """

    items: tuple[str, ...]
    met: npt.NDArray[np.bool_]
    strength: sp.csr_matrix
    memory: Memory
    fitted_on: str
    evidence_count: bool = True

    def ask(self, query: Query, table: ItemRows) -> DenseAnswer | None:
        """Scores of all items; None if nothing in the history is known."""
        weights: dict[str, float] = {}
        each = history_weights(query.history, self.memory).tolist()
        for entry, weight in zip(query.history, each, strict=True):
            if weight > 0 and entry.item.id in self._position:
                weights[entry.item.id] = weights.get(entry.item.id, 0.0) + weight
        if not weights:
            return None
        rows = [self._position[item_id] for item_id in weights]
        weight = np.array(list(weights.values()), dtype=np.float32)
        scores = np.asarray(self.strength[rows].T @ weight, dtype=np.float32)
        scores[~self.met] = np.nan
        columns = table.columns(self.items)

        def shares(of: RowArray) -> list[dict[str, float]]:
            # Cut out once more: an answer that kept its rows would hold megabytes, and evidence holds dozens.
            terms = self.strength[rows][:, columns[of]].toarray() * weight[:, None]
            return [dict(zip(weights, row, strict=True)) for row in terms.T.tolist()]

        return DenseAnswer(scatter(table, self.items, scores), shares)

    def rows(self, item_ids: Sequence[str]) -> RowArray:
        """The row of each item in `strength`; -1 for one that nobody met."""
        return np.array([self._position.get(one, -1) for one in item_ids], dtype=np.int64)

    def save(self, folder: Path, config: StrictModel) -> None:
        """Write to `folder`. Raises OSError."""
        tensors = {
            "data": self.strength.data,
            "indices": self.strength.indices,
            "indptr": self.strength.indptr,
        }
        facts = {"fitted_on": self.fitted_on, "config": config.model_dump(), "items": len(self.items)}
        artefacts.save(folder, type(config).__name__, tensors | {"met": self.met}, facts)

    @classmethod
    def load(cls, folder: Path, config: AnyItemItemConfig, log: EventLog) -> ItemItem:
        """Read what was fitted on this log with this config. Raises IndexDamaged otherwise."""
        n = len(log.items)
        facts = {"fitted_on": log.hash, "config": config.model_dump(), "items": n}
        tensors, _ = artefacts.load(folder, type(config).__name__, facts)
        try:
            parts = (tensors["data"], tensors["indices"], tensors["indptr"])
            strength = sp.csr_matrix(parts, shape=(n, n))
            met = tensors["met"].astype(bool).reshape(n)
        except (KeyError, ValueError) as error:
            raise artefacts.damaged(folder, f"tensors do not fit together: {error}") from error
        return cls(log.items, met, strength, config.memory, log.hash)

    @cached_property
    def _position(self) -> dict[str, int]:
        """The row of each item that anybody met."""
        return {item_id: row for row, item_id in enumerate(self.items) if self.met[row]}


def fit(log: EventLog, config: AnyItemItemConfig) -> ItemItem:
    """The channel that the config asks for."""
    match config:
        case TransitionConfig():
            return fit_transitions(log, config)
        case CooccurrenceConfig():
            return fit_cooccurrence(log, config)
        case EaseConfig():
            return fit_ease(log, config)
        case LinearConfig():
            return fit_linear(log, config)


def history_weights(history: Sequence[HistoryEntry], memory: Memory) -> npt.NDArray[np.float32]:
    """The weight of each entry, shape (len(history),); 0 for those too long ago."""
    times = np.array([np.nan if e.timestamp is None else e.timestamp for e in history], dtype=np.float64)
    weights = decay(times, memory)
    weights[: max(0, len(history) - memory.length)] = 0
    weights[[entry.liked is False for entry in history]] *= memory.disliked
    return weights.astype(np.float32)


def decay(times: npt.NDArray[np.float64], memory: Memory) -> npt.NDArray[np.float64]:
    """Weights of events at these times (n,), oldest first; an event of unknown time is a moment of its own."""
    if not len(times):
        return np.zeros(0)
    moment = _moments(times)
    age = np.arange(len(times))[::-1]
    weights: npt.NDArray[np.float64] = np.power(memory.item_decay, age) * np.power(
        memory.moment_decay, moment[-1] - moment
    )
    return weights


def fit_transitions(log: EventLog, config: TransitionConfig) -> ItemItem:
    """Counts of items met within `window` steps of each other, normalised by both items' frequency."""
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


def fit_cooccurrence(log: EventLog, config: CooccurrenceConfig) -> ItemItem:
    """Users two items have in common, over the product of their popularities to a power.

    Sarwar et al.: Item-based collaborative filtering recommendation algorithms, WWW 2001.
    """
    met = _user_item(log)
    met = sp.diags(_inverse(np.asarray(met.sum(axis=1)).ravel(), config.user_power / 2)) @ met
    common = (met.T @ met).tolil()
    common.setdiag(0)
    scale = sp.diags(_inverse(log.counts, config.power))
    return _channel(log, scale @ common.tocsr() @ scale, config.memory)


def fit_ease(log: EventLog, config: EaseConfig) -> ItemItem:
    """Steck: Embarrassingly shallow autoencoders for sparse data, WWW 2019."""
    chosen = _most_met(log, config.max_items)
    met = _user_item(log)[:, chosen]
    gram = np.asarray((met.T @ met).todense(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += config.l2
    inverse = np.linalg.inv(gram)
    strength = inverse / -np.diag(inverse)
    np.fill_diagonal(strength, 0)
    return _channel(log, _spread(strength, chosen, len(log.items)), config.memory)


def fit_linear(log: EventLog, config: LinearConfig) -> ItemItem:
    """Ridge regression: decayed counts of the next items on the decayed history before them.

    Every position of every user is an example, read forwards and backwards in time:
    what was met together says as much either way. The closed form of SLIT.
    Choi et al.: Session-aware linear item-item models for session-based recommendation, WWW 2021.
    """
    chosen = _most_met(log, config.max_items)
    column = np.full(len(log.items), -1, dtype=np.int32)
    column[chosen] = np.arange(len(chosen), dtype=np.int32)
    past, future = _examples(log, column, len(chosen), config)
    past = sp.diags(_inverse(np.asarray(past.sum(axis=1)).ravel(), 0.5)) @ past
    gram = np.asarray((past.T @ past).todense(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += config.l2
    strength = np.linalg.solve(gram, np.asarray((past.T @ future).todense(), dtype=np.float64))
    strength *= _inverse(log.counts[chosen], config.popularity_power)
    return _channel(log, _spread(strength, chosen, len(log.items)), config.memory)


def _examples(
    log: EventLog, column: IntArray, n: int, config: LinearConfig
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """For each position of each user, both ways: weighted history (e, n) and weighted future (e, n)."""
    rows: tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]] = ([], [])
    columns: tuple[list[IntArray], list[IntArray]] = ([], [])
    values: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    examples = 0
    memory = config.memory
    for start, end in zip(log.start[:-1], log.start[1:], strict=True):
        for step in (1, -1):
            items = column[log.item[start:end]][::step]
            times = log.time[start:end][::step]
            known = items >= 0
            items, moment = items[known], _moments(times[known])
            length = len(items)
            for distance in range(1, min(config.length, length - 1) + 1):
                before = np.arange(0, length - distance)
                last = before + distance - 1  # the newest entry of that example's history
                rows[0].append(examples + last)
                columns[0].append(items[before])
                weight = memory.item_decay ** (distance - 1) * memory.moment_decay ** (
                    moment[last] - moment[before]
                )
                values[0].append(weight.astype(np.float32))
            for distance in range(1, min(config.window, length - 1) + 1):
                last = np.arange(0, length - distance)
                rows[1].append(examples + last)
                columns[1].append(items[last + distance])
                values[1].append(np.full(length - distance, 1 / distance, dtype=np.float32))
            examples += max(length - 1, 0)
    return (
        _matrix(rows[0], columns[0], values[0], (examples, n)),
        _matrix(rows[1], columns[1], values[1], (examples, n)),
    )


def _moments(times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Number of the moment of each event, counted from 0; NaN differs from everything."""
    return np.concatenate([[0], np.cumsum(times[1:] != times[:-1])]).astype(np.int64)[: len(times)]


def _steps(sequences: Sequence[IntArray], n: int, window: int, power: float) -> sp.csr_matrix:
    """Weighted counts (n, n) of one item coming 1 to `window` steps after another."""
    rows: list[IntArray] = []
    columns: list[IntArray] = []
    values: list[FloatArray] = []
    for items in sequences:
        for distance in range(1, min(window, len(items) - 1) + 1):
            rows.append(items[:-distance])
            columns.append(items[distance:])
            values.append(np.full(len(items) - distance, float(distance) ** -power, dtype=np.float32))
    return _matrix(rows, columns, values, (n, n))


def _matrix(
    rows: Sequence[npt.NDArray[np.integer]],
    columns: Sequence[npt.NDArray[np.integer]],
    values: Sequence[FloatArray],
    shape: tuple[int, int],
) -> sp.csr_matrix:
    if not values:
        return sp.csr_matrix(shape, dtype=np.float32)
    where = (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_matrix((np.concatenate(values), where), shape=shape, dtype=np.float32)


def _user_item(log: EventLog) -> sp.csr_matrix:
    """1 where a user met an item, shape (users, items)."""
    shape = (len(log.users), len(log.items))
    met = sp.csr_matrix((np.ones(len(log), dtype=np.float32), (log.user, log.item)), shape=shape)
    met.data[:] = 1  # duplicates were summed
    return met


def _most_met(log: EventLog, n: int) -> npt.NDArray[np.int64]:
    """Rows of the `n` most met items, ascending; items nobody met are left out."""
    order = np.argsort(-log.counts, kind="stable")[:n]
    return np.sort(order[log.counts[order] > 0])


def _spread(strength: npt.NDArray[np.floating[Any]], chosen: npt.NDArray[np.int64], n: int) -> sp.csr_matrix:
    """A (c, c) matrix in the rows and columns `chosen` of an (n, n) one."""
    if len(chosen) == n:
        return sp.csr_matrix(strength.astype(np.float32))
    small = sp.coo_matrix(strength.astype(np.float32))
    return sp.csr_matrix((small.data, (chosen[small.row], chosen[small.col])), shape=(n, n))


def _inverse(amount: npt.NDArray[np.generic], power: float) -> npt.NDArray[np.float32]:
    """amount ** -power, with 1 where there is none."""
    safe = np.where(np.asarray(amount) > 0, amount, 1).astype(np.float64)
    return np.power(safe, -power).astype(np.float32)


def _channel(log: EventLog, strength: sp.spmatrix, memory: Memory) -> ItemItem:
    matrix = sp.csr_matrix(strength, dtype=np.float32)
    matrix.sort_indices()
    return ItemItem(log.items, log.counts > 0, matrix, memory, log.hash)
