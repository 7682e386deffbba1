"""Several channels as one retriever, over a catalogue that may change while it is read."""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.config.retrieval import RetrieverConfig
from recsys.errors import ConfigError
from recsys.types import Candidate, Item
from retrieval.base import Channel, FloatArray, Query, RowArray, best_first
from retrieval.channels.popularity import head, percentiles
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.pool import Pool, PooledAnswer, gather, tops_of
from retrieval.query_channels import RetrieverState, ask, ask_many
from retrieval.table import BoolArray, ItemRows

DEPTH_FACTOR = 5
TOGETHER = ("linear", "transitions", "cooccurrence", "ease")  # channels that can say with what an item is met
TOGETHER_SHOWN = 3
FALLBACK = "popularity"  # the channel that always has an answer, about every item


@dataclass
class _Now:
    """The state of this moment, which retrievers that differ in their weights share."""

    state: RetrieverState


@dataclass(frozen=True)
class _Chosen:
    """Rows of the table, best first, the score and the channel of each."""

    rows: RowArray
    scores: FloatArray
    sources: tuple[str, ...]


@dataclass(frozen=True)
class _Weighed:
    """A pool, and what each channel that spoke adds to the score of its items, shape (r, channels)."""

    answers: Mapping[str, PooledAnswer]
    tops: Mapping[str, RowArray]
    allowed: BoolArray
    responding: Sequence[str]
    pool: Pool
    terms: FloatArray

    @property
    def scores(self) -> FloatArray:
        return np.asarray(self.terms.sum(axis=1), dtype=np.float32)


class HybridRetriever:
    """Channels joined by weight. Reads and updates may come from any number of threads.

    An item's score is the sum of its standardised channel scores, each times the
    channel's weight ("weighted"), or the sum of `weight / (rrf_k + rank)` ("rank":
    Cormack, Clarke and Büttcher: Reciprocal Rank Fusion, SIGIR 2009). Under the first,
    with weights fitted by `retrieval.fusion_weights`, softmax of the scores estimates
    p(next item | user).

    A request reads one state from beginning to end; an update makes another state and
    puts it in its place. `counts` is the number of events per item id; with `cooccurrence_counts`, `co_consumed`
    names only what they confirm. Raises ConfigError if no channel has weight, or if the popularity
    channel is missing.
    """

    def __init__(
        self,
        table: ItemRows,
        channels: Mapping[str, Channel],
        counts: Mapping[str, float],
        config: RetrieverConfig,
        weights: Mapping[str, float] | None = None,
        cooccurrence_counts: CooccurrenceCounts | None = None,
    ) -> None:
        chosen: Mapping[str, float] = config.by_name if weights is None else weights
        self.config = config
        self.weights = _weighted(chosen, channels)
        self._counts = counts
        self._meetings = cooccurrence_counts
        self._head = head(counts)
        self._popularity = percentiles(counts)
        self._now = _Now(RetrieverState(table, dict(channels)))
        self._writing = threading.Lock()

    @property
    def state(self) -> RetrieverState:
        """The catalogue and channels of this moment."""
        return self._now.state

    def reweighted(self, weights: Mapping[str, float]) -> HybridRetriever:
        """The same catalogue and channels, after every change too; those named weigh this, the others as here.

        Raises ConfigError for a channel that is not there, or if none has any weight.
        """
        channels = self.state.channels
        if missing := sorted(set(weights).difference(channels)):
            raise ConfigError(
                f"the retrieval channel '{missing[0]}' is not in use",
                hint=f"give it some weight in [retriever.weights], if only .001; there are: {', '.join(channels)}",
            )
        other = copy.copy(self)
        other.weights = _weighted({**self.weights, **weights}, channels)
        return other

    def at(self, state: RetrieverState) -> HybridRetriever:
        """The same at a moment of its own, which no change reaches."""
        other = copy.copy(self)
        other._now = _Now(state)
        return other

    def update(
        self,
        items: Sequence[Item] = (),
        *,
        removed: Collection[str] = (),
        swap: AbstractContextManager[object] | None = None,
    ) -> None:
        """Add or replace items and delete others; the next request sees it.

        Only the new texts are embedded. Several writers wait for each other. `swap` is held while
        the new state is put in the place of the old.
        """
        with self._writing:
            table = self._now.state.table.changed(items, removed=removed)
            channels = {
                name: channel.updated(items, removed) for name, channel in self._now.state.channels.items()
            }
            with swap or nullcontext():
                self._now.state = RetrieverState(table, channels)

    def set_available(self, item_ids: Collection[str], available: bool) -> None:
        """Hide items, or show them again: what is unavailable is known but never returned."""
        with self._writing:
            table = self._now.state.table.with_availability(item_ids, available)
            self._now.state = RetrieverState(table, self._now.state.channels)

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """The `n` best by fused score, which is what `score` holds.

        `source` is the channel whose term is largest, `channels` the rank in each
        channel that found the item, `contributions` each history item's share of its text
        similarity. "At least" rules, and the shares kept for the long tail and for new
        items, take the last places. Where the channels know too few items, the most met
        of the others fill the list.
        """
        state = self._now.state
        allowed = state.table.allowed(query.filter, query.exclude)
        n = min(max(n, 0), int(allowed.sum()))
        if not n:
            return []
        weights = self._weights_for(query)
        answers = ask(query, state, [*weights, FALLBACK])
        tops = tops_of(answers, allowed, self._depth(n))
        chosen = self._best(answers, tops, weights, allowed, n)
        kept: set[int] = set()
        for mask, wanted in self._wanted(query, state.table, allowed, n):
            inside = {row for row in chosen.rows.tolist() if mask[row]}
            missing = min(wanted, n) - len(inside)
            kept |= set(list(inside)[:wanted])
            if missing > 0:
                left = mask.copy()
                left[chosen.rows] = False
                room = min(missing, int(left.sum()))
                others = tops_of(answers, left, self._depth(room))
                extra = self._best(answers, others, weights, left, room)
                chosen = _with(chosen, extra, kept)
                kept |= set(extra.rows.tolist())
        return self._candidates(chosen, answers, tops, state.table, float(chosen.scores.max()))

    def rescore(
        self, query: Query, item_ids: Sequence[str], excluded: Collection[str] = ()
    ) -> list[Candidate]:
        """These items, in their order, as they stand in the pool that `query` brings; they are added to it.

        For asking "what if": the score of a candidate under another query, on the scale of
        that query's own answer, whatever it excludes or filters; `lead` is to the best
        that it allows. `excluded` channels have no say. Ids that the table lacks are left out.
        """
        return self.rescore_many([(query, excluded)], item_ids)[0]

    def rescore_many(
        self, asked: Sequence[tuple[Query, Collection[str]]], item_ids: Sequence[str]
    ) -> list[list[Candidate]]:
        """`rescore` for many (query, muted channels)."""
        state = self._now.state
        rows = _rows(state.table, item_ids)
        found = []
        for one in self._pools(asked, rows, state):
            place, scores = np.searchsorted(one.pool.rows, rows), one.scores
            best = scores[one.allowed[one.pool.rows]].max(initial=-np.inf)
            sources = (
                [one.responding[column] for column in one.terms[place].argmax(axis=1)]
                if one.responding
                else [FALLBACK] * len(rows)
            )
            chosen = _Chosen(rows, scores[place], tuple(sources))
            found.append(self._candidates(chosen, one.answers, one.tops, state.table, float(best)))
        return found

    def rescored(
        self, asked: Sequence[tuple[Query, Collection[str]]], item_ids: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """The scores alone of `rescore_many`, shape (asked, items); NaN for ids that the table lacks."""
        state = self._now.state
        scores = np.full((len(asked), len(item_ids)), np.nan)
        known = np.array([one in state.table.row_of for one in item_ids], dtype=bool)
        rows = _rows(state.table, item_ids)
        for number, one in enumerate(self._pools(asked, rows, state)):
            scores[number, known] = one.scores[np.searchsorted(one.pool.rows, rows)]
        return scores

    def _pools(
        self, asked: Sequence[tuple[Query, Collection[str]]], rows: RowArray, state: RetrieverState
    ) -> Iterator[_Weighed]:
        """What each query brings, with `rows` among it."""
        weights = [self._heard(query, excluded) for query, excluded in asked]
        names = [[*those, FALLBACK] for those in weights]
        for number, answers in enumerate(ask_many([query for query, _ in asked], state, names)):
            query, excluded = asked[number]
            allowed = state.table.allowed(query.filter, query.exclude)
            tops = tops_of(answers, allowed, self._depth(len(rows)))
            responding = [name for name in weights[number] if name in answers] or [FALLBACK] * (
                FALLBACK not in excluded
            )
            pool, terms = self._terms(answers, tops, responding, weights[number], rows)
            yield _Weighed(answers, tops, allowed, responding, pool, terms)

    def _heard(self, query: Query, excluded: Collection[str]) -> dict[str, float]:
        """Channel weights for this query, less the channels that have no say."""
        return {name: weight for name, weight in self._weights_for(query).items() if name not in excluded}

    def pool(self, query: Query) -> tuple[Pool, list[str], ItemRows]:
        """What the weighted channels bring for a query, before it is weighed: to tune and to inspect.

        The names of the channels that spoke are those of the pool's columns.
        """
        state = self._now.state
        answers = ask(query, state, list(self.weights))
        allowed = state.table.allowed(query.filter, query.exclude)
        tops = tops_of(answers, allowed, self.config.depth)
        return gather(answers, tops, list(answers)), list(answers), state.table

    def _weights_for(self, query: Query) -> dict[str, float]:
        """Channel weights for this query: a wish raises those of the channels that read it."""
        if not query.wish.strip():
            return self.weights
        return self.weights | {
            name: max(weight, self.weights.get(name, 0.0))
            for name, weight in self.config.wish_weights.items()
            if weight and name in self._now.state.channels
        }

    def _best(
        self,
        answers: Mapping[str, PooledAnswer],
        tops: Mapping[str, RowArray],
        weights: Mapping[str, float],
        allowed: BoolArray,
        n: int,
    ) -> _Chosen:
        """The best `n` of the allowed items, filled up with the most met."""
        responding = [name for name in weights if name in answers] or [FALLBACK]
        pool, terms = self._terms(answers, tops, responding, weights)
        scores = terms.sum(axis=1).astype(np.float32)
        best = best_first(scores, n)
        sources = [responding[column] for column in np.argmax(terms[best], axis=1).tolist()]
        left = allowed.copy()
        left[pool.rows[best]] = False
        extra = answers[FALLBACK].answer.top(n - len(best), left)
        lowest = scores[best[-1]] if len(best) else np.float32(0)
        return _Chosen(
            np.concatenate([pool.rows[best], extra]),
            np.concatenate([scores[best], np.full(len(extra), lowest, dtype=np.float32)]),
            (*sources, *([FALLBACK] * len(extra))),
        )

    def _terms(
        self,
        answers: Mapping[str, PooledAnswer],
        tops: Mapping[str, RowArray],
        responding: Sequence[str],
        weights: Mapping[str, float],
        also: Sequence[int] | RowArray = (),
    ) -> tuple[Pool, FloatArray]:
        """The pool of the channels that spoke, and what each adds to a score, shape (r, channels)."""
        pool = gather(answers, tops, responding, np.asarray(also, dtype=np.int64))
        weight = np.array([weights.get(name, 1.0) for name in responding], dtype=np.float32)
        if self.config.fusion == "rank":
            return pool, np.where(pool.ranks > 0, weight / (self.config.rrf_k + pool.ranks), 0.0)
        return pool, pool.features * weight

    def _wanted(
        self, query: Query, table: ItemRows, allowed: BoolArray, n: int
    ) -> list[tuple[BoolArray, int]]:
        """Which items must be in the answer, and how many of them."""
        config = self.config
        wanted = [
            (allowed & table.having(rule.attribute, rule.values), rule.n) for rule in query.filter.at_least
        ]
        for share, known in ((config.long_tail_share, self._head), (config.new_item_share, self._counts)):
            if share > 0:
                seldom = np.array([not known.get(item.id) for item in table.items], dtype=bool)
                wanted.append((allowed & seldom, math.ceil(share * n)))
        return wanted

    def _candidates(
        self,
        chosen: _Chosen,
        answers: Mapping[str, PooledAnswer],
        tops: Mapping[str, RowArray],
        table: ItemRows,
        best: float,
    ) -> list[Candidate]:
        depth = self._depth(len(chosen.rows))
        ranks = {
            name: {row: rank for rank, row in enumerate(top.tolist(), start=1)} for name, top in tops.items()
        }
        text = answers.get("text")
        contributions = text.answer.contributions(chosen.rows) if text else [{} for _ in chosen.rows]
        speaks = next((answers[name] for name in TOGETHER if name in answers), None)
        co_consumed = speaks.answer.contributions(chosen.rows) if speaks else [{} for _ in chosen.rows]
        candidates = []
        for row, score, source, why, near in zip(
            chosen.rows.tolist(),
            chosen.scores.tolist(),
            chosen.sources,
            contributions,
            co_consumed,
            strict=True,
        ):
            found = {name: of[row] for name, of in ranks.items() if row in of}
            candidates.append(
                Candidate(
                    item=table.items[row],
                    score=score,
                    source=source,
                    channels={source: depth + 1} | found,
                    contributions=why,
                    co_consumed=self._strongest(near, table.items[row].id),
                    popularity=self._popularity.get(table.items[row].id),
                    lead=score - best,
                )
            )
        return candidates

    def _strongest(self, shares: Mapping[str, float], item_id: str) -> dict[str, float]:
        """The largest positive shares, of all that is positive, that are borne out by counting."""
        positive = {other: share for other, share in shares.items() if share > 0}
        total = math.fsum(positive.values())
        best = sorted(positive, key=lambda other: (-positive[other], other))
        met = self._meetings
        borne_out = (other for other in best if met is None or met.co_consumed(other, item_id))
        return {other: positive[other] / total for other in itertools.islice(borne_out, TOGETHER_SHOWN)}

    def _depth(self, n: int) -> int:
        return max(self.config.depth, DEPTH_FACTOR * n)


def _weighted(weights: Mapping[str, float], channels: Collection[str]) -> dict[str, float]:
    """The channels with weight. Raises ConfigError if there is none, or no popularity channel."""
    found = {name: weights[name] for name in channels if weights.get(name, 0) > 0}
    if not found or FALLBACK not in channels:
        raise ConfigError(
            "no retrieval channel has any weight" if channels else "there is no retrieval channel",
            hint=f"give one of [retriever.weights] a value above 0; there are: {', '.join(channels)}",
        )
    return found


def _rows(table: ItemRows, item_ids: Sequence[str]) -> RowArray:
    """The rows of those items that the table has."""
    return np.array([table.row_of[one] for one in item_ids if one in table.row_of], np.int64)


def _with(chosen: _Chosen, extra: _Chosen, kept: Collection[int]) -> _Chosen:
    """`chosen`, its last items that nobody reserved replaced by `extra`.

    The new ones take the last places, at a score no higher than the last before them.
    """
    rows = chosen.rows.tolist()
    replaceable = [place for place, row in enumerate(rows) if row not in kept]
    gone = set(replaceable[max(0, len(replaceable) - len(extra.rows)) :])
    stay = [place for place in range(len(rows)) if place not in gone]
    room = len(gone)
    ceiling = chosen.scores[stay[-1]] if stay else np.float32(np.inf)
    return _Chosen(
        np.concatenate([chosen.rows[stay], extra.rows[:room]]),
        np.concatenate([chosen.scores[stay], np.minimum(extra.scores[:room], ceiling)]),
        (*(chosen.sources[place] for place in stay), *extra.sources[:room]),
    )
