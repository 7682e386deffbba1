from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from recsys.config.retrieval import PopularityConfig
from recsys.data.dataset import EventLog
from recsys.types import Context, HistoryEntry, Interaction, Item
from retrieval import ChannelRetriever, ItemRows, Query, Retriever
from retrieval.channels.popularity import PopularityChannel, fit_recent_popularity, fit_segment_popularity
from tests.retrieval.contract import RetrieverContract, make_items

DAY = 86_400.0


def popular(items: Sequence[Item], counts: Mapping[str, float]) -> ChannelRetriever:
    return ChannelRetriever("popularity", PopularityChannel(counts), ItemRows(items))


class TestPopularity(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        return popular(items, counts)


def test_most_popular_first_ties_by_id_items_without_interactions_last() -> None:
    retriever = popular(make_items(5), {"i4": 2, "i1": 9, "i2": 2, "gone": 50})
    candidates = retriever.retrieve(Query(), 10)
    assert [candidate.item.id for candidate in candidates] == ["i1", "i2", "i4", "i0", "i3"]
    assert [candidate.score for candidate in candidates] == [9, 2, 2, 0, 0]
    assert [candidate.channels["popularity"] for candidate in candidates] == [1, 2, 3, 4, 5]


def test_empty_catalogue_gives_nothing() -> None:
    assert popular([], {"i1": 3}).retrieve(Query(), 10) == []


def test_deleted_item_takes_its_count_with_it() -> None:
    channel = PopularityChannel({"i1": 9, "i2": 1}).updated([], {"i1"})
    assert channel.counts == {"i2": 1}


def test_recent_interactions_beat_older_ones() -> None:
    events = [Interaction(user_id=f"u{n}", item_id="i0", timestamp=0.0) for n in range(3)]
    events += [Interaction(user_id="u9", item_id="i1", timestamp=90 * DAY)]
    log = EventLog.of(events, ["i0", "i1"])
    channel = fit_recent_popularity(log, PopularityConfig(half_life_days=30))
    assert channel is not None
    retriever = ChannelRetriever("recent", channel, ItemRows(make_items(2)))
    ranked = retriever.retrieve(Query(), 2)
    assert {one.item.id: one.score for one in ranked} == pytest.approx({"i0": 3 / 8, "i1": 1.0})


def test_what_is_recent_is_so_at_the_moment_of_the_request_or_of_the_newest_event() -> None:
    """A person of the past had the popularity of the log's end, which came after them."""
    first, second = make_items(2)
    events = [Interaction(user_id="u", item_id=first.id, timestamp=n * DAY) for n in range(10)]
    events += [Interaction(user_id="v", item_id=second.id, timestamp=n * DAY) for n in range(80, 90)]
    channel = fit_recent_popularity(EventLog.of(events, [first.id, second.id]), PopularityConfig())
    assert channel is not None
    retriever = ChannelRetriever("recent", channel, ItemRows([first, second]))

    def best(query: Query) -> str:
        return retriever.retrieve(query, 1)[0].item.id

    old = (HistoryEntry(item=second, timestamp=20 * DAY),)
    assert best(Query()) == second.id
    assert best(Query(old)) == best(Query(moment=20 * DAY)) == first.id
    assert best(Query(old, moment=90 * DAY)) == best(Query(moment=900 * DAY)) == second.id
    assert retriever.retrieve(Query(moment=0.0), 1) == []


def test_without_times_nothing_is_recent() -> None:
    log = EventLog.of([Interaction(user_id="u", item_id="i0")], ["i0"])
    assert fit_recent_popularity(log, PopularityConfig()) is None


def test_segment_scores_what_is_popular_in_this_context() -> None:
    morning, night = Context(part_of_day="morning"), Context(part_of_day="night")
    events = [(Interaction(user_id="u", item_id="i0"), morning)] * 200
    events += [(Interaction(user_id="u", item_id="i1"), night)] * 100
    channel = fit_segment_popularity(events, ["i0", "i1"], PopularityConfig())
    assert channel is not None
    table = ItemRows(make_items(2))
    retriever = ChannelRetriever("segment", channel, table)
    assert retriever.retrieve(Query(context=night), 2)[0].item.id == "i1"
    assert retriever.retrieve(Query(context=morning), 2)[0].item.id == "i0"
    assert retriever.retrieve(Query(context=Context(part_of_day="noon")), 2) == []
    assert retriever.retrieve(Query(), 2) == []


def test_events_without_context_make_no_segments() -> None:
    events = [(Interaction(user_id="u", item_id="i0"), Context())]
    assert fit_segment_popularity(events, ["i0"], PopularityConfig()) is None
