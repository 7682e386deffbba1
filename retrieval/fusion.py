"""From the channels' scores of one query to a selection of rows, best first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from recsys.config.retrieval import RetrieverConfig
from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.base import best_first
from retrieval.pool import NO_ROWS, Pool, PooledScores, build_pool

DEPTH_FACTOR = 5
SPARE = 2  # so many times as many rows of a channel are found at first, for what is left out later
FALLBACK = "popularity"  # the channel that scores every item for every query

Quota = tuple[BoolArray, int]
"""Rows of a table, and how many of them a selection has."""


@dataclass(frozen=True)
class Selection:
    """Rows of the table, best first."""

    rows: RowArray
    scores: FloatArray
    sources: tuple[str, ...]  # the channel of each row

    def with_last_replaced(self, extra: Selection, reserved: Collection[int]) -> Selection:
        """Replace the last rows that are not reserved by `extra`.

        The new rows come last, with scores no higher than the last before them.
        """
        rows = self.rows.tolist()
        replaceable = [position for position, row in enumerate(rows) if row not in reserved]
        replaced = set(replaceable[max(0, len(replaceable) - len(extra.rows)) :])
        kept = [position for position in range(len(rows)) if position not in replaced]
        n_new = len(replaced)
        ceiling = self.scores[kept[-1]] if kept else np.float32(np.inf)
        return Selection(
            np.concatenate([self.rows[kept], extra.rows[:n_new]]),
            np.concatenate([self.scores[kept], np.minimum(extra.scores[:n_new], ceiling)]),
            (*(self.sources[position] for position in kept), *extra.sources[:n_new]),
        )

    def by_score(self, scores: FloatArray) -> Selection:
        """Return the rows with these scores, in their order."""
        order = np.argsort(-scores, kind="stable")
        return Selection(self.rows[order], scores[order], tuple(self.sources[i] for i in order))


@dataclass(frozen=True)
class FusedPool:
    """What the channels found for a query, with what each adds to the scores."""

    tops: Mapping[str, RowArray]  # what each channel found, best first
    pool: Pool
    terms: FloatArray  # (r, channels)
    channels: Sequence[str]  # of the columns; none if all are excluded

    @cached_property
    def scores(self) -> FloatArray:
        """The sums of the terms, (r,)."""
        return np.asarray(self.terms.sum(axis=1), dtype=np.float32)

    def of(self, rows: RowArray) -> Selection:
        """Return these rows of the pool, in this order."""
        return self._at(np.searchsorted(self.pool.rows, rows))

    def best(self, n: int) -> Selection:
        """Return the best `n` of the pool, or all that it has."""
        return self._at(best_first(self.scores, n))

    def _at(self, positions: RowArray) -> Selection:
        columns = self.terms[positions].argmax(axis=1).tolist() if self.channels else [0] * len(positions)
        names = self.channels or [FALLBACK]
        sources = tuple(names[column] for column in columns)
        return Selection(self.pool.rows[positions], self.scores[positions], sources)


@dataclass(frozen=True)
class Fusion:
    """The channels' scores of one query, fused by weight.

    What is allowed may only become less from one question to the next.
    """

    by_channel: Mapping[str, PooledScores]
    weights: Mapping[str, float]
    config: RetrieverConfig
    _first: dict[str, tuple[RowArray, bool]] = field(default_factory=dict)
    """What each channel found when it was asked first, and whether this is all."""

    @property
    def responding(self) -> list[str]:
        """The channels with weight that have scores."""
        return [name for name in self.weights if name in self.by_channel]

    def depth(self, n: int) -> int:
        """Return how many items are taken from each channel for a list of `n`."""
        return max(self.config.depth, DEPTH_FACTOR * n)

    def pool(
        self, allowed: BoolArray, n: int, extra: RowArray = NO_ROWS, channels: Sequence[str] | None = None
    ) -> FusedPool:
        """Fuse what the channels find for a list of `n`, and `extra` rows.

        Args:
            allowed: Which rows the channels may find.
            n: Length of the list.
            extra: Rows that are scored beside them.
            channels: That are fused; by default those that respond, or the one that always does.
        """
        channels = self.responding or [FALLBACK] if channels is None else channels
        return self._fused(self._tops(allowed, self.depth(n)), channels, extra)

    def _tops(self, allowed: BoolArray, depth: int) -> dict[str, RowArray]:
        """Return the first rows of each channel; what it found first may do."""
        tops = {}
        for name, pooled in self.by_channel.items():
            if name not in self._first:
                rows = pooled.scores.top(SPARE * depth, allowed)
                self._first[name] = rows, len(rows) < SPARE * depth
            rows, all_there_is = self._first[name]
            rows = rows[allowed[rows]][:depth]
            enough = all_there_is or len(rows) == depth
            tops[name] = rows if enough else pooled.scores.top(depth, allowed)
        return tops

    def _fused(self, tops: Mapping[str, RowArray], channels: Sequence[str], extra: RowArray) -> FusedPool:
        pool = build_pool(self.by_channel, tops, channels, extra)
        weight = np.array([self.weights.get(name, 1.0) for name in channels], dtype=np.float32)
        if self.config.fusion == "rank":
            terms = np.where(pool.ranks > 0, weight / (self.config.rrf_k + pool.ranks), 0.0)
        else:
            terms = pool.features * weight
        return FusedPool(tops, pool, terms, channels)

    def best(self, allowed: BoolArray, n: int) -> tuple[Selection, FusedPool]:
        """Select the best `n` of the allowed rows, filled up with the most popular."""
        fused = self.pool(allowed, n)
        best = fused.best(n)
        if len(best.rows) == n:
            return best, fused
        remaining = allowed.copy()
        remaining[best.rows] = False
        extra = self.by_channel[FALLBACK].scores.top(n - len(best.rows), remaining)
        lowest = best.scores[-1] if len(best.rows) else np.float32(0)
        filled = Selection(
            np.concatenate([best.rows, extra]),
            np.concatenate([best.scores, np.full(len(extra), lowest, dtype=np.float32)]),
            (*best.sources, *([FALLBACK] * len(extra))),
        )
        return filled, fused

    def select(
        self, allowed: BoolArray, n: int, quotas: Iterable[Quota], preferred: Iterable[Quota]
    ) -> tuple[Selection, FusedPool]:
        """Select `n` of the allowed rows, and return their pool.

        Args:
            allowed: Which rows there may be.
            n: How many.
            quotas: Of which rows so many take the last positions.
            preferred: So many of these rows come before all others.
        """
        selection, fused = self.best(allowed, n)
        reserved: set[int] = set()
        for mask, quota in quotas:
            included = {row for row in selection.rows.tolist() if mask[row]}
            missing = min(quota, n) - len(included)
            reserved |= set(list(included)[:quota])
            if missing > 0:
                remaining = mask.copy()
                remaining[selection.rows] = False
                extra, _ = self.best(remaining, min(missing, int(remaining.sum())))
                selection = selection.with_last_replaced(extra, reserved)
                reserved |= set(extra.rows.tolist())
        for mask, quota in preferred:
            selection = self._with_preferred(selection, fused, mask, min(quota, n))
        return selection, fused

    def _with_preferred(
        self, selection: Selection, fused: FusedPool, preferred: BoolArray, n: int
    ) -> Selection:
        """Replace the last that are not preferred by the best that are.

        All have the scores of one pool, as counterfactuals compute them.
        """
        lacking = preferred.copy()
        lacking[selection.rows] = False
        missing = min(n - int(preferred[selection.rows].sum()), int(lacking.sum()))
        if missing <= 0:
            return selection
        extra, _ = self.best(lacking, missing)
        kept = {row for row in selection.rows.tolist() if preferred[row]}
        joined = selection.with_last_replaced(extra, kept)
        beside = self._fused(fused.tops, fused.channels, joined.rows)
        return joined.by_score(beside.of(joined.rows).scores)
