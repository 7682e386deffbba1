"""`co_consumed` names items that the counts confirm, whatever their weight."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from recsys.config.retrieval import RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, Interaction, Item
from retrieval import ItemRows, Query
from retrieval.arrays import RowArray
from retrieval.base import Channel, DenseScores
from retrieval.channels.popularity import PopularityChannel
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.hybrid import HybridRetriever
from tests.retrieval.contract import make_items

ITEMS = make_items(6)
# Users of i0 chose i1 more often than all users did, i2 as often; one alone has i0 and i4; nobody has i5.
HISTORIES = ("0 1 2", "0 1 2", "1 2", "0 2 4", "2 3", "2 3 3", "2 0 0")


def log() -> EventLog:
    events = [
        Interaction(user_id=f"u{user}", item_id=f"i{name}", timestamp=float(second))
        for user, history in enumerate(HISTORIES)
        for second, name in enumerate(history.split())
    ]
    return EventLog.of(events, [item.id for item in ITEMS])


def test_more_often_than_by_chance_and_by_more_than_one() -> None:
    counts = CooccurrenceCounts(log())
    assert [n for n in range(6) if counts.co_consumed("i0", f"i{n}")] == [0, 1]
    assert all(
        counts.co_consumed(f"i{a}", f"i{b}") == counts.co_consumed(f"i{b}", f"i{a}")
        for a in range(6)
        for b in range(a)
    )
    assert not counts.co_consumed("i0", "gone")
    assert not counts.co_consumed("gone", "i0")


class Weights:
    """Gives every candidate a share of every history item, the later the larger."""

    evidence_count = False

    def score(self, query: Query, table: ItemRows) -> DenseScores:
        def shares(rows: RowArray) -> list[dict[str, float]]:
            return [{entry.item.id: float(n) for n, entry in enumerate(query.history, 1)} for _ in rows]

        return DenseScores(np.arange(len(table), dtype=np.float32), shares)

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Weights:
        return self


def test_a_channels_weight_alone_is_not_enough() -> None:
    channels: dict[str, Channel] = {"linear": Weights(), "popularity": PopularityChannel({})}
    history = tuple(HistoryEntry(item=ITEMS[n]) for n in (1, 2, 3))

    def co_consumed(counts: CooccurrenceCounts | None) -> dict[str, float]:
        retriever = HybridRetriever(ItemRows(ITEMS), channels, {}, RetrieverConfig(), {"linear": 1.0}, counts)
        by_item = {
            candidate.item.id: candidate.co_consumed for candidate in retriever.retrieve(Query(history), 6)
        }
        return dict(by_item["i0"])

    assert list(co_consumed(None)) == ["i3", "i2", "i1"]
    assert co_consumed(CooccurrenceCounts(log())) == {"i1": 1 / 6}
