"""Several channels fused into one retriever, over a live catalogue."""

from __future__ import annotations

import copy
import dataclasses
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import RetrieverConfig
from recsys.errors import ConfigError
from recsys.knowledge.relations import Edge
from recsys.types import Candidate, Item
from retrieval.arrays import BoolArray, DoubleArray, RowArray
from retrieval.base import SECONDS_A_DAY, Channel, Gate, Gated, Query
from retrieval.candidates import CandidateFacts
from retrieval.channels.popularity import popular_head, popularity_percentiles
from retrieval.channels.related import RelatedChannel
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.fusion import FALLBACK, FusedPool, Fusion, Quota
from retrieval.gating import narrowed, without_refused
from retrieval.pool import Pool, build_pool, top_rows
from retrieval.query_channels import RetrieverState, score_queries, score_query
from retrieval.table import ItemRows
from retrieval.threads import one_thread

IN_USE_S = 28 * SECONDS_A_DAY
"""Time after the last event within which a catalogue is in use."""

PartialQuery = tuple[Query, Collection[str]]
"""A query and the channels that are excluded from its scores."""


@dataclass
class _CurrentState:
    """The current state, shared by retrievers that differ in their weights."""

    state: RetrieverState


@dataclass(frozen=True)
class ReturningWeights:
    """Channel weights for people whose newest event is old."""

    weights: Mapping[str, float]
    last_event: float | None = None  # when anybody's newest was, seconds since 1970; None if unknown

    def among(self, channels: Collection[str]) -> ReturningWeights:
        """Return the weights above 0 of these channels.

        Raises:
            ConfigError: There are none.
        """
        return dataclasses.replace(self, weights=_positive_weights(self.weights, channels))

    def holds(self, query: Query, days: float) -> bool:
        """Tell whether the person of a request was away for longer than so many days.

        Long after anybody's last event, as with data of the past, no history tells that.
        """
        in_use = query.now is None or self.last_event is None or query.now < self.last_event + IN_USE_S
        return in_use and query.away > days


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
        returning: Weights where the history is old; without, no difference is made.

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
        returning: ReturningWeights | None = None,
    ) -> None:
        self.config = config
        missing = missing or {}
        names = [*channels, *missing]
        self._wanted = _positive_weights(config.by_name if weights is None else weights, names)
        self._returning = returning and returning.among(names)
        self._counts = counts
        self._head = popular_head(counts)
        self._facts = CandidateFacts(popularity_percentiles(counts), cooccurrence_counts)
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
        if self._returning:
            merged = {**self._returning.weights, **weights}
            other._returning = dataclasses.replace(self._returning, weights=merged).among(channels)
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
        edges: Collection[Edge] | None = None,
        swap: AbstractContextManager[object] | None = None,
    ) -> None:
        """Add, replace or delete items, and read relations anew; the next request sees it.

        Writers wait for each other.

        Args:
            items: New and changed items; only their texts are embedded.
            removed: Ids to delete.
            edges: Of all relations that have a file; None if they are as they were.
            swap: Held while the new state replaces the old.
        """
        with self._write_lock:
            old = self._current.state
            table = old.table.with_changes(items, removed=removed)
            channels = {name: channel.updated(items, removed) for name, channel in old.channels.items()}
            related = channels.get("related")
            if edges is not None and isinstance(related, RelatedChannel):
                graph = related.graph.with_edges(edges, [table.items[row] for row in table.row_of.values()])
                channels["related"] = dataclasses.replace(related, graph=graph)
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
        channels find; if that is not enough, it is asked about more of it at once.
        """
        state = self._current.state
        fusion = self._fusion(query, state)
        found: tuple[Item, ...] | None = None
        while True:
            allowed = query.allowed(state.table)
            wanted = min(max(n, 0), int(allowed.sum()))
            if not wanted:
                return Gated([], query, found or ())
            quotas = self._quotas(query, state.table, allowed, wanted)
            preferred = [(allowed & state.table.passing(one), count) for one, count in query.preferred]
            selection, fused = fusion.select(allowed, wanted, quotas, preferred)
            items = [state.table.items[row] for row in selection.rows.tolist()]
            refused = [item.id for item in items if not gate.allows(item)] if gate else []
            if gate is None or not refused:
                best = float(selection.scores.max())
                candidates = self._facts.candidates(selection, best, fused, fusion, query, state)
                return Gated(candidates, query, tuple(items) if found is None else found)
            query = narrowed(query, refused)
            if found is None:
                found = tuple(items)
                query = narrowed(query, (), state.table.affordable(gate.masks))
            else:
                query = without_refused(query, n, gate, state.table, fusion, fused)

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
        for query, allowed, fusion, fused in self._pools(queries, rows, state):
            best = float(fused.scores[allowed[fused.pool.rows]].max(initial=-np.inf))
            lists.append(self._facts.candidates(fused.of(rows), best, fused, fusion, query, state))
        return lists

    def score_many(self, queries: Sequence[PartialQuery], item_ids: Sequence[str]) -> DoubleArray:
        """Return the scores of `rescore_many`, (queries, items); NaN for unknown ids."""
        state = self._current.state
        scores = np.full((len(queries), len(item_ids)), np.nan)
        known = np.array([item_id in state.table.row_of for item_id in item_ids], dtype=bool)
        rows = _known_rows(state.table, item_ids)
        for number, (*_, fused) in enumerate(self._pools(queries, rows, state)):
            scores[number, known] = fused.of(rows).scores
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
    ) -> Iterator[tuple[Query, BoolArray, Fusion, FusedPool]]:
        """Score the pool of each query, `rows` included; with what it allows."""
        weights = [
            {name: weight for name, weight in self._weights_for(query, state).items() if name not in excluded}
            for query, excluded in queries
        ]
        names = [[*of_query, FALLBACK] for of_query in weights]
        scored = score_queries([query for query, _ in queries], state, names)
        for (query, excluded), of_query, by_channel in zip(queries, weights, scored, strict=True):
            fusion = Fusion(by_channel, of_query, self.config)
            channels = fusion.responding or [FALLBACK] * (FALLBACK not in excluded)
            allowed = query.allowed(state.table)
            yield query, allowed, fusion, fusion.pool(allowed, len(rows), rows, channels)

    def _fusion(self, query: Query, state: RetrieverState) -> Fusion:
        weights = self._weights_for(query, state)
        return Fusion(score_query(query, state, [*weights, FALLBACK]), weights, self.config)

    def _weights_at(self, state: RetrieverState) -> dict[str, float]:
        return _there(self._wanted, state)

    def _weights_for(self, query: Query, state: RetrieverState) -> dict[str, float]:
        """Return the channel weights; a wish raises those of the channels that read it."""
        weights = self._weights_at(state)
        if self._returning and self._returning.holds(query, self.config.returning_days):
            weights = _there(self._returning.weights, state)
        if not query.wish.strip():
            return weights
        return weights | {
            name: max(weight, weights.get(name, 0.0))
            for name, weight in self.config.wish_weights.items()
            if weight and name in state.channels
        }

    def _quotas(self, query: Query, table: ItemRows, allowed: BoolArray, n: int) -> list[Quota]:
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


def _there(weights: Mapping[str, float], state: RetrieverState) -> dict[str, float]:
    return {name: weight for name, weight in weights.items() if name in state.channels}


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


def _known_rows(table: ItemRows, item_ids: Sequence[str]) -> RowArray:
    return np.array([table.row_of[item_id] for item_id in item_ids if item_id in table.row_of], np.int64)
