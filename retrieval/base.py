"""What retrieval is asked, and what every retriever and every channel promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from recsys.types import Candidate, Context, Filter, HistoryEntry, Item
from retrieval.table import BoolArray, ItemRows

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Query:
    """One request for candidates.

    `history` is oldest first. `wish` is what the person asks for in their own
    words, empty if nothing. `exclude` holds item ids that are never returned;
    history is not excluded by itself. `filter` says what may be returned at all.
    `context` is the situation, which the channel of popularity by segment reads.
    """

    history: tuple[HistoryEntry, ...] = ()
    wish: str = ""
    exclude: frozenset[str] = frozenset()
    filter: Filter = field(default_factory=Filter)
    context: Context = field(default_factory=Context)


class Retriever(Protocol):
    """Finds the items of the catalogue that are worth ranking."""

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """At most `n` candidates, best first: no duplicates, none of `query.exclude`, all pass `query.filter`.

        The list is shorter than `n` only if the catalogue has no more, or if the
        retriever has nothing to go by (text, with neither history nor wish).
        Equal queries give equal lists; ties are in the order of the item table.
        """
        ...


class ChannelAnswer(Protocol):
    """What one channel thinks of the items of a table, for one query."""

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Rows of the best `n` allowed items, best first; fewer if it knows fewer."""
        ...

    def of(self, rows: RowArray) -> FloatArray:
        """The scores of these items, shape (len(rows),); NaN where it has nothing to say."""
        ...

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        """For each item, every history item's exact share of its score; {} where there is no such thing."""
        ...


class Channel(Protocol):
    """One way to find items. It never changes: an update gives another channel.

    Where `evidence_count` is set, scores are amounts of evidence (0 or more, additive) rather
    than log-probabilities or similarities, and a fusion takes their logarithm. One that
    answers several queries faster at once may have `ask_many(queries, table)`, a list of answers.
    """

    @property
    def evidence_count(self) -> bool: ...

    def ask(self, query: Query, table: ItemRows) -> ChannelAnswer | None:
        """Its answer, or None if it has nothing to go by (no history, no wish ...)."""
        ...

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Self:
        """The channel after items were added or changed, and others deleted."""
        ...


@dataclass(frozen=True)
class DenseAnswer:
    """Scores of all items of a table, shape (rows,), NaN where there is nothing to say.

    `shares` computes what `contributions` promises, for those items alone that it is asked of.
    """

    scores: FloatArray
    shares: Callable[[RowArray], list[dict[str, float]]] | None = None

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Rows of the best `n` allowed items; ties are in the order of the table."""
        rows = np.flatnonzero(allowed & ~np.isnan(self.scores))
        return rows[best_first(self.scores[rows], n)]

    def of(self, rows: RowArray) -> FloatArray:
        return self.scores[rows]

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        return self.shares(rows) if self.shares else [{} for _ in rows]


class Fixed:
    """A channel that takes no notice of new items until it is fitted again."""

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Self:
        return self


def best_first(scores: FloatArray, n: int) -> RowArray:
    """Positions of the `n` highest scores, highest first, ties by position. No NaN, please."""
    if n <= 0 or not len(scores):
        return np.zeros(0, dtype=np.int64)
    if n < len(scores):  # everything that can be among the n, ties of the n-th included
        nth = np.partition(scores, len(scores) - n)[len(scores) - n]
        positions = np.flatnonzero(scores >= nth)
    else:
        positions = np.arange(len(scores))
    return positions[np.argsort(-scores[positions], kind="stable")][:n]


class ChannelRetriever:
    """One channel alone as a retriever over a table of items."""

    def __init__(self, name: str, channel: Channel, table: ItemRows) -> None:
        self.name = name
        self.channel = channel
        self.table = table

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """The channel's best `n`; [] if it has nothing to go by. "At least" rules are a fusion's business."""
        answer = self.channel.ask(query, self.table)
        if answer is None:
            return []
        rows = answer.top(n, self.table.allowed(query.filter, query.exclude))
        # An index and a product of the same vectors differ in the last bit: the order is the index's.
        scores = np.minimum.accumulate(answer.of(rows))
        return [
            Candidate(
                item=self.table.items[row],
                score=float(score),
                source=self.name,
                channels={self.name: rank},
                contributions=contributions,
            )
            for rank, (row, score, contributions) in enumerate(
                zip(rows.tolist(), scores, answer.contributions(rows), strict=True), start=1
            )
        ]


def scatter(table: ItemRows, items: tuple[str, ...], values: FloatArray) -> FloatArray:
    """`values` (..., len(items)) over the rows of a table, NaN for rows that are none of `items`."""
    columns = table.columns(items)
    spread = np.full((*values.shape[:-1], len(table)), np.nan, dtype=np.float32)
    known = columns >= 0
    spread[..., known] = values[..., columns[known]]
    return spread
