"""What goes together is what the counts say, whatever a channel makes of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from recsys.config.retrieval import RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, Interaction, Item
from retrieval import ItemRows, Query
from retrieval.base import Channel, DenseAnswer, RowArray
from retrieval.channels.popularity import Popularity
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.hybrid import HybridRetriever
from tests.retrieval.contract import make_items

ITEMS = make_items(6)
# Those of i0 met i1 more often than all did, i2 as often; one alone met i0 and i4; nobody met i5.
PEOPLE = ("0 1 2", "0 1 2", "1 2", "0 2 4", "2 3", "2 3 3", "2 0 0")


def log() -> EventLog:
    events = [
        Interaction(user_id=f"u{user}", item_id=f"i{name}", timestamp=float(place))
        for user, met in enumerate(PEOPLE)
        for place, name in enumerate(met.split())
    ]
    return EventLog.of(events, [item.id for item in ITEMS])


def test_more_often_than_by_chance_and_by_more_than_one() -> None:
    cooccurrence_counts = CooccurrenceCounts(log())
    assert [n for n in range(6) if cooccurrence_counts.co_consumed("i0", f"i{n}")] == [0, 1]
    assert all(
        cooccurrence_counts.co_consumed(f"i{a}", f"i{b}") == cooccurrence_counts.co_consumed(f"i{b}", f"i{a}")
        for a in range(6)
        for b in range(a)
    )
    assert not cooccurrence_counts.co_consumed("i0", "gone")
    assert not cooccurrence_counts.co_consumed("gone", "i0")


class Weights:
    """Says that every history item speaks for every candidate, the later the more."""

    evidence_count = False

    def ask(self, query: Query, table: ItemRows) -> DenseAnswer:
        def shares(rows: RowArray) -> list[dict[str, float]]:
            return [{entry.item.id: float(n) for n, entry in enumerate(query.history, 1)} for _ in rows]

        return DenseAnswer(np.arange(len(table), dtype=np.float32), shares)

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Weights:
        return self


def test_a_channels_weight_alone_puts_nothing_together() -> None:
    channels: dict[str, Channel] = {"linear": Weights(), "popularity": Popularity({})}
    history = tuple(HistoryEntry(item=ITEMS[n]) for n in (1, 2, 3))

    def met_with(cooccurrence_counts: CooccurrenceCounts | None) -> dict[str, float]:
        retriever = HybridRetriever(
            ItemRows(ITEMS), channels, {}, RetrieverConfig(), {"linear": 1.0}, cooccurrence_counts
        )
        found = {one.item.id: one.co_consumed for one in retriever.retrieve(Query(history), 6)}
        return dict(found["i0"])

    assert list(met_with(None)) == ["i3", "i2", "i1"]
    assert met_with(CooccurrenceCounts(log())) == {"i1": 1 / 6}
