"""New users and items: nothing of them reaches what is fitted, or an adapter that is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys.config import Settings
from recsys.data.splits import (
    Part,
    Split,
    cold_items,
    cold_users,
    event_key,
    hash_fraction,
    leave_one_out,
    sample_users,
)
from recsys.errors import RequestError
from recsys.evaluation.protocol import leaks, tasks
from recsys.evaluation.protocol.leaks import LeakError
from tests.evaluation.world import catalogue, data_of, event, world
from tests.finetune.world import finetune_job, item_ids_by_user, write_shop

PARTS: list[Part] = ["test", "validation"]
WHOLE = leave_one_out(world())
IDS = [item.id for item in catalogue()]
SHARE = 0.3
READ_ALL = {"reserved": 1}  # an adapter that read all but the last event of each user
HELD = {"reserved": 1, "held_items": 2 * SHARE}


def fitted_events(split: Split) -> set[tuple[str, str]]:
    """Users and items of the events that systems are fitted on."""
    log = data_of(split).log
    return {
        (user, log.items[row])
        for user, rows in zip(log.users, log.sequences(), strict=True)
        for row in rows.tolist()
    }


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_no_event_of_a_new_user_is_fitted_and_their_first_ones_are_all_that_is_told(
    part: Part, known: int
) -> None:
    split = cold_users(leave_one_out(world(), part), known, share=0.4)
    new = {case.user_id for case in split.cases}
    assert len(new) == len(split.cases) == 5
    assert {user for user, _ in fitted_events(split)} == {event.user_id for event in world()} - new
    own = item_ids_by_user(world())
    for case in split.cases:
        assert [event.item_id for event in case.history] == own[case.user_id][:known]
        assert case.target.item_id == own[case.user_id][-1 if part == "test" else -2]
    leaks.check(split)


def test_a_history_is_never_longer_than_what_came_before_the_target() -> None:
    events = [event(user, item, n) for user in "abc" for n, item in enumerate("123")]
    for case in cold_users(leave_one_out(events), 9, share=1).cases:
        assert [event.item_id for event in case.history] == ["1", "2"]


@pytest.mark.parametrize("part", PARTS)
def test_no_event_on_a_new_item_is_fitted_or_told(part: Part) -> None:
    split = cold_items(world(), share=SHARE, part=part)
    assert split.new <= split.withheld
    assert {case.target.item_id for case in split.cases} <= split.new
    assert not {item for _, item in fitted_events(split)} & split.withheld
    assert not {event.item_id for case in split.cases for event in case.history} & split.withheld
    leaks.check(split)


def test_which_items_are_new_depends_on_seed_and_item_alone() -> None:
    split = cold_items(world(), share=SHARE)
    assert split.new == {event.item_id for event in world() if hash_fraction(event.item_id) < SHARE}
    more = [*world(), *(event(f"x{n}", f"another{n}", n) for n in range(50))]
    assert cold_items(more, share=SHARE).new & set(IDS) == split.new
    assert cold_items(world(), share=SHARE, seed=1).new != split.new
    assert cold_items(world(), share=SHARE, part="validation").withheld == {
        event.item_id for event in world() if hash_fraction(event.item_id) < 2 * SHARE
    }
    draws = [hash_fraction(str(number)) for number in range(2000)]
    assert 0.27 < sum(draw < SHARE for draw in draws) / len(draws) < 0.33
    assert 0 <= min(draws) < 0.01
    assert 0.99 < max(draws) < 1


def test_new_items_are_ranked_among_themselves() -> None:
    split = cold_items(world(), share=SHARE)
    asked, protocol = tasks.among_new_items(split)
    assert protocol.name == "new"
    met = {(event.user_id, event.item_id) for event in world()}
    for case in asked.cases:
        others = {item for item in split.new if (case.user_id, item) not in met}
        assert set(case.candidates or ()) == others | {case.target.item_id}
    few, protocol = tasks.among_new_items(split, 2)
    assert protocol.name == "sampled"
    assert all(
        len(case.candidates or ()) <= 3 and set(case.candidates or ()) <= split.new for case in few.cases
    )
    assert any(len(case.candidates or ()) == 3 for case in few.cases)
    with pytest.raises(RequestError, match="no items are new"):
        tasks.among_new_items(WHOLE)


# --- adapters --------------------------------------------------------------------


@pytest.mark.parametrize("known", [0, 3])
def test_new_users_may_be_asked_of_an_adapter_that_never_read_their_targets(known: int) -> None:
    split = cold_users(WHOLE, known)
    (message,) = leaks.check_adapter("llm", "small@0123", READ_ALL, split)
    assert "earlier events of the new users, without their ids" in message
    assert leaks.check_adapter("llm", "small@0123", READ_ALL, WHOLE) == ()
    with pytest.raises(LeakError, match="tuned on events up to the last 1"):
        leaks.check_adapter(
            "llm", "small@0123", READ_ALL, cold_users(leave_one_out(world(), "validation"), known)
        )


@pytest.mark.parametrize("part", PARTS)
def test_an_adapter_that_read_events_of_the_new_items_is_refused(part: Part) -> None:
    split = cold_items(world(), share=SHARE, part=part)
    for examples in (READ_ALL, {"reserved": 99}, HELD | {"held_items": SHARE / 2}):
        with pytest.raises(LeakError, match="which is to be new") as caught:
            leaks.check_adapter("llm", "small@0123", examples, split)
        assert "held_items" in caught.value.hint
    (message,) = leaks.check_adapter("llm", "small@0123", HELD, split)
    assert "60% of the items held out" in message
    other = cold_items(world(), share=SHARE, part=part, seed=3)
    with pytest.raises(LeakError):
        leaks.check_adapter("llm", "small@0123", HELD, other)


def test_what_was_held_out_for_the_test_is_not_enough_for_validation() -> None:
    leaks.check_adapter("llm", "small@0123", HELD | {"held_items": SHARE}, cold_items(world(), share=SHARE))
    with pytest.raises(LeakError):
        leaks.check_adapter(
            "llm",
            "small@0123",
            HELD | {"held_items": SHARE},
            cold_items(world(), share=SHARE, part="validation"),
        )


def test_one_target_that_was_read_is_enough_to_refuse() -> None:
    split = cold_users(leave_one_out(world(), last=2), 1)
    leaks.check_adapter("llm", "small@0123", {"reserved": 2}, split)
    with pytest.raises(LeakError):
        leaks.check_adapter("llm", "small@0123", READ_ALL, sample_users(split, 1))


# --- tuning that holds items out -------------------------------------------------


def test_tuning_knows_nothing_of_the_items_held_out(tmp_path: Path, settings: Settings) -> None:
    shop = write_shop(tmp_path / "films")
    kinds: dict[str, Any] = {"hard": 1, "random": 1, "wish": 1}
    with (
        finetune_job(shop, settings) as whole,
        finetune_job(shop, settings, {"held_items": 0.3, **kinds}) as ready,
    ):
        held = {item.id for item in whole.items if hash_fraction(item.id) < 0.3}
        assert 5 < len(held) < 20
        assert {item.id for item in ready.items} == {item.id for item in whole.items} - held
        for split in (ready.train_split, ready.validation_split):
            events = [event for case in split.cases for event in (*case.history, case.target)]
            assert not held & {event.item_id for event in (*split.train, *split.held_out, *events)}
        for number in range(60):
            request = ready.train_examples.example(number).request
            items = [*request.items, *(entry.item for entry in request.history)]
            assert not held & {item.id for item in items}
        (retriever,) = ready.train_examples.retrievers
        assert not held & {item.id for item in retriever.state.table.items}
        assert ready.data_hash != whole.data_hash
        # Of each user no event is read that was reserved when all items counted.
        read = {
            event_key(event)
            for event in (*ready.train_split.train, *(case.target for case in ready.train_split.cases))
        }
        reserved = whole.domain.finetune.examples.reserved
        by_user: dict[str, list[Any]] = {}
        for event in whole.events:
            by_user.setdefault(event.user_id, []).append(event_key(event))
        assert not read & {key for keys in by_user.values() for key in keys[-reserved:]}
