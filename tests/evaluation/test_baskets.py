"""The next basket and the next new product are asked apart, beside what the user's own past tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from recsys.data.splits import Case
from recsys.errors import RequestError
from recsys.evaluation.protocol import leaks
from recsys.evaluation.protocol.base import ContractError, EvaluationData, Ranked, SystemFactory
from recsys.evaluation.protocol.baskets import Task, next_basket
from recsys.evaluation.runner import verify
from recsys.evaluation.systems.baskets import BASKET_BASELINES, TifuOptions, basket_system, tifu_knn
from recsys.evaluation.systems.registry import find_factories
from recsys.types import Interaction, Item
from tests.evaluation.world import domain, event

DAY = 86_400.0
ITEMS = tuple(Item(id=name, title=name) for name in ("bread", "ice", "milk", "stuffing", "tea"))


def shopping(baskets: Mapping[str, Sequence[tuple[float, str]]]) -> list[Interaction]:
    """Events of users who buy items, separated by spaces, on a day."""
    return [
        event(user, item, day * DAY)
        for user, of_user in baskets.items()
        for day, items in of_user
        for item in items.split()
    ]


EVENTS = shopping(
    {
        "a": [(1, "milk bread"), (8, "milk tea"), (15, "milk"), (22, "bread ice")],
        "b": [(2, "milk"), (9, "bread milk"), (300, "milk")],
        "c": [(21, "stuffing"), (22, "stuffing tea"), (23, "stuffing")],
        "d": [(5, "tea")],
    }
)


def data_of(task: Task) -> EvaluationData:
    return EvaluationData.of(domain(), ITEMS, {}, next_basket(EVENTS, task))


def tifu(options: TifuOptions) -> SystemFactory:
    return partial(basket_system, name="tifu-knn", fit=partial(tifu_knn, options=options))


def ranking(factory: SystemFactory | str, user: str, task: Task = "next-basket") -> list[str]:
    data = data_of(task)
    case = next(case for case in data.split.cases if case.user_id == user)
    build = BASKET_BASELINES[factory] if isinstance(factory, str) else factory
    ranked = build(data).rank(case, 10)
    verify("tested", case, ranked, 10, data.by_id)
    return list(ranked.items)


def test_the_last_basket_is_held_out_whole() -> None:
    split = next_basket(EVENTS, "next-basket")
    leaks.check(split)
    assert [case.user_id for case in split.cases] == ["a", "b", "c"]  # d has a single basket
    for case in split.cases:
        assert case.repeats
        assert all((e.timestamp or 0) < (case.target.timestamp or 0) for e in case.history)
    assert {(e.user_id, e.item_id) for e in split.held_out} == {
        ("a", "bread"),
        ("a", "ice"),
        ("b", "milk"),
        ("c", "stuffing"),
    }


def test_a_new_product_is_one_that_the_user_never_had() -> None:
    (case,) = next_basket(EVENTS, "next-new").cases
    assert (case.user_id, case.target.item_id, case.repeats) == ("a", "ice", False)


def test_validation_asks_for_the_basket_before_the_last() -> None:
    split = next_basket(EVENTS, "next-basket", "validation")
    leaks.check(split)
    assert {case.user_id: case.target.timestamp for case in split.cases} == {
        "a": 15 * DAY,
        "b": 9 * DAY,
        "c": 22 * DAY,
    }


def test_the_drawn_target_is_any_item_of_the_basket() -> None:
    drawn = {next_basket(EVENTS, "next-basket", seed=seed).cases[0].target.item_id for seed in range(20)}
    assert drawn == {"bread", "ice"}


def test_baskets_need_times() -> None:
    with pytest.raises(RequestError, match="baskets need times"):
        next_basket([event("a", "milk")], "next-basket")


def test_own_baselines_rank_by_the_users_past() -> None:
    assert ranking("own-frequency", "a")[:3] == ["milk", "tea", "bread"]  # ties by popularity
    assert ranking("own-recency", "a")[:3] == ["milk", "tea", "bread"]
    assert (
        ranking("own-frequency", "a", "next-new")[0] == "stuffing"
    )  # ties by popularity, the history left out


def test_season_popularity_counts_the_weeks_before_the_target() -> None:
    assert ranking("season-popularity", "c")[0] == "milk"
    assert ranking("season-popularity", "b")[:2] == ["milk", "tea"]  # nothing in its season: popularity


def test_tifu_weighs_late_baskets_and_learns_from_neighbours() -> None:
    alone = TifuOptions(own=1.0)
    assert ranking(tifu(alone), "a")[:3] == ["milk", "tea", "bread"]
    neighbours = TifuOptions(own=0.0, neighbours=1)
    assert ranking(tifu(neighbours), "b")[:3] == ["milk", "tea", "bread"]


def test_a_vector_is_the_mean_of_decayed_groups() -> None:
    """Ten baskets of one item in groups of three: group weights fall by 0.7, basket weights by 0.9."""
    events = shopping({"a": [(day, "milk") for day in range(11)], "b": [(3, "tea"), (4, "tea")]})
    data = EvaluationData.of(domain(), ITEMS, {}, next_basket(events, "next-basket"))
    baskets = [np.array([data.log.row_of["milk"]])] * 10
    scores = tifu_knn(data.log, TifuOptions(group=3, own=1.0))("a", baskets, 0.0)
    full = (0.9**2 + 0.9 + 1.0) / 3
    groups = [1.0 * 0.7**3, full * 0.7**2, full * 0.7, full]
    assert scores[data.log.row_of["milk"]] == pytest.approx(sum(groups) / 4, abs=1e-5)


def test_an_item_of_the_history_is_no_answer_where_nothing_repeats() -> None:
    case = Case("a", (event("a", "milk", 1.0),), event("a", "ice", 2.0))
    with pytest.raises(ContractError, match="of the history is ranked"):
        verify("tested", case, Ranked(("milk",), (1.0,)), 10, {item.id: item for item in ITEMS})


def test_the_command_knows_the_baselines(tmp_path: Path) -> None:
    names = ("own-frequency", "own-recency", "season-popularity", "tifu-knn")
    assert tuple(find_factories(names)) == names
