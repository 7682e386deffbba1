"""Short lists, files of candidates, rated pairs; and what the baselines make of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.config import Feedback
from recsys.data.splits import cold_users, leave_one_out
from recsys.errors import DataError, RecsysError, RequestError
from recsys.evaluation.protocol import tasks
from recsys.evaluation.systems.baselines import BASELINES
from tests.evaluation.world import catalogue, data_of, event, world

SPLIT = leave_one_out(world(), last=2)
IDS = [item.id for item in catalogue()]
USERS = {case.user_id for case in SPLIT.cases}


def test_sampled_items_are_new_to_the_user_and_the_target_is_among_them() -> None:
    asked, protocol = tasks.sampled(SPLIT, IDS, 9, seed=1)
    for case in asked.cases:
        assert case.candidates is not None
        met = {event.item_id for event in world() if event.user_id == case.user_id}
        assert len(set(case.candidates)) == 10
        assert set(case.candidates) & met == {case.target.item_id}
    assert protocol.name == "sampled"
    assert "do not compare" in protocol.warning


def test_sampled_items_depend_on_seed_and_user_alone() -> None:
    whole = tasks.sampled(SPLIT, IDS, 9, seed=1)[0]
    part = tasks.sampled(dataclasses.replace(SPLIT, cases=SPLIT.cases[5:]), IDS[::-1], 9, seed=1)[0]
    assert part.cases == whole.cases[5:]
    assert tasks.sampled(SPLIT, IDS, 9, seed=2)[0].cases != whole.cases


def test_the_place_of_the_target_tells_nothing() -> None:
    asked, _ = tasks.sampled(SPLIT, IDS, 9)
    assert len({(case.candidates or ()).index(case.target.item_id) for case in asked.cases}) > 5


def test_a_user_who_met_nearly_everything_gets_the_items_that_are_left() -> None:
    events = [event("a", item.id, n) for n, item in enumerate(catalogue(5))]
    (case,) = tasks.sampled(leave_one_out(events), [item.id for item in catalogue(6)], 19)[0].cases
    assert sorted(case.candidates or ()) == ["i04", "i05"]


def test_candidates_of_a_file_are_ranked_with_the_target_among_them(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    path.write_text(json.dumps({"u03": ["i20", "i21"]}))
    asked, protocol = tasks.candidates_from_file(SPLIT, path, USERS, IDS)
    assert [(case.user_id, set(case.candidates or ())) for case in asked.cases] == [
        ("u03", {"i20", "i21", case.target.item_id}) for case in SPLIT.cases if case.user_id == "u03"
    ]
    assert "lists.json" in protocol.text


@pytest.mark.parametrize(
    ("text", "message", "kind"),
    [
        ("{", "not JSON", DataError),
        ("[]", "expected an object", DataError),
        ('{"u03": "i01"}', "field 'u03': expected a list", DataError),
        ('{"u03": []}', "field 'u03': expected a list", DataError),
        ('{"u03": [1]}', "field 'u03': expected a list", DataError),
        ('{"u03": ["i01", "i02", "i01"]}', "field 'u03': item 'i01' is listed twice", DataError),
        ('{"u03": ["i01"], "u03": ["i02"]}', "field 'u03': this user is listed twice", DataError),
        ('{"u03": ["i99"]}', "field 'u03': there is no item 'i99'", DataError),
        ('{"bob": ["i01"]}', "field 'bob': there is no such user", DataError),
        ("{}", "names no user", RequestError),
    ],
)
def test_a_wrong_file_of_candidates_is_named_with_its_key(
    text: str, message: str, kind: type[RecsysError], tmp_path: Path
) -> None:
    path = tmp_path / "lists.json"
    path.write_text(text)
    with pytest.raises(kind) as caught:
        tasks.candidates_from_file(SPLIT, path, USERS, IDS)
    assert message in str(caught.value)
    assert "lists.json" in str(caught.value)


def test_a_file_of_candidates_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.json"):
        tasks.candidates_from_file(SPLIT, tmp_path / "none.json", USERS, IDS)


def test_rated_pairs_are_the_held_out_events_that_were_judged() -> None:
    feedback = Feedback(liked_at_least=4, disliked_at_most=2)
    asked, protocol = tasks.rated(SPLIT, feedback)
    assert protocol.name == "rated"
    assert all(case.candidates == (case.target.item_id,) for case in asked.cases)
    assert {feedback.liked(case.target.rating) for case in asked.cases} == {True, False}


@pytest.mark.parametrize("feedback", [Feedback(), Feedback(liked_at_least=1), Feedback(disliked_at_most=5)])
def test_rated_pairs_of_one_kind_are_refused(feedback: Feedback) -> None:
    with pytest.raises(RequestError, match="need both"):
        tasks.rated(SPLIT, feedback)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("cold", [False, True])
def test_baselines_keep_what_every_system_promises(name: str, cold: bool) -> None:
    split = cold_users(SPLIT, 0) if cold else SPLIT
    data = data_of(split)
    system = BASELINES[name](data)
    sampled = tasks.sampled(split, IDS, 9)[0]
    for case in (*split.cases, *sampled.cases):
        met = {event.item_id for event in case.history}
        results = system.rank(case, 100)
        assert sorted(results.items) == sorted(case.candidates or set(IDS) - met)
        assert list(results.scores) == sorted(results.scores, reverse=True)
        assert len(system.rank(dataclasses.replace(case, candidates=None), 7).items) == 7


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_do_not_look_at_the_order_of_candidates(name: str) -> None:
    data = data_of(tasks.sampled(SPLIT, IDS, 9)[0])
    system = BASELINES[name](data)
    for case in data.split.cases:
        turned = dataclasses.replace(case, candidates=(case.candidates or ())[::-1])
        assert system.rank(turned, 10) == system.rank(case, 10)


def test_popularity_counts_all_of_train_and_recent_popularity_its_end() -> None:
    old = [event(f"x{n}", "i00", float(n)) for n in range(10)]
    new = [event(f"y{n}", "i01", 1000.0 + n) for n in range(5)]
    data = data_of(dataclasses.replace(leave_one_out([*old, *new]), cases=SPLIT.cases))
    case = SPLIT.cases[-1]
    assert BASELINES["popularity"](data).rank(case, 2).items == ("i00", "i01")
    assert BASELINES["recent-popularity"](data).rank(case, 2).items == ("i01", "i00")


def test_recent_popularity_of_events_without_times_takes_the_last_that_came() -> None:
    events = [event(f"x{n}", "i00") for n in range(18)] + [event(f"y{n}", "i01") for n in range(2)]
    data = data_of(dataclasses.replace(leave_one_out(events), cases=SPLIT.cases))
    assert BASELINES["recent-popularity"](data).rank(SPLIT.cases[-1], 1).items == ("i01",)


def likes(share: Callable[[int], bool]) -> list[float]:
    """The liked share that is told to a user with ten judged events."""
    events = [event("a", f"i{n:02}", n, 5 if share(n) else 1) for n in range(10)]
    events += [event("b", f"i{n:02}", n, 5 if n % 2 else 1) for n in range(10)]
    data = data_of(leave_one_out([*events, event("a", "i20", 50, 5), event("b", "i20", 50, 1)]))
    system = BASELINES["liked-share"](data)
    return [system.rank(case, 1).scores[0] for case in data.split.cases]


def test_liked_share_follows_the_history_of_the_user() -> None:
    assert likes(lambda n: True)[0] > 0.9
    assert likes(lambda n: n % 2 == 0)[1] == pytest.approx(0.5)
    assert likes(lambda n: False)[0] < 0.1
