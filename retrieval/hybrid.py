"""Several channels fused into one retriever, over a live catalogue."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import RetrieverConfig
from recsys.errors import ConfigError
from recsys.knowledge.relations import RelationGraph
from recsys.types import Candidate, Item, Relatedness
from retrieval.arrays import BoolArray, DoubleArray, FloatArray, RowArray
from retrieval.base import Channel, Gate, Gated, Query, best_first
from retrieval.channels.popularity import popular_head, popularity_percentiles
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.pool import Pool, PooledScores, build_pool, top_rows
from retrieval.query_channels import RetrieverState, score_queries, score_query
from retrieval.table import ItemRows
from retrieval.threads import one_thread

DEPTH_FACTOR = 5
FURTHER = 4  # so many times as many items are looked at where a gate leaves too few
ITEM_ITEM_CHANNELS = (
    "linear",
    "transitions",
    "cooccurrence",
    "ease",
)  # the first with scores tells `co_consumed`
MAX_CO_CONSUMED = 3
FALLBACK = "popularity"  # the channel that scores every item for every query

PartialQuery = tuple[Query, Collection[str]]
"""A query and the channels that are excluded from its scores."""


@dataclass
class _CurrentState:
    """The current state, shared by retrievers that differ in their weights."""

    state: RetrieverState


@dataclass(frozen=True)
class _Selection:
    """Rows of the table, best first."""

    rows: RowArray
    scores: FloatArray
    sources: tuple[str, ...]  # the channel of each row


@dataclass(frozen=True)
class _ScoredPool:
    """The pool of one query, with what each channel adds to the scores."""

    query: Query
    by_channel: Mapping[str, PooledScores]
    tops: Mapping[str, RowArray]  # what each channel found
    allowed: BoolArray
    responding: Sequence[str]  # the channels of the columns
    pool: Pool
    terms: FloatArray  # (r, channels)

    @property
    def scores(self) -> FloatArray:
        """The sums of the terms, (r,)."""
        return np.asarray(self.terms.sum(axis=1), dtype=np.float32)


class HybridRetriever:
    """Channels fused by weight. Reads and updates may come from any number of threads.

    An item's score is the sum of its standardised channel scores times the channels' weights
    ("weighted"), or the sum of `weight / (rrf_k + rank)` ("rank": Cormack, Clarke and Büttcher:
    Reciprocal Rank Fusion, SIGIR 2009). Under the first, with weights fitted by
    `retrieval.fusion_weights`, softmax of the scores estimates p(next item | user).

    A request reads one state from beginning to end; an update replaces the state. A channel that is
    still `missing` joins in the same way, with the weight that it has from the beginning.

    Args:
        table: The catalogue.
        channels: By name, the popularity channel among them.
        counts: Number of events per item id.
        config: Options of the fusion.
        weights: Channel weights, in place of the configured ones.
        cooccurrence_counts: If given, `co_consumed` of candidates names only items that it confirms.
        missing: Channels that will `join`, and why they have not.

    Raises:
        ConfigError: No channel has weight, or the popularity channel is missing.
    """

    def __init__(
        self,
        table: ItemRows,
        channels: Mapping[str, Channel],
        counts: Mapping[str, float],
        config: RetrieverConfig,
        weights: Mapping[str, float] | None = None,
        cooccurrence_counts: CooccurrenceCounts | None = None,
        missing: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        missing = missing or {}
        names = [*channels, *missing]
        self._wanted = _positive_weights(config.by_name if weights is None else weights, names)
        self._counts = counts
        self._cooccurrence_counts = cooccurrence_counts
        self._head = popular_head(counts)
        self._percentiles = popularity_percentiles(counts)
        self._current = _CurrentState(RetrieverState(table, dict(channels), dict(missing)))
        self._write_lock = threading.Lock()

    @property
    def state(self) -> RetrieverState:
        """The current catalogue and channels."""
        return self._current.state

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the channels that are there."""
        return self._weights_at(self.state)

    def reweighted(self, weights: Mapping[str, float]) -> HybridRetriever:
        """Return a retriever with other weights that shares all updates with this one.

        Channels that are not named keep their weight.

        Raises:
            ConfigError: A channel is not in use, or none has any weight.
        """
        channels = [*self.state.channels, *self.state.missing]
        if missing := sorted(set(weights).difference(channels)):
            raise ConfigError(
                f"the retrieval channel '{missing[0]}' is not in use",
                hint="give it some weight in [retriever.weights], if only .001; "
                f"there are: {', '.join(channels)}",
            )
        other = copy.copy(self)
        other._wanted = _positive_weights({**self._wanted, **weights}, channels)
        return other

    def at_state(self, state: RetrieverState) -> HybridRetriever:
        """Return a retriever that stays at `state`, which no update reaches."""
        other = copy.copy(self)
        other._current = _CurrentState(state)
        return other

    def update(
        self,
        items: Sequence[Item] = (),
        *,
        removed: Collection[str] = (),
        swap: AbstractContextManager[object] | None = None,
    ) -> None:
        """Add, replace or delete items; the next request sees it.

        Writers wait for each other.

        Args:
            items: New and changed items; only their texts are embedded.
            removed: Ids to delete.
            swap: Held while the new state replaces the old.
        """
        with self._write_lock:
            old = self._current.state
            table = old.table.with_changes(items, removed=removed)
            channels = {name: channel.updated(items, removed) for name, channel in old.channels.items()}
            with swap or nullcontext():
                self._current.state = dataclasses.replace(old, table=table, channels=channels)

    def set_available(self, item_ids: Collection[str], available: bool) -> None:
        """Hide items, or show them again: an unavailable item is known but never returned."""
        with self._write_lock:
            table = self._current.state.table.with_availability(item_ids, available)
            self._current.state = dataclasses.replace(self._current.state, table=table)

    def join(self, name: str, channel: Channel | None, items: Sequence[Item]) -> None:
        """Add a channel that was missing, from the next request on.

        Args:
            name: Of the channel.
            channel: The channel; None if the events have nothing for it.
            items: The catalogue that it was fitted on; later changes are passed on to it.
        """
        with self._write_lock:
            state = self._current.state
            channels = dict(state.channels)
            if channel is not None:
                channels[name] = channel.updated(*state.table.changes_since(items))
            missing = {other: why for other, why in state.missing.items() if other != name}
            self._current.state = dataclasses.replace(state, channels=channels, missing=missing)

    def stays_missing(self, name: str, why: str) -> None:
        """Say why a missing channel will not join."""
        with self._write_lock:
            missing = {**self._current.state.missing, name: why}
            self._current.state = dataclasses.replace(self._current.state, missing=missing)

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """Return the `n` best candidates by fused score.

        `source` is the channel whose term is largest, `channels` the rank in each channel that
        found the item, `contributions` each history item's share of its text similarity. Items
        for `at_least` rules and for the shares of long-tail and new items take the last
        positions. If the channels know too few items, the most popular others fill the list.
        """
        return self.retrieve_gated(query, n).candidates

    @one_thread()
    def retrieve_gated(self, query: Query, n: int, gate: Gate | None = None) -> Gated:
        """Retrieve what a gate lets through; the list is as long as it can be.

        The gate is asked about what is found. If it leaves something out, its masks bound what the
        channels find, the costly ones only where too little is left, and it is asked about ever more
        items until `n` are left.
        """
        state = self._current.state
        weights = self._weights_for(query, state)
        by_channel = score_query(query, state, [*weights, FALLBACK])
        found: tuple[Item, ...] | None = None
        looked_at = max(n, 0)
        while True:
            allowed = query.allowed(state.table)
            wanted = min(looked_at, int(allowed.sum()))
            if not wanted:
                return Gated([], query, found or ())
            selection, tops = self._selection(query, state.table, by_channel, weights, allowed, wanted)
            items = [state.table.items[row] for row in selection.rows.tolist()]
            refused = {item.id for item in items if not gate.allows(item)} if gate else set()
            if not refused and wanted <= n:
                best = float(selection.scores.max())
                candidates = self._candidates(selection, by_channel, tops, state, query, best)
                return Gated(candidates, query, tuple(items) if found is None else found)
            if found is None:
                found, masks = tuple(items), state.table.affordable(gate.masks) if gate else ()
            else:
                looked_at = n if wanted - len(refused) >= n else FURTHER * looked_at
                too_few = looked_at > FURTHER * n
                masks = state.table.affordable(gate.masks, dear=True) if gate and too_few else ()
            conditions = tuple(dict.fromkeys((*query.conditions, *masks)))
            query = dataclasses.replace(query, exclude=query.exclude | refused, conditions=conditions)

    def _selection(
        self,
        query: Query,
        table: ItemRows,
        by_channel: Mapping[str, PooledScores],
        weights: Mapping[str, float],
        allowed: BoolArray,
        n: int,
    ) -> tuple[_Selection, dict[str, RowArray]]:
        """Select `n` of the allowed items with their quotas, and what each channel found."""
        tops = top_rows(by_channel, allowed, self._depth(n))
        selection = self._best(by_channel, tops, weights, allowed, n)
        reserved: set[int] = set()
        for mask, quota in self._quotas(query, table, allowed, n):
            included = {row for row in selection.rows.tolist() if mask[row]}
            missing = min(quota, n) - len(included)
            reserved |= set(list(included)[:quota])
            if missing > 0:
                remaining = mask.copy()
                remaining[selection.rows] = False
                missing = min(missing, int(remaining.sum()))
                other_tops = top_rows(by_channel, remaining, self._depth(missing))
                extra = self._best(by_channel, other_tops, weights, remaining, missing)
                selection = _insert(selection, extra, reserved)
                reserved |= set(extra.rows.tolist())
        for condition, quota in query.preferred:
            preferred = allowed & table.passing(condition)
            selection = self._with_preferred(selection, by_channel, tops, weights, preferred, min(quota, n))
        return selection, tops

    def _with_preferred(
        self,
        selection: _Selection,
        by_channel: Mapping[str, PooledScores],
        tops: Mapping[str, RowArray],
        weights: Mapping[str, float],
        preferred: BoolArray,
        n: int,
    ) -> _Selection:
        """Replace the last that are not preferred by the best that are.

        All have the scores of one pool, as `rescore` computes them.
        """
        lacking = preferred.copy()
        lacking[selection.rows] = False
        included = int(preferred[selection.rows].sum())
        missing = min(n - included, int(lacking.sum()))
        if missing <= 0:
            return selection
        further = top_rows(by_channel, lacking, self._depth(missing))
        extra = self._best(by_channel, further, weights, lacking, missing)
        kept = {row for row in selection.rows.tolist() if preferred[row]}
        joined = _insert(selection, extra, kept)
        responding = [name for name in weights if name in by_channel] or [FALLBACK]
        pool, terms = self._terms(by_channel, tops, responding, weights, joined.rows)
        scores = terms.sum(axis=1).astype(np.float32)[np.searchsorted(pool.rows, joined.rows)]
        order = np.argsort(-scores, kind="stable")
        return _Selection(joined.rows[order], scores[order], tuple(joined.sources[i] for i in order))

    def rescore(
        self, query: Query, item_ids: Sequence[str], excluded: Collection[str] = ()
    ) -> list[Candidate]:
        """Return these items with the scores they have in the pool of `query`.

        They come in the order of `item_ids`. This is for counterfactuals: the score of a candidate
        under another query, on the scale of that query's own candidates. Items outside the pool, even
        those it excludes or filters, are added to it; `lead` is relative to the best allowed item.

        Args:
            query: The query.
            item_ids: Ids; those that the table lacks are left out.
            excluded: Channels that are left out of the scores.
        """
        return self.rescore_many([(query, excluded)], item_ids)[0]

    @one_thread()
    def rescore_many(self, queries: Sequence[PartialQuery], item_ids: Sequence[str]) -> list[list[Candidate]]:
        """Do `rescore` for many queries, faster than one by one."""
        state = self._current.state
        rows = _known_rows(state.table, item_ids)
        lists = []
        for scored in self._pools(queries, rows, state):
            positions, scores = np.searchsorted(scored.pool.rows, rows), scored.scores
            best = scores[scored.allowed[scored.pool.rows]].max(initial=-np.inf)
            sources = (
                [scored.responding[column] for column in scored.terms[positions].argmax(axis=1)]
                if scored.responding
                else [FALLBACK] * len(rows)
            )
            selection = _Selection(rows, scores[positions], tuple(sources))
            lists.append(
                self._candidates(selection, scored.by_channel, scored.tops, state, scored.query, float(best))
            )
        return lists

    def score_many(self, queries: Sequence[PartialQuery], item_ids: Sequence[str]) -> DoubleArray:
        """Return the scores of `rescore_many`, (queries, items); NaN for unknown ids."""
        state = self._current.state
        scores = np.full((len(queries), len(item_ids)), np.nan)
        known = np.array([item_id in state.table.row_of for item_id in item_ids], dtype=bool)
        rows = _known_rows(state.table, item_ids)
        for number, scored in enumerate(self._pools(queries, rows, state)):
            scores[number, known] = scored.scores[np.searchsorted(scored.pool.rows, rows)]
        return scores

    def pool(self, query: Query) -> tuple[Pool, list[str], ItemRows]:
        """Return the unweighted pool of a query, its columns' channels, and the table."""
        state = self._current.state
        by_channel = score_query(query, state, list(self._weights_at(state)))
        allowed = query.allowed(state.table)
        tops = top_rows(by_channel, allowed, self.config.depth)
        return build_pool(by_channel, tops, list(by_channel)), list(by_channel), state.table

    def _pools(
        self, queries: Sequence[PartialQuery], rows: RowArray, state: RetrieverState
    ) -> Iterator[_ScoredPool]:
        """Score the pool of each query, `rows` included."""
        weights = [
            {name: weight for name, weight in self._weights_for(query, state).items() if name not in excluded}
            for query, excluded in queries
        ]
        names = [[*of_query, FALLBACK] for of_query in weights]
        for number, by_channel in enumerate(score_queries([query for query, _ in queries], state, names)):
            query, excluded = queries[number]
            allowed = query.allowed(state.table)
            tops = top_rows(by_channel, allowed, self._depth(len(rows)))
            responding = [name for name in weights[number] if name in by_channel] or [FALLBACK] * (
                FALLBACK not in excluded
            )
            pool, terms = self._terms(by_channel, tops, responding, weights[number], rows)
            yield _ScoredPool(query, by_channel, tops, allowed, responding, pool, terms)

    def _weights_at(self, state: RetrieverState) -> dict[str, float]:
        return {name: weight for name, weight in self._wanted.items() if name in state.channels}

    def _weights_for(self, query: Query, state: RetrieverState) -> dict[str, float]:
        """Return the channel weights; a wish raises those of the channels that read it."""
        weights = self._weights_at(state)
        if not query.wish.strip():
            return weights
        return weights | {
            name: max(weight, weights.get(name, 0.0))
            for name, weight in self.config.wish_weights.items()
            if weight and name in state.channels
        }

    def _best(
        self,
        by_channel: Mapping[str, PooledScores],
        tops: Mapping[str, RowArray],
        weights: Mapping[str, float],
        allowed: BoolArray,
        n: int,
    ) -> _Selection:
        """Select the best `n` of the allowed items, filled up with the most popular."""
        responding = [name for name in weights if name in by_channel] or [FALLBACK]
        pool, terms = self._terms(by_channel, tops, responding, weights)
        scores = terms.sum(axis=1).astype(np.float32)
        best = best_first(scores, n)
        sources = [responding[column] for column in np.argmax(terms[best], axis=1).tolist()]
        remaining = allowed.copy()
        remaining[pool.rows[best]] = False
        extra = by_channel[FALLBACK].scores.top(n - len(best), remaining)
        lowest = scores[best[-1]] if len(best) else np.float32(0)
        return _Selection(
            np.concatenate([pool.rows[best], extra]),
            np.concatenate([scores[best], np.full(len(extra), lowest, dtype=np.float32)]),
            (*sources, *([FALLBACK] * len(extra))),
        )

    def _terms(
        self,
        by_channel: Mapping[str, PooledScores],
        tops: Mapping[str, RowArray],
        responding: Sequence[str],
        weights: Mapping[str, float],
        extra: Sequence[int] | RowArray = (),
    ) -> tuple[Pool, FloatArray]:
        """Return the pool, and what each channel adds to the scores, (r, channels)."""
        pool = build_pool(by_channel, tops, responding, np.asarray(extra, dtype=np.int64))
        weight = np.array([weights.get(name, 1.0) for name in responding], dtype=np.float32)
        if self.config.fusion == "rank":
            return pool, np.where(pool.ranks > 0, weight / (self.config.rrf_k + pool.ranks), 0.0)
        return pool, pool.features * weight

    def _quotas(
        self, query: Query, table: ItemRows, allowed: BoolArray, n: int
    ) -> list[tuple[BoolArray, int]]:
        """Return which rows must be among the candidates, and how many of them."""
        config = self.config
        quotas = [
            (allowed & table.having(rule.attribute, rule.values), rule.n) for rule in query.filter.at_least
        ]
        quotas += [(allowed & table.passing(condition), count) for condition, count in query.at_least]
        for share, common in ((config.long_tail_share, self._head), (config.new_item_share, self._counts)):
            if share > 0:
                rare = np.array([not common.get(item.id) for item in table.items], dtype=bool)
                quotas.append((allowed & rare, math.ceil(share * n)))
        return quotas

    def _candidates(
        self,
        selection: _Selection,
        by_channel: Mapping[str, PooledScores],
        tops: Mapping[str, RowArray],
        state: RetrieverState,
        query: Query,
        best: float,
    ) -> list[Candidate]:
        depth = self._depth(len(selection.rows))
        ranks = {
            name: {row: rank for rank, row in enumerate(top.tolist(), start=1)} for name, top in tops.items()
        }
        not_disliked = {entry.item.id for entry in query.history if entry.liked is not False}
        item_item = next((name for name in ITEM_ITEM_CHANNELS if name in by_channel), "")
        candidates = []
        for row, score, source, contributions, strengths in zip(
            selection.rows.tolist(),
            selection.scores.tolist(),
            selection.sources,
            _contributions(by_channel.get("text"), selection.rows),
            _contributions(by_channel.get(item_item), selection.rows),
            strict=True,
        ):
            item = state.table.items[row]
            found_by = {name: rank_of[row] for name, rank_of in ranks.items() if row in rank_of}
            candidates.append(
                Candidate(
                    item=item,
                    score=score,
                    source=source,
                    channels={source: depth + 1} | found_by,
                    contributions=contributions,
                    co_consumed=self._co_consumed(strengths, item.id),
                    related=_related(state.relations, item.id, not_disliked),
                    popularity=self._percentiles.get(item.id),
                    lead=score - best if np.isfinite(best) else None,  # nothing else is allowed
                )
            )
        return candidates

    def _co_consumed(self, strengths: Mapping[str, float], item_id: str) -> dict[str, float]:
        """Return the largest positive shares that co-occurrence counts confirm."""
        positive = {other: share for other, share in strengths.items() if share > 0}
        total = math.fsum(positive.values())
        strongest = sorted(positive, key=lambda other: (-positive[other], other))
        counts = self._cooccurrence_counts
        confirmed = (other for other in strongest if counts is None or counts.co_consumed(other, item_id))
        return {other: positive[other] / total for other in itertools.islice(confirmed, MAX_CO_CONSUMED)}

    def _depth(self, n: int) -> int:
        return max(self.config.depth, DEPTH_FACTOR * n)


def _positive_weights(weights: Mapping[str, float], channels: Collection[str]) -> dict[str, float]:
    """Return the channels with weight.

    Raises:
        ConfigError: There is none, or no popularity channel.
    """
    positive = {name: weight for name, weight in weights.items() if weight > 0 and name in channels}
    if not positive or FALLBACK not in channels:
        raise ConfigError(
            "no retrieval channel has any weight" if channels else "there is no retrieval channel",
            hint=f"give one of [retriever.weights] a value above 0; there are: {', '.join(channels)}",
        )
    return positive


def _related(relations: RelationGraph, item_id: str, past: Collection[str]) -> tuple[Relatedness, ...]:
    """Return how an item is related to these others."""
    return tuple(
        Relatedness(item_id=link.item_id, relation=link.relation, forward=link.forward, value=link.value)
        for link in relations.links(item_id)
        if link.item_id in past
    )


def _contributions(pooled: PooledScores | None, rows: RowArray) -> list[dict[str, float]]:
    return pooled.scores.contributions(rows) if pooled else [{} for _ in rows]


def _known_rows(table: ItemRows, item_ids: Sequence[str]) -> RowArray:
    return np.array([table.row_of[item_id] for item_id in item_ids if item_id in table.row_of], np.int64)


def _insert(selection: _Selection, extra: _Selection, reserved: Collection[int]) -> _Selection:
    """Replace the last rows that are not reserved by `extra`.

    The new rows come last, with scores no higher than the last before them.
    """
    rows = selection.rows.tolist()
    replaceable = [position for position, row in enumerate(rows) if row not in reserved]
    replaced = set(replaceable[max(0, len(replaceable) - len(extra.rows)) :])
    kept = [position for position in range(len(rows)) if position not in replaced]
    n_new = len(replaced)
    ceiling = selection.scores[kept[-1]] if kept else np.float32(np.inf)
    return _Selection(
        np.concatenate([selection.rows[kept], extra.rows[:n_new]]),
        np.concatenate([selection.scores[kept], np.minimum(extra.scores[:n_new], ceiling)]),
        (*(selection.sources[position] for position in kept), *extra.sources[:n_new]),
    )
