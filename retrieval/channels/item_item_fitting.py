"""Four ways to fit item-to-item strengths from events, each in bounded memory.

Transition counts, co-occurrence, EASE, and a ridge regression of the next items on the history.
Counts are made for a block of items at a time and cut to the strongest neighbours before the next
block, so the complete matrix never exists. The closed forms know the most popular items only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from retrieval.arrays import FloatArray, RowArray
from retrieval.channels.item_item import ItemItemChannel, ItemItemConfig, moments
from retrieval.neighbours import blocks, neighbours_for, strongest
from retrieval.sampling import sample_users

Step = Callable[[int, int], None]
"""Called with (done, total) as a fit goes on."""

BLOCK_PAIRS = 10_000_000
"""Pairs of items counted at a time."""

BLOCK_EXAMPLES = 250_000
"""Training examples of the regression that are held at a time."""

BLOCK_ROWS = 500
"""Rows of a dense matrix that are made sparse at a time."""

MOST_OF_A_USER = 2_000
"""Newest events of a user that pair items: a robot's history would cost its square."""

MOST_EVENTS = 1_000_000
"""Events that the regression learns from; of a longer log, a sample of users."""


def fit_item_item(log: EventLog, config: ItemItemConfig, step: Step | None = None) -> ItemItemChannel:
    """Fit the channel that the config is of, calling `step` on the way."""
    step = step or _quiet
    match config:
        case TransitionConfig():
            return fit_transitions(log, config, step)
        case CooccurrenceConfig():
            return fit_cooccurrence(log, config, step)
        case EaseConfig():
            return fit_ease(log, config, step)
        case LinearConfig():
            return fit_linear(log, config, step)


def fit_transitions(log: EventLog, config: TransitionConfig, step: Step) -> ItemItemChannel:
    """Count items near each other, normalised by both items' frequency."""
    by_item = np.argsort(log.item, kind="stable")
    start = np.concatenate([[0], np.cumsum(log.counts)])
    popularity = _inverse(log.counts, config.popularity_power)
    k, parts = neighbours_for(len(log.items)), []
    for first, end in blocks(log.counts, BLOCK_PAIRS / (2 * config.window)):
        step(first, len(log.items))
        near = _steps(log, by_item[start[first] : start[end]], first, end, config)
        row = _inverse(np.asarray(near.sum(axis=1)).ravel(), config.row_power)
        parts.append(strongest(_scaled(near, row, popularity), k))
    return _channel(log, parts, config.memory)


def fit_cooccurrence(log: EventLog, config: CooccurrenceConfig, step: Step) -> ItemItemChannel:
    """Count the users two items share, normalised by both items' popularity.

    Sarwar et al.: Item-based collaborative filtering recommendation algorithms, WWW 2001.
    """
    user_item = _user_item(log)
    activity = np.asarray(user_item.sum(axis=1)).ravel()
    pairs = user_item.T @ activity
    user_item = (sp.diags(_inverse(activity, config.user_power / 2)) @ user_item).tocsr()
    item_user = user_item.T.tocsr()
    scale = _inverse(log.counts, config.power)
    k, parts = neighbours_for(len(log.items)), []
    for first, end in blocks(pairs, BLOCK_PAIRS):
        step(first, len(log.items))
        common = item_user[first:end] @ user_item
        itself = np.repeat(np.arange(first, end), np.diff(common.indptr)) == common.indices
        common.data[itself] = 0
        common.eliminate_zeros()
        parts.append(strongest(_scaled(common, scale[first:end], scale), k))
    return _channel(log, parts, config.memory)


def fit_ease(log: EventLog, config: EaseConfig, step: Step) -> ItemItemChannel:
    """Fit a linear autoencoder with zero diagonal.

    Steck: Embarrassingly shallow autoencoders for sparse data, WWW 2019.
    """
    step(0, 2)
    chosen = _most_popular(log, config.max_items)
    user_item = _user_item(log)[:, chosen]
    gram = (user_item.T @ user_item).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += config.l2
    step(1, 2)
    strength = np.linalg.inv(gram)
    del gram
    strength /= -np.diag(strength).copy()
    np.fill_diagonal(strength, 0)
    return _channel(log, [_spread(strength, chosen, len(log.items))], config.memory)


def fit_linear(log: EventLog, config: LinearConfig, step: Step) -> ItemItemChannel:
    """Fit a ridge regression of the next items on the decayed history.

    Every position of every user is an example, forwards and backwards in time: that two items
    are near each other tells as much either way. The closed form of SLIT.
    Choi et al.: Session-aware linear item-item models for session-based recommendation, WWW 2021.
    """
    chosen = _most_popular(log, config.max_items)
    n = len(chosen)
    column = np.full(len(log.items), -1, dtype=np.int32)
    column[chosen] = np.arange(n, dtype=np.int32)
    learned = sample_users(log, MOST_EVENTS)
    gram, target = np.zeros((n, n)), np.zeros((n, n))
    for first, end in blocks(2 * np.diff(learned.start), BLOCK_EXAMPLES):
        step(first, len(learned.users) + 1)  # the solution is one more step
        past, future = _examples(learned, first, end, column, n, config)
        past = sp.diags(_inverse(np.asarray(past.sum(axis=1)).ravel(), 0.5)) @ past
        gram += (past.T @ past).toarray()
        target += (past.T @ future).toarray()
    step(len(learned.users), len(learned.users) + 1)
    gram[np.diag_indices_from(gram)] += config.l2
    strength = np.linalg.solve(gram, target)
    del gram, target
    strength *= _inverse(log.counts[chosen], config.popularity_power)
    return _channel(log, [_spread(strength, chosen, len(log.items))], config.memory)


class _Entries:
    """The entries of a sparse matrix, collected in pieces."""

    def __init__(self) -> None:
        self._rows: list[npt.NDArray[np.integer]] = []
        self._columns: list[npt.NDArray[np.integer]] = []
        self._values: list[FloatArray] = []

    def add(
        self, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], values: FloatArray
    ) -> None:
        self._rows.append(rows.astype(np.int32, copy=False))
        self._columns.append(columns)
        self._values.append(values)

    def matrix(self, shape: tuple[int, int]) -> sp.csr_matrix:
        """Build the matrix; values of one cell are summed."""
        if not self._values:
            return sp.csr_matrix(shape, dtype=np.float32)
        cells = (np.concatenate(self._rows), np.concatenate(self._columns))
        return sp.csr_matrix((np.concatenate(self._values), cells), shape=shape, dtype=np.float32)


def _steps(
    log: EventLog, positions: RowArray, first: int, end: int, config: TransitionConfig
) -> sp.csr_matrix:
    """Count, weighted, what is near the items `first` to `end`, (end - first, items).

    Args:
        log: The events.
        positions: Of the events of these items.
        first: The first row.
        end: The row after the last.
        config: How far apart, and what weighs how much.
    """
    near = _Entries()
    rows = log.item[positions] - np.int32(first)
    for distance in range(1, config.window + 1):
        for direction, weight in ((distance, 1.0), (-distance, config.backward)):
            other = positions + direction
            inside = (other >= 0) & (other < len(log)) & (weight > 0)
            inside[inside] = log.user[other[inside]] == log.user[positions[inside]]
            value = np.float32(weight * float(distance) ** -config.power)
            near.add(rows[inside], log.item[other[inside]], np.full(int(inside.sum()), value))
    return near.matrix((end - first, len(log.items)))


def _examples(
    log: EventLog, first: int, end: int, column: IntArray, n: int, config: LinearConfig
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return weighted history and future of some users, (examples, n), both ways."""
    past, future = _Entries(), _Entries()
    examples = 0
    for begin, stop in zip(log.start[first:end], log.start[first + 1 : end + 1], strict=True):
        for step in (1, -1):
            items = column[log.item[begin:stop]][::step]
            known = items >= 0
            items, moment = items[known], moments(log.time[begin:stop][::step][known])
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


def _user_item(log: EventLog) -> sp.csr_matrix:
    """Return 1 where a user interacted with an item, (users, items)."""
    newest = np.flatnonzero(log.start[1:][log.user] - np.arange(len(log)) <= MOST_OF_A_USER)
    cells = (log.user[newest], log.item[newest])
    shape = (len(log.users), len(log.items))
    matrix = sp.csr_matrix((np.ones(len(newest), dtype=np.float32), cells), shape=shape)
    matrix.data[:] = 1  # duplicates were summed
    return matrix


def _most_popular(log: EventLog, n: int) -> RowArray:
    """Return the rows of the `n` most popular items with events, ascending."""
    order = np.argsort(-log.counts, kind="stable")[:n]
    return np.sort(order[log.counts[order] > 0])


def _spread(strength: npt.NDArray[np.floating[Any]], chosen: RowArray, n: int) -> sp.csr_matrix:
    """Put a (c, c) matrix, cut, in the rows and columns `chosen` of an (n, n) one."""
    k = neighbours_for(len(chosen))

    def pieces() -> Iterator[sp.csr_matrix]:
        yield sp.csr_matrix((0, len(chosen)), dtype=np.float32)
        for first in range(0, len(chosen), BLOCK_ROWS):
            yield strongest(sp.csr_matrix(strength[first : first + BLOCK_ROWS].astype(np.float32)), k)

    small = sp.vstack(list(pieces()), format="csr")
    start = np.zeros(n + 1, dtype=np.int64)
    start[chosen + 1] = np.diff(small.indptr)
    columns = chosen.astype(np.int32)[small.indices]
    return sp.csr_matrix((small.data, columns, np.cumsum(start)), shape=(n, n))


def _scaled(matrix: sp.csr_matrix, rows: FloatArray, columns: FloatArray) -> sp.csr_matrix:
    """Multiply the rows and columns of a matrix by factors, in place."""
    matrix.data *= np.repeat(rows, np.diff(matrix.indptr))
    matrix.data *= columns[matrix.indices]
    return matrix


def _inverse(amount: npt.NDArray[np.generic], power: float) -> FloatArray:
    """Return amount ** -power, 1 where there is none."""
    safe = np.where(np.asarray(amount) > 0, amount, 1).astype(np.float64)
    return np.power(safe, -power).astype(np.float32)


def _channel(log: EventLog, parts: list[sp.csr_matrix], memory: HistoryDecay) -> ItemItemChannel:
    """Join the blocks of a matrix, in the order of their rows."""
    whole = parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr", dtype=np.float32)
    matrix = sp.csr_matrix(whole, dtype=np.float32)
    matrix.sort_indices()
    return ItemItemChannel(log.items, log.counts > 0, matrix, memory, log.hash)


def _quiet(_done: int, _total: int) -> None:
    """Report nothing."""
