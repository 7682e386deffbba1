"""What goes together is what the counts say, whatever a channel makes of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from recsys.config.retrieval import RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, Interaction, Item
from retrieval import ItemTable, Query
from retrieval.base import Channel, DenseAnswer, RowArray
from retrieval.channels.popularity import Popularity
from retrieval.cooccurrence import Meetings
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
    meetings = Meetings(log())
    assert [n for n in range(6) if meetings.together("i0", f"i{n}")] == [0, 1]
    assert all(
        meetings.together(f"i{a}", f"i{b}") == meetings.together(f"i{b}", f"i{a}")
        for a in range(6)
        for b in range(a)
    )
    assert not meetings.together("i0", "gone")
    assert not meetings.together("gone", "i0")


class Weights:
    """Says that every history item speaks for every candidate, the later the more."""

    mass = False

    def ask(self, query: Query, table: ItemTable) -> DenseAnswer:
        def shares(rows: RowArray) -> list[dict[str, float]]:
            return [{entry.item.id: float(n) for n, entry in enumerate(query.history, 1)} for _ in rows]

        return DenseAnswer(np.arange(len(table), dtype=np.float32), shares)

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Weights:
        return self


def test_a_channels_weight_alone_puts_nothing_together() -> None:
    channels: dict[str, Channel] = {"linear": Weights(), "popularity": Popularity({})}
    history = tuple(HistoryEntry(item=ITEMS[n]) for n in (1, 2, 3))

    def met_with(meetings: Meetings | None) -> dict[str, float]:
        retriever = HybridRetriever(
            ItemTable(ITEMS), channels, {}, RetrieverConfig(), {"linear": 1.0}, meetings
        )
        found = {one.item.id: one.together for one in retriever.retrieve(Query(history), 6)}
        return dict(found["i0"])

    assert list(met_with(None)) == ["i3", "i2", "i1"]
    assert met_with(Meetings(log())) == {"i1": 1 / 6}
