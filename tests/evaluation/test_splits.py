"""What every split promises, for any events."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.splits import (
    Part,
    Split,
    cold_items,
    cold_users,
    event_key,
    in_time_order,
    leave_one_out,
    sample_users,
    temporal,
)
from recsys.errors import RequestError
from recsys.evaluation.protocol import leaks
from recsys.types import Interaction
from tests.evaluation.world import event, world

EVENTS = st.lists(
    st.builds(
        event,
        st.sampled_from("abcd"),
        st.sampled_from("1234567"),
        st.sampled_from([None, 1.0, 2.0, 2.0, 3.0, 4.0]),
    ),
    max_size=40,
)
PARTS: list[Part] = ["test", "validation"]


def attempt(make: Callable[[], Split]) -> Split | None:
    try:
        return make()
    except RequestError:
        return None  # too few events for such a split, and said so


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from(PARTS), st.integers(1, 3), st.integers(0, 4))
def test_no_split_leaks_and_none_loses_an_event(
    events: list[Interaction], part: Part, last: int, n: int
) -> None:
    whole = leave_one_out(events, part, last)
    made = [
        whole,
        cold_users(whole, n),
        cold_items(events, share=0.3, part=part),
        attempt(lambda: temporal(events, share=0.6, part=part)),
        attempt(lambda: temporal(events, at=2.0, every=True)),
        attempt(lambda: sample_users(whole, 2)),
    ]
    everything = {event_key(event) for event in events}
    for split in filter(None, made):
        leaks.check(split)
        train = {event_key(event) for event in split.train}
        held_out = {event_key(event) for event in split.held_out}
        assert train.isdisjoint(held_out)
        assert train | held_out == everything
        order = {event_key(one): place for place, one in enumerate(in_time_order(events))}
        for case in split.cases:
            places = [order[event_key(event)] for event in (*case.history, case.target)]
            assert places == sorted(set(places))
            assert case.target.item_id not in {event.item_id for event in case.history}
            assert split.name.startswith("cold-users") or case.history


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(1, 3))
def test_validation_knows_nothing_of_the_test(events: list[Interaction], last: int) -> None:
    test, validation = leave_one_out(events, "test", last), leave_one_out(events, "validation", last)
    targets = {event_key(case.target) for case in test.cases}
    seen = [event for case in validation.cases for event in (*case.history, case.target)]
    assert targets.isdisjoint(event_key(event) for event in (*validation.train, *seen))


def test_events_of_one_moment_keep_their_order() -> None:
    events = [event("a", "1", 5), event("a", "2", 5), event("a", "3", 5), event("a", "0", 4)]
    (case,) = leave_one_out(events).cases
    assert [event.item_id for event in case.history] == ["0", "1", "2"]
    assert case.target.item_id == "3"


def test_events_without_a_time_keep_their_order_and_come_first() -> None:
    (case,) = leave_one_out([event("a", "9", 1), event("a", "2"), event("a", "1")]).cases
    assert [event.item_id for event in (*case.history, case.target)] == ["2", "1", "9"]


def test_each_of_the_last_events_is_a_target_and_none_of_them_is_in_train() -> None:
    events = [event("a", str(item), item) for item in range(6)] + [event("b", "0", 1)]
    split = leave_one_out(events, last=3)
    assert [case.target.item_id for case in split.cases] == ["3", "4", "5"]
    assert [len(case.history) for case in split.cases] == [3, 4, 5]
    assert [(event.user_id, event.item_id) for event in split.train] == [
        ("a", "0"),
        ("a", "1"),
        ("b", "0"),
        ("a", "2"),
    ]


def test_validation_of_the_last_three_stands_before_the_three_of_the_test() -> None:
    events = [event("a", str(item), item) for item in range(9)]
    split = leave_one_out(events, "validation", last=3)
    assert [case.target.item_id for case in split.cases] == ["3", "4", "5"]
    assert [event.item_id for event in split.held_out] == ["3", "4", "5", "6", "7", "8"]


def test_users_with_one_event_give_no_case_and_stay_in_train() -> None:
    split = leave_one_out([event("a", "1", 1), event("b", "1", 1), event("b", "2", 2)])
    assert [case.user_id for case in split.cases] == ["b"]
    assert {event.user_id for event in split.train} == {"a", "b"}


def test_a_target_that_was_met_before_gives_no_case() -> None:
    split = leave_one_out([event("a", "1", 1), event("a", "2", 2), event("a", "1", 3)])
    assert split.cases == ()
    assert len(split.train) == 2


def test_the_temporal_split_puts_events_of_its_very_moment_after_it() -> None:
    events = [
        event("a", "1", 1),
        event("a", "2", 5),
        event("a", "3", 5),
        event("b", "1", 5),
        event("b", "2", 6),
    ]
    split = temporal(events, at=5)
    assert [event.item_id for event in split.train] == ["1"]
    assert [(case.user_id, case.target.item_id) for case in split.cases] == [("a", "2")]
    every = temporal(events, at=5, every=True)
    assert [(case.target.item_id, len(case.history)) for case in every.cases] == [("2", 1), ("3", 2)]


def test_nothing_in_temporal_train_is_later_than_any_target() -> None:
    split = temporal(world(), share=0.5)
    newest = max(event.timestamp or 0 for event in split.train)
    assert split.cases
    assert all((case.target.timestamp or 0) > newest for case in split.cases)


@pytest.mark.parametrize("make", [lambda e: temporal(e, share=0.5), lambda e: temporal(e, share=1.5)])
def test_a_temporal_split_that_cannot_be_says_why(make: Callable[[list[Interaction]], Split]) -> None:
    with pytest.raises(RequestError):
        make([event("a", "1"), event("a", "2")])


def test_new_users_are_the_same_for_every_length_and_train_has_none_of_them() -> None:
    whole = leave_one_out(world())
    zero, three = cold_users(whole, 0, seed=3), cold_users(whole, 3, seed=3)
    assert [case.user_id for case in zero.cases] == [case.user_id for case in three.cases]
    assert len(zero.cases) == 6
    assert zero.train == three.train
    assert {event.user_id for event in zero.train}.isdisjoint(case.user_id for case in zero.cases)
    assert {len(case.history) for case in zero.cases} == {0}
    assert {len(case.history) for case in three.cases} == {3}
    full = {case.user_id: case.history for case in whole.cases}
    assert all(case.history == full[case.user_id][:3] for case in three.cases)


def test_new_items_are_targets_and_stand_nowhere_else() -> None:
    split = cold_items(world(), share=0.3, seed=1)
    assert split.cases
    assert all(case.target.item_id in split.withheld for case in split.cases)
    later = {case.user_id: case.target.timestamp or 0 for case in split.cases}
    assert all((event.timestamp or 0) < later.get(event.user_id, 1e9) for event in split.train)


def test_validation_of_new_items_withholds_others_and_sees_nothing_of_the_tests() -> None:
    test, validation = cold_items(world(), share=0.3), cold_items(world(), share=0.3, part="validation")
    assert test.withheld < validation.withheld
    assert {case.target.item_id for case in validation.cases}.isdisjoint(test.withheld)


def test_users_are_drawn_by_the_seed_and_train_stays() -> None:
    whole = leave_one_out(world())
    assert sample_users(whole, 4, seed=1) == sample_users(whole, 4, seed=1)
    assert len(sample_users(whole, 4, seed=1).cases) == 4
    assert sample_users(whole, 4, seed=1).train == whole.train
    assert sample_users(whole, 99).cases == whole.cases
    with pytest.raises(RequestError, match="0 users"):
        sample_users(whole, 0)


@pytest.mark.parametrize("last", [0, -1])
def test_holding_out_nothing_is_refused(last: int) -> None:
    with pytest.raises(RequestError, match="held out"):
        leave_one_out(world(), last=last)
