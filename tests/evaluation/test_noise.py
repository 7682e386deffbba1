"""Random items in a history: how they get in, and how they are found again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report, robustness
from recsys.cli import main
from recsys.config import Settings, load_domain
from recsys.config.retrieval import CooccurrenceConfig, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.data.splits import Case, leave_one_out
from recsys.errors import RequestError
from recsys.evaluation.protocol.base import EvaluationData, Ranked
from recsys.evaluation.robustness.noise import LEVELS, study, with_noise
from recsys.evaluation.systems import recommenders
from recsys.recommender import history_filter
from recsys.recommender.history_filter import MIN_HISTORY, outlier_scores, without_noise
from recsys.types import HistoryEntry, Item
from retrieval import build_retriever
from retrieval.channels.item_item import ItemItemChannel
from retrieval.channels.item_item_fitting import fit_item_item
from tests.evaluation.world import Fake, data_of, domain, event, ranked, world, write_shop
from tests.fakes import ScriptedEngine, build_recommender, write_films
from tests.retrieval.contract import HashEmbedder

ITEMS = [f"i{number:02}" for number in range(30)]


def two_tastes() -> ItemItemChannel:
    """Half of the people meet items below 15, the others the rest."""
    chance = random.Random(0)
    events = [
        event(f"u{user}", ITEMS[number + 15 * (user % 2)], 10.0 * step, 5)
        for user in range(40)
        for step, number in enumerate(chance.sample(range(15), 10))
    ]
    return fit_item_item(EventLog.of(events, ITEMS, domain().feedback), CooccurrenceConfig())


def history(*numbers: int) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(item=Item(id=f"i{n:02}", title=f"Item {n}"), liked=True) for n in numbers)


# --- the filter ---------------------------------------------------------------------


def test_what_does_not_belong_is_left_out_and_the_rest_keeps_its_order() -> None:
    past = history(3, 1, 20, 7, 9, 2, 11, 4, 14, 28, 5, 0)
    kept = without_noise(past, {"cooccurrence": two_tastes()}, 2.0)
    assert [entry.item.id for entry in kept] == [e.item.id for e in past if int(e.item.id[1:]) < 15]


def test_a_history_of_one_taste_is_kept() -> None:
    past = history(*range(12))
    assert without_noise(past, {"ease": two_tastes()}, 3.0) == past


def test_off_means_off() -> None:
    past = history(3, 1, 20, 7, 9, 2, 11, 4, 14, 28)
    assert without_noise(past, {"cooccurrence": two_tastes()}, 0.0) == past
    assert without_noise(past, {}, 2.0) == past


def test_of_a_short_history_nobody_can_say_what_is_odd() -> None:
    past = history(3, 1, 20, 7, 9, 2, 11)
    assert len(past) < MIN_HISTORY
    assert without_noise(past, {"cooccurrence": two_tastes()}, 2.0) == past


def test_an_item_that_nobody_met_stays() -> None:
    new = HistoryEntry(item=Item(id="new", title="New"), liked=True)
    past = (*history(3, 1, 7, 9, 2, 11, 4, 14, 20), new)
    kept = without_noise(past, {"cooccurrence": two_tastes()}, 2.0)
    assert new in kept
    assert len(kept) == len(past) - 1


@pytest.mark.parametrize("ids", [["x"] * 12, [f"x{n}" for n in range(12)], ["i01"] * 12, []])
def test_odd_histories_raise_nothing(ids: list[str]) -> None:
    known, z = outlier_scores(ids, two_tastes())
    assert known.shape == z.shape == (len(ids),)
    assert np.isfinite(z).all()


# --- injection ----------------------------------------------------------------------


def case(n: int = 10) -> Case:
    past = tuple(event("u", f"i{number:02}", 100.0 * number, 5 if number % 2 else 1) for number in range(n))
    return Case("u", past, event("u", "i29", 5000.0, 5))


@pytest.mark.parametrize(("level", "added"), [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3)])
def test_so_many_new_items_come_in_and_the_users_own_stay_in_order(level: float, added: int) -> None:
    before = case()
    after = with_noise(before, ITEMS, level, 0)
    own = [event for event in after.history if event in before.history]
    new = [event for event in after.history if event not in before.history]
    assert tuple(own) == before.history
    assert len(new) == added == len({one.item_id for one in new})
    assert not {one.item_id for one in new} & {"i29", *(event.item_id for event in before.history)}
    assert {one.user_id for one in new} <= {"u"}
    times = [event.timestamp for event in after.history if event.timestamp is not None]
    assert times == sorted(times)
    assert after.target == before.target
    assert with_noise(before, ITEMS, level, 0) == after


def test_a_higher_level_has_the_items_of_the_lower_ones() -> None:
    met = [
        {event.item_id for event in with_noise(case(), ITEMS, level, 0).history} for level in (0.0, *LEVELS)
    ]
    assert all(fewer < more for fewer, more in itertools.pairwise(met))


def test_there_is_something_to_inject_into_any_history() -> None:
    assert len(with_noise(case(1), ITEMS, 0.1, 0).history) == 2
    assert with_noise(case(0), ITEMS, 0.3, 0).history == ()
    assert len(with_noise(case(10), ["i29", "i01"], 0.3, 0).history) == 10


# --- the study ----------------------------------------------------------------------


def confused(data: EvaluationData) -> Fake:
    """Find the target unless the history holds foreign items and the domain does not filter them."""
    own = {case.user_id: {event.item_id for event in case.history} for case in data.split.cases}

    def answer(case: Case, depth: int) -> Ranked:
        odd = {event.item_id for event in case.history} - own[case.user_id]
        target = case.target.item_id
        others = [item for item in ITEMS if item != target and item not in own[case.user_id] | odd][:9]
        return ranked(others if odd and not data.domain.noise_filter else [target, *others])

    return Fake(data, answer=answer)


def test_what_noise_costs_and_the_filter_saves(tmp_path: Path) -> None:
    data = data_of()
    result = study(data, ["confused"], tmp_path, factories={"confused": confused})
    results = result["noise"]["confused"]
    assert results["ndcg@10_0%"]["value"] == 1
    for level in ("10%", "20%", "30%"):
        assert results[f"kept_{level}"] == {"value": 0, "low": 0, "high": 0, "n": 12}
        assert results[f"kept_{level}_filtered"]["value"] == results[f"gain_{level}"]["low"] == 1
    assert results["gain_0%"]["value"] == 0


def test_a_study_that_was_stopped_goes_on_and_systems_are_let_go(tmp_path: Path) -> None:
    data, made = data_of(), list[Fake]()

    def factory(data: EvaluationData) -> Fake:
        made.append(confused(data))
        if len(made) == 1:
            asked = made[0].answer

            def stopping(case: Case, depth: int) -> Ranked:
                if len(made[0].asked) > 13:
                    raise RequestError("stopped")
                assert asked
                return asked(case, depth)

            made[0].answer = stopping
        return made[-1]

    with pytest.raises(RequestError, match="stopped"):
        study(data, ["fake"], tmp_path, factories={"fake": factory})
    assert made[0].closed
    result = study(data, ["fake"], tmp_path, factories={"fake": factory})
    assert len(made[1].asked) == 4 * (12 - 3)
    assert result["noise"]["fake"]["kept_0%"]["value"] == 1
    assert study(data, ["fake"], tmp_path, factories={"fake": factory})["noise"] == result["noise"]
    assert len(made) == 3
    assert all(one.closed for one in made)


def test_items_that_noise_takes_out_of_the_way_are_out_of_the_way_without_it_too(tmp_path: Path) -> None:
    """Histories are not recommended: in a small catalogue noise once seemed to help."""
    results = study(data_of(), ["popularity"], tmp_path)["noise"]["popularity"]
    assert (
        0
        < results["ndcg@10_0%"]["value"]
        == results["ndcg@10_10%"]["value"]
        == results["ndcg@10_30%"]["value"]
    )


def test_an_unknown_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no system 'none'"):
        study(data_of(), ["none"], tmp_path)


def test_a_filtered_item_is_not_told_but_is_not_recommended_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(leave_one_out(world(length=10)))
    data = dataclasses.replace(data, domain=data.domain.model_copy(update={"noise_filter": 0.5}))
    monkeypatch.setattr(
        recommenders,
        "fit_on_train",
        lambda data, names: build_retriever(
            data.items, data.log, HashEmbedder(), RetrieverConfig(), tmp_path / "fitted"
        )[0],
    )
    system = recommenders.hybrid(data)
    told = [recommenders.visible_history(system.retriever, data, case) for case in data.split.cases]
    assert any(len(kept) < len(case.history) for kept, case in zip(told, data.split.cases, strict=True))
    for case in data.split.cases:
        assert not {event.item_id for event in case.history} & set(system.rank(case, 30).items)


# --- the command --------------------------------------------------------------------


def test_the_command_shows_and_keeps_what_noise_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = write_shop(tmp_path / "shop", world())
    monkeypatch.setenv("COLUMNS", "160")
    words = ("--domain", shop, "--noise", "--systems", "popularity,cooccurrence", "--out", tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["recsys", "evaluate", "robustness", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    message = capsys.readouterr().out
    for word in ("popularity", "cooccurrence", "kept", "gain", "30%", "result.json"):
        assert word in message
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["run"]["users"] == result["noise"]["popularity"]["ndcg@10_10%"]["n"] == 12
    assert result["noise_run"]["command"].startswith("recsys evaluate robustness --domain")
    assert set(result["noise"]) == {"popularity", "cooccurrence"}


def test_a_table_of_the_benchmark_is_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(
        data_of(),
        ["confused"],
        tmp_path,
        factories={"confused": confused},
        command="recsys evaluate robustness --noise --out x",
    )
    monkeypatch.setattr(sys, "argv", ["robustness", str(tmp_path), "--out", str(tmp_path)])
    robustness.main()
    text = report._noise(json.loads((tmp_path / "noise.json").read_text()))
    assert "| confused | 10% |" in text
    assert "`recsys evaluate robustness --noise`" in text
    assert not (tmp_path / "attacks.json").exists()


def test_a_request_says_what_it_left_out_and_does_not_recommend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_filter, "MIN_HISTORY", 3)
    results = load_domain(write_films(tmp_path / "films"))
    settings = Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    whole = build_recommender(results, settings, ScriptedEngine()).prepare("ann", k=3)
    strict = results.model_copy(update={"noise_filter": 0.1})
    less = build_recommender(strict, settings, ScriptedEngine()).prepare("ann", k=3)
    gone = {entry.item.id for entry in whole.query.history} - {entry.item.id for entry in less.query.history}
    assert gone
    assert f"left out of the history as noise: {len(gone)} of 4" in less.notes
    assert {entry.item.id for entry in less.request.history} == {e.item.id for e in less.query.history}
    assert gone <= less.query.exclude
    assert not any("noise" in note for note in whole.notes)
