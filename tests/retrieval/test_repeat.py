"""What was chosen often, regularly and lately comes first among what may be chosen again."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from recsys.config.retrieval import RepeatConfig
from recsys.data.dataset import EventLog
from recsys.types import Context, HistoryEntry, Item
from retrieval import ChannelRetriever, ItemRows, Query
from retrieval.channels.repeat import RepeatChannel
from retrieval.holding_out import history_before, hold_out

DAY = 86_400.0
NOW = dt.datetime(2017, 11, 20, 17, tzinfo=dt.UTC)
ITEMS = [Item(id=name, title=name) for name in ("bread", "ice", "milk", "never", "stuffing")]


def entry(name: str, *days_ago: float) -> HistoryEntry:
    times = sorted(NOW.timestamp() - days * DAY for days in days_ago)
    return HistoryEntry(item=Item(id=name, title=name), timestamp=times[-1], times=len(times), first=times[0])


def scores(*history: HistoryEntry, at: dt.datetime | None = NOW) -> dict[str, float]:
    retriever = ChannelRetriever("repeat", RepeatChannel(RepeatConfig(half_life_days=100)), ItemRows(ITEMS))
    query = Query(history, context=Context(time=at))
    return {candidate.item.id: candidate.score for candidate in retriever.retrieve(query, 10)}


def test_a_choice_counts_half_after_the_half_life() -> None:
    assert scores(entry("milk", 0), entry("ice", 100)) == {
        "milk": pytest.approx(1),
        "ice": pytest.approx(0.5),
    }


def test_choices_one_cycle_apart_count_by_their_ages() -> None:
    expected = sum(2 ** -(days / 100) for days in (7, 14, 21, 28))
    assert scores(entry("milk", 7, 14, 21, 28)) == {"milk": pytest.approx(expected)}


def test_the_often_and_lately_chosen_comes_first_and_what_was_not_chosen_never() -> None:
    ranked = scores(
        entry("stuffing", 360), entry("bread", 200, 230, 260), entry("milk", 3, 10, 17), entry("ice", 2)
    )
    assert list(ranked) == ["milk", "ice", "bread", "stuffing"]


def test_several_choices_at_one_time_count_each() -> None:
    assert scores(entry("milk", 0, 0, 0)) == {"milk": pytest.approx(3)}


def test_without_a_time_the_newest_choice_is_now() -> None:
    assert scores(entry("milk", 50), entry("ice", 150), at=None) == {
        "milk": pytest.approx(1),
        "ice": pytest.approx(0.5),
    }
    untimed = HistoryEntry(item=ITEMS[0], times=4)
    assert scores(untimed, at=None) == {"bread": pytest.approx(4)}


def test_without_a_history_of_the_catalogue_there_are_no_scores() -> None:
    assert scores() == {}
    assert scores(entry("gone", 1)) == {}


def test_weights_are_fitted_on_what_is_chosen_again_and_on_what_is_new() -> None:
    """Two baskets, the second with milk again: it is asked for, and its own basket is no history."""
    log = EventLog(
        items=("bread", "ice", "milk"),
        users=("900",),
        start=np.array([0, 4]),
        item=np.array([2, 0, 2, 1], dtype=np.int32),
        time=np.array([1.0, 1.0, 9.0, 9.0]),
        preference=np.zeros(4, dtype=np.int8),
    )
    assert hold_out(log, 2, 10).targets.tolist() == [3]
    held_out = hold_out(log, 2, 10, repeats=True)
    assert held_out.targets.tolist() == [2, 3]
    for position in (2, 3):
        history = history_before(log, position, ItemRows(ITEMS), repeats=True)
        assert [(e.item.id, e.times, e.timestamp) for e in history] == [("milk", 1, 1.0), ("bread", 1, 1.0)]


def test_a_history_counts_how_often_an_item_came() -> None:
    log = EventLog(
        items=("bread", "milk"),
        users=("900",),
        start=np.array([0, 4]),
        item=np.array([1, 0, 1, 0], dtype=np.int32),
        time=np.array([1.0, 2.0, 5.0, 9.0]),
        preference=np.zeros(4, dtype=np.int8),
    )
    bread, milk = history_before(log, 3, ItemRows(ITEMS))
    assert (bread.times, bread.timestamp, bread.first) == (1, 2.0, None)
    assert (milk.times, milk.timestamp, milk.first) == (2, 5.0, 1.0)
