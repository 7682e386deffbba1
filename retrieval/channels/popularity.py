"""What many met: overall, lately, and in situations like this one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recsys.config.retrieval import PopularityConfig
from recsys.data.dataset import EventLog
from recsys.types import Context, Interaction, Item
from retrieval.base import DenseAnswer, Fixed, FloatArray, Query, scatter
from retrieval.table import ItemRows

SECONDS_A_DAY = 86_400.0
Amounts = npt.NDArray[np.float64]
HEAD = 0.8  # the most met items that hold this share of all events; the others are the long tail
CLOCK = "time"  # the fact "21:07": the part of day says it more usefully


@dataclass(frozen=True)
class Popularity:
    """Items by how often they were met; the same answer for everyone, and always one.

    `counts` is the (weighted) number of events per item id; an item that is not in it
    counts as never met.
    """

    counts: Mapping[str, float]
    evidence_count: bool = True

    def ask(self, query: Query, table: ItemRows) -> DenseAnswer:
        """The counts."""
        return DenseAnswer(np.nan_to_num(scatter(table, self._items, self._amounts), copy=False))

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Popularity:
        """A deleted item takes its count with it."""
        if self.counts.keys().isdisjoint(removed):
            return self
        return Popularity({item: count for item, count in self.counts.items() if item not in removed})

    @cached_property
    def _items(self) -> tuple[str, ...]:
        return tuple(self.counts)

    @cached_property
    def _amounts(self) -> FloatArray:
        return np.array(list(self.counts.values()), dtype=np.float32)


def overall(log: EventLog) -> Popularity:
    """Events per item."""
    return Popularity(dict(zip(log.items, log.counts.astype(float).tolist(), strict=True)))


def recent(log: EventLog, config: PopularityConfig) -> Popularity | None:
    """Events per item, each weighing half for every `half_life_days` before the newest; None without times."""
    known = ~np.isnan(log.time)
    if not known.any():
        return None
    age = (np.nanmax(log.time) - log.time[known]) / SECONDS_A_DAY
    weights = np.exp2(-age / config.half_life_days)
    counts = np.bincount(log.item[known], weights=weights, minlength=len(log.items))
    return Popularity(dict(zip(log.items, counts.tolist(), strict=True)))


@dataclass(frozen=True)
class SegmentPopularity(Fixed):
    """Popularity in the situation of the request: log p(item) plus what each fact of the context changes.

    Naive Bayes over facts ("part of day: morning", "place: Springfield"): a fact adds
    log p(item | fact) - log p(item), the first shrunk by `smoothing` events towards the
    second or, where items are alike in an attribute, towards what the fact changes for
    all that share its value. `lift` holds these terms, shape (facts, items).
    """

    items: tuple[str, ...]
    base: FloatArray
    facts: Mapping[tuple[str, str], int]
    lift: FloatArray
    evidence_count: bool = False

    def ask(self, query: Query, table: ItemRows) -> DenseAnswer | None:
        """log p(item | context) up to a constant; None if no fact of the context was ever seen."""
        rows = [
            row for fact in query.context.facts.items() if (row := self.facts.get(_folded(fact))) is not None
        ]
        if not rows:
            return None
        return DenseAnswer(scatter(table, self.items, self.base + self.lift[rows].sum(axis=0)))


def by_segment(
    events: Iterable[tuple[Interaction, Context]],
    items: Sequence[str],
    config: PopularityConfig,
    kinds: Mapping[str, str] | None = None,
) -> SegmentPopularity | None:
    """Fit on events, each with the situation it happened in; None if no event has one.

    `kinds` is the kind of each item id, for items that are alike.
    """
    column = {item_id: number for number, item_id in enumerate(items)}
    counts: dict[tuple[str, str], Amounts] = {}
    total = np.zeros(len(items))
    for event, context in events:
        if event.item_id not in column:
            continue
        total[column[event.item_id]] += 1
        for fact in context.facts.items():
            if fact[0] == CLOCK:
                continue
            row = counts.setdefault(_folded(fact), np.zeros(len(items)))
            row[column[event.item_id]] += 1
    if not counts:
        return None
    share = (total + 0.5) / (total.sum() + 0.5 * len(items))  # half an event for items nobody met
    names = [(kinds or {}).get(item, item if kinds else "") for item in items]
    kind = np.unique(names, return_inverse=True)[1]
    of_kind = np.bincount(kind, weights=share)

    def alike(row: Amounts) -> Amounts:
        """p(item | fact) if it changed all items of a kind alike."""
        met = np.bincount(kind, weights=row) + config.smoothing * of_kind
        shared: Amounts = share * (met / (row.sum() + config.smoothing) / of_kind)[kind]
        return shared

    lift = [
        np.log((row + config.smoothing * alike(row)) / (row.sum() + config.smoothing)) - np.log(share)
        for row in counts.values()
    ]
    return SegmentPopularity(
        items=tuple(items),
        base=np.log(share).astype(np.float32),
        facts={fact: number for number, fact in enumerate(counts)},
        lift=np.array(lift, dtype=np.float32),
    )


def _folded(fact: tuple[str, str]) -> tuple[str, str]:
    return fact[0].casefold(), fact[1].casefold()


def percentiles(counts: Mapping[str, float]) -> dict[str, float]:
    """For each item that was met, the share of those items that were met less often."""
    met = {item_id: count for item_id, count in counts.items() if count > 0}
    ordered = np.sort(np.fromiter(met.values(), dtype=np.float64, count=len(met)))
    return {item_id: float(np.searchsorted(ordered, count)) / len(ordered) for item_id, count in met.items()}


def head(counts: Mapping[str, float]) -> dict[str, float]:
    """The most met items that together hold `HEAD` of all events, with their counts."""
    found: dict[str, float] = {}
    left = HEAD * sum(counts.values())
    for item_id, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        if left <= 0:
            break
        found[item_id] = count
        left -= count
    return found
