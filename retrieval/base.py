"""Query, retriever and channel: what all of retrieval agrees on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from recsys.types import Candidate, Context, Filter, HistoryEntry, Item
from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.table import Condition, ItemRows

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class Query:
    """One request for candidates."""

    history: tuple[HistoryEntry, ...] = ()  # oldest first; not excluded by itself
    wish: str = ""  # what the person asks for in their own words
    exclude: frozenset[str] = frozenset()  # ids of items that are never returned
    filter: Filter = field(default_factory=Filter)
    context: Context = field(default_factory=Context)
    profile: Mapping[str, str] = field(default_factory=dict)  # of the person, masked as in a prompt
    conditions: tuple[Condition, ...] = ()  # all that is returned passes them
    at_least: tuple[tuple[Condition, int], ...] = ()  # so many that pass, as for `filter.at_least`
    preferred: tuple[tuple[Condition, int], ...] = ()  # so many that pass come before others
    wished: tuple[Condition, ...] = ()  # what the wish asks for: all that is returned passes them too
    moment: float | None = None  # of the request, seconds since 1970, where its context has no time
    days_away: float | None = None  # since the newest event of the person, where the history does not tell

    @property
    def now(self) -> float | None:
        """The moment of the request, seconds since 1970."""
        return self.context.time.timestamp() if self.context.time else self.moment

    @property
    def newest(self) -> float | None:
        """The time of the newest entry of the history; what a request states has none."""
        return self.history[-1].timestamp if self.history else None

    @property
    def away(self) -> float:
        """Days since the newest event of the person; 0 where unknown."""
        if self.days_away is not None:
            return self.days_away
        if self.now is None or self.newest is None:
            return 0.0
        return max(0.0, (self.now - self.newest) / SECONDS_A_DAY)

    def allowed(self, table: ItemRows) -> BoolArray:
        """Return which rows of a table may be returned."""
        return table.allowed(self.filter, self.exclude, (*self.conditions, *self.wished))


class Gate(Protocol):
    """Decides about items in one request."""

    @property
    def masks(self) -> Sequence[Condition]:
        """What it decides by what it reads of an item alone."""
        ...

    def allows(self, item: Item) -> bool:
        """Return whether an item may be returned."""
        ...


@dataclass(frozen=True)
class Gated:
    """Candidates that a gate lets through."""

    candidates: list[Candidate]
    query: Query  # excludes what the gate left out
    found: tuple[Item, ...]  # the best without the gate


class Retriever(Protocol):
    """Finds the items of the catalogue that are worth ranking."""

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """Return at most `n` candidates, best first.

        No duplicates, none of `query.exclude`, all are `query.allowed`. The list is shorter
        than `n` only if the catalogue has no more, or if the retriever has nothing to go by
        (text, with neither history nor wish). Equal queries give equal lists; ties are in
        the order of the item table.
        """
        ...


class ChannelScores(Protocol):
    """One channel's scores of the items of a table, for one query."""

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Return the best `n` allowed rows, best first; fewer if it knows fewer."""
        ...

    def at(self, rows: RowArray) -> FloatArray:
        """Return the scores of these rows, (len(rows),); NaN for unknown items."""
        ...

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        """Return each history item's share of the score, per row; {} if it has none."""
        ...


class Channel(Protocol):
    """One way to find items. It is immutable: an update returns another channel.

    A channel that is faster on several queries at once also has `score_many(queries, table)`,
    which returns a list of scores.
    """

    @property
    def evidence_count(self) -> bool:
        """Whether scores are additive amounts, 0 or more, not logs or similarities."""
        ...

    def score(self, query: Query, table: ItemRows) -> ChannelScores | None:
        """Score the items; None if the query has nothing that the channel reads."""
        ...

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Self:
        """Return the channel after items were added, changed or deleted."""
        ...


@dataclass(frozen=True)
class DenseScores:
    """Scores of all items of a table."""

    values: FloatArray  # (rows,), NaN for items the channel does not know
    shares: Callable[[RowArray], list[dict[str, float]]] | None = None  # computes `contributions`

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Return the best `n` allowed rows; ties are in the order of the table."""
        rows = np.flatnonzero(allowed & ~np.isnan(self.values))
        return rows[best_first(self.values[rows], n)]

    def at(self, rows: RowArray) -> FloatArray:
        """Return the scores of these rows."""
        return self.values[rows]

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        """Return each history item's share of the score, per row."""
        return self.shares(rows) if self.shares else [{} for _ in rows]


class StaticChannel:
    """A channel that does not know new items until it is fitted again."""

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Self:
        """Return the same channel."""
        return self


SAMPLED = 16
"""One score of so many is looked at to guess which can be among the best."""


def best_first(scores: FloatArray, n: int) -> RowArray:
    """Return the positions of the `n` highest scores (no NaN), ties by position."""
    if n <= 0 or not len(scores):
        return np.zeros(0, dtype=np.int64)
    if n >= len(scores):
        everything: RowArray = np.argsort(-scores, kind="stable")
        return everything
    guess = np.sort(scores[::SAMPLED])[-(2 * n // SAMPLED + 1) :][0]  # below the n-th, as a rule
    above = np.flatnonzero(scores > guess)
    if len(above) < n:
        ties = np.flatnonzero(scores == guess)  # most items have no evidence: all the same score
        if len(above) + len(ties) >= n:
            best = above[np.argsort(-scores[above], kind="stable")]
            return np.concatenate([best, ties[: n - len(best)]])
        above = np.arange(len(scores))
    nth = np.partition(scores[above], len(above) - n)[len(above) - n]
    positions: RowArray = above[scores[above] >= nth]  # ties of the n-th included
    positions = positions[np.argsort(-scores[positions], kind="stable")]
    return positions[:n]


class ChannelRetriever:
    """One channel alone as a retriever over a table of items."""

    def __init__(self, name: str, channel: Channel, table: ItemRows) -> None:
        self.name = name
        self.channel = channel
        self.table = table

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """Return the channel's best `n`; [] without scores.

        `at_least` rules are left to a fusion.
        """
        scores = self.channel.score(query, self.table)
        if scores is None:
            return []
        rows = scores.top(n, query.allowed(self.table))
        # An index and a product of the same vectors differ in the last bit: the order is the index's.
        values = np.minimum.accumulate(scores.at(rows))
        return [
            Candidate(
                item=self.table.items[row],
                score=float(value),
                source=self.name,
                channels={self.name: rank},
                contributions=contributions,
            )
            for rank, (row, value, contributions) in enumerate(
                zip(rows.tolist(), values, scores.contributions(rows), strict=True), start=1
            )
        ]


def scatter(table: ItemRows, items: tuple[str, ...], values: FloatArray) -> FloatArray:
    """Spread values (..., len(items)) over the rows of a table; NaN for other rows."""
    positions = table.positions_in(items)
    if not len(items):
        return np.full((*values.shape[:-1], len(table)), np.nan, dtype=np.float32)
    spread: FloatArray = values.astype(np.float32, copy=False)[..., positions]
    spread[..., positions < 0] = np.nan
    return spread
