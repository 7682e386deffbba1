"""Each kind of leak, put into a good split, is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from recsys.data.splits import Case, Split, cold_items, event_key, leave_one_out
from recsys.evaluation.protocol import leaks
from recsys.evaluation.protocol.leaks import LeakError
from recsys.evaluation.systems.baselines import BASELINES
from recsys.types import HistoryEntry, Interaction, Item
from retrieval.base import Query
from tests.evaluation.world import catalogue, data_of, event, world

SPLIT = leave_one_out(world(), last=2)


def with_train(*more: Interaction) -> Split:
    return dataclasses.replace(SPLIT, train=(*SPLIT.train, *more))


def with_case(change: Callable[[Case], Case], split: Split = SPLIT) -> Split:
    return dataclasses.replace(split, cases=(change(split.cases[0]), *split.cases[1:]))


def longer(*more: Interaction) -> Callable[[Case], Case]:
    return lambda case: dataclasses.replace(case, history=(*case.history, *more))


FIRST = SPLIT.cases[0]
OWN = [event for event in world() if event.user_id == FIRST.user_id]
TIES = leave_one_out([event("a", "1", 5), event("a", "2", 5), event("a", "3", 5)], last=2)
NEW = cold_items(world(), share=0.3)


@pytest.mark.parametrize(
    ("leaking", "message"),
    [
        (with_train(FIRST.target), "held-out event is in train"),
        (dataclasses.replace(with_train(FIRST.target), held_out=()), "target of user 'u00' is in train"),
        (dataclasses.replace(SPLIT, held_out=()), "not among the events held out"),
        (with_case(longer(FIRST.target)), "has the item of the target"),
        (with_case(longer(OWN[-1])), "not before the target"),
        (with_case(longer(event("u05", "i05", 5.0, 5))), "another user"),
        (with_case(longer(event("u00", "i29", 1.0))), "the split does not have"),
        (with_case(lambda c: dataclasses.replace(c, history=c.history[::-1])), "not in time order"),
        (with_case(longer(TIES.cases[1].target), TIES), "not before the target"),
        (dataclasses.replace(SPLIT, withheld=frozenset({FIRST.history[0].item_id})), "withheld item"),
        (with_case(longer(event(NEW.cases[0].user_id, min(NEW.withheld), 0.5)), NEW), "withheld item"),
    ],
)
def test_a_leak_is_found_and_its_event_named(leaking: Split, message: str) -> None:
    with pytest.raises(LeakError, match=message):
        leaks.check(leaking)


def test_the_good_splits_of_these_tests_are_good() -> None:
    for split in (SPLIT, TIES, NEW):
        leaks.check(split)


def test_a_request_that_tells_more_than_the_history_is_found() -> None:
    def entry(item_id: str) -> HistoryEntry:
        return HistoryEntry(item=Item(id=item_id, title="x"))

    known = tuple(entry(event.item_id) for event in FIRST.history)
    leaks.check_requests("llm", FIRST, [Query(history=known), Query(history=known[:1]), Query()])
    with pytest.raises(LeakError, match=r"system 'llm'.*user 'u00'"):
        leaks.check_requests("llm", FIRST, [Query(history=(*known, entry(FIRST.target.item_id)))])


def test_a_system_fitted_on_other_events_is_refused() -> None:
    train = data_of(SPLIT).log.hash
    leaks.check_fitted("gru", train, train)
    leaks.check_fitted("text", None, train)
    with pytest.raises(LeakError, match="gru"):
        leaks.check_fitted("gru", data_of(leave_one_out(world())).log.hash, train)


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_changes_when_the_held_out_events_do(name: str) -> None:
    """Other items as targets: the same train, the same answers."""
    split = leave_one_out(world())
    targets = {event_key(case.target) for case in split.cases}
    ids = [item.id for item in catalogue()]

    def other(one: Interaction) -> Interaction:
        met = {each.item_id for each in world() if each.user_id == one.user_id}
        new: dict[str, Any] = {"item_id": next(item for item in ids if item not in met), "rating": 1}
        return one.model_copy(update=new)

    changed = leave_one_out([other(event) if event_key(event) in targets else event for event in world()])
    assert {event_key(case.target) for case in changed.cases}.isdisjoint(targets)
    before, after = data_of(split), data_of(changed)
    assert after.log.hash == before.log.hash
    old, new = BASELINES[name](before), BASELINES[name](after)
    assert [old.rank(case, 30) for case in split.cases] == [new.rank(case, 30) for case in changed.cases]


def test_an_adapter_may_only_be_asked_about_events_that_tuning_never_reads() -> None:
    leaks.check_adapter("llm", "small@0123", {"reserved": 2}, SPLIT)
    leaks.check_adapter("llm", "small@0123", {"reserved": 2}, leave_one_out(world()))
    with pytest.raises(LeakError, match="tuned on events up to the last 1 of each user"):
        leaks.check_adapter("llm", "small@0123", {"reserved": 1}, SPLIT)
    with pytest.raises(LeakError, match="none of these"):
        leaks.check_adapter(
            "llm", "small@0123", {"reserved": 2}, leave_one_out(world(), "validation", last=2)
        )


def test_events_of_one_moment_count_in_order_of_arrival_for_adapters_too() -> None:
    leaks.check_adapter("llm", "small@0123", {"reserved": 2}, TIES)
    with pytest.raises(LeakError, match="item '2'"):
        leaks.check_adapter("llm", "small@0123", {"reserved": 1}, TIES)
