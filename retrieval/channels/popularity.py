"""Popular items: overall, recently, and in the context of the request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.config.retrieval import PopularityConfig
from recsys.data.dataset import EventLog
from recsys.types import Context, Interaction, Item
from retrieval.arrays import DoubleArray, FloatArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.channels.day_counts import DayCounts
from retrieval.table import ItemRows

HEAD_SHARE = 0.8  # the most popular items with this share of all events; the others are the long tail
CLOCK = "time"  # the fact "21:07"; the part of day generalises better


@dataclass(frozen=True)
class PopularityChannel:
    """Scores items by their number of interactions, the same for every query."""

    counts: Mapping[str, float]  # (weighted) events per item id; other items have none
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> DenseScores:
        """Return the counts."""
        return DenseScores(np.nan_to_num(scatter(table, self._items, self._amounts), copy=False))

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> PopularityChannel:
        """Return the channel without the counts of deleted items."""
        if self.counts.keys().isdisjoint(removed):
            return self
        return PopularityChannel({item: count for item, count in self.counts.items() if item not in removed})

    @cached_property
    def _items(self) -> tuple[str, ...]:
        return tuple(self.counts)

    @cached_property
    def _amounts(self) -> FloatArray:
        return np.array(list(self.counts.values()), dtype=np.float32)


@dataclass(frozen=True)
class RecentPopularityChannel(StaticChannel):
    """Scores items by their events before the request, decayed by a half-life.

    A request without a time is about the moment of the newest event of its history, and without that
    about the end of the log. Only days (UTC) that were over before the moment count.
    """

    items: tuple[str, ...]
    days: DayCounts
    half_life_days: float
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Return the decayed counts; None before the first event."""
        moment = query.newest if query.now is None else query.now
        day = self.days.end if moment is None else min(self.days.day_of(moment), self.days.end)
        if day <= 0:
            return None
        counts = self.days.kept(day, self._before)
        return DenseScores(np.nan_to_num(scatter(table, self.items, counts), copy=False))

    def _before(self, day: int) -> FloatArray:
        return self.days.recent(day, self.half_life_days).astype(np.float32)


@dataclass(frozen=True)
class SegmentPopularityChannel(StaticChannel):
    """Scores items by log p(item | context): naive Bayes over the context's facts.

    A fact ("part of day: morning", "place: Springfield") adds log p(item | fact) - log p(item).
    """

    items: tuple[str, ...]
    base: FloatArray  # (items,): log p(item)
    facts: Mapping[tuple[str, str], int]  # row of each fact in `lift`
    lift: FloatArray  # (facts, items): what each fact adds
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Return log p(item | context) up to a constant; None without a known fact."""
        rows = [
            row for fact in query.context.facts.items() if (row := self.facts.get(_folded(fact))) is not None
        ]
        if not rows:
            return None
        return DenseScores(scatter(table, self.items, self.base + self.lift[rows].sum(axis=0)))


def fit_popularity(log: EventLog) -> PopularityChannel:
    """Count events per item."""
    return PopularityChannel(dict(zip(log.items, log.counts.astype(float).tolist(), strict=True)))


def fit_recent_popularity(log: EventLog, config: PopularityConfig) -> RecentPopularityChannel | None:
    """Count the events of each day and item; None without times."""
    days = DayCounts.of(log)
    return None if days is None else RecentPopularityChannel(log.items, days, config.half_life_days)


def fit_segment_popularity(
    events: Iterable[tuple[Interaction, Context]],
    items: Sequence[str],
    config: PopularityConfig,
    kinds: Mapping[str, str] | None = None,
) -> SegmentPopularityChannel | None:
    """Fit p(item | fact) on events with their contexts; None if no event has a fact.

    p(item | fact) is shrunk by `config.smoothing` events towards p(item) or, with `kinds`,
    towards what the fact changes for all items of a kind.

    Args:
        events: Interactions, each with the context it happened in.
        items: Ids of the items.
        config: Smoothing.
        kinds: The kind of each item id.
    """
    total, by_fact = _count_facts(events, items)
    if not by_fact:
        return None
    share = (total + 0.5) / (total.sum() + 0.5 * len(items))  # half an event for items without any
    names = [(kinds or {}).get(item, item if kinds else "") for item in items]
    kind = np.unique(names, return_inverse=True)[1]
    share_of_kind = np.bincount(kind, weights=share)

    def prior(counts: DoubleArray) -> DoubleArray:
        """Return p(item | fact) if the fact changed all items of a kind alike."""
        smoothed = np.bincount(kind, weights=counts) + config.smoothing * share_of_kind
        shared: DoubleArray = share * (smoothed / (counts.sum() + config.smoothing) / share_of_kind)[kind]
        return shared

    lift = [
        np.log((counts + config.smoothing * prior(counts)) / (counts.sum() + config.smoothing))
        - np.log(share)
        for counts in by_fact.values()
    ]
    return SegmentPopularityChannel(
        items=tuple(items),
        base=np.log(share).astype(np.float32),
        facts={fact: row for row, fact in enumerate(by_fact)},
        lift=np.array(lift, dtype=np.float32),
    )


def _count_facts(
    events: Iterable[tuple[Interaction, Context]], items: Sequence[str]
) -> tuple[DoubleArray, dict[tuple[str, str], DoubleArray]]:
    """Count the events of each item (items,), in all and per fact."""
    column = {item_id: number for number, item_id in enumerate(items)}
    total = np.zeros(len(items))
    by_fact: dict[tuple[str, str], DoubleArray] = {}
    for event, context in events:
        if event.item_id not in column:
            continue
        total[column[event.item_id]] += 1
        for fact in context.facts.items():
            if fact[0] == CLOCK:
                continue
            counts = by_fact.setdefault(_folded(fact), np.zeros(len(items)))
            counts[column[event.item_id]] += 1
    return total, by_fact


def _folded(fact: tuple[str, str]) -> tuple[str, str]:
    return fact[0].casefold(), fact[1].casefold()


def popularity_percentiles(counts: Mapping[str, float]) -> dict[str, float]:
    """Return for each item with events the share of such items that have fewer."""
    positive = {item_id: count for item_id, count in counts.items() if count > 0}
    ordered = np.sort(np.fromiter(positive.values(), dtype=np.float64, count=len(positive)))
    return {
        item_id: float(np.searchsorted(ordered, count)) / len(ordered) for item_id, count in positive.items()
    }


def popular_head(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the most popular items with `HEAD_SHARE` of all events, and counts."""
    head: dict[str, float] = {}
    remaining = HEAD_SHARE * sum(counts.values())
    for item_id, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        if remaining <= 0:
            break
        head[item_id] = count
        remaining -= count
    return head
