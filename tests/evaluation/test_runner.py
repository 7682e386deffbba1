"""A run: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.data.splits import Case, leave_one_out
from recsys.errors import DataError, EngineError, RequestError
from recsys.evaluation import runner
from recsys.evaluation.protocol import tasks
from recsys.evaluation.protocol.base import EvaluationData, Ranked, SystemFactory
from recsys.evaluation.protocol.leaks import LeakError
from tests.evaluation.world import Fake, catalogue, data_of, event, ranked, world

pytestmark = pytest.mark.usefixtures("no_plots")
DATA = data_of()


def evaluate(
    out: Path,
    *systems: str,
    data: EvaluationData = DATA,
    fakes: dict[str, Fake] | None = None,
    **options: Any,
) -> dict[str, Any]:
    def of(fake: Fake) -> SystemFactory:
        return lambda data: fake

    factories = {name: of(fake) for name, fake in (fakes or {}).items()}
    return runner.evaluate(
        data,
        systems or ("popularity", "random"),
        out,
        runner.RunOptions(baselines=False, **options),
        factories=factories,
    )


def without_chance(result: dict[str, Any]) -> dict[str, Any]:
    """A result without the times that a machine takes."""
    for system in result["systems"].values():
        del system["latency"]
    return result


def test_a_result_has_the_shape_that_is_promised(tmp_path: Path) -> None:
    result = evaluate(tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    system = result["systems"]["popularity"]
    results = system["metrics"]["ndcg@10"]
    assert set(results) == {"value", "low", "high", "n"}
    assert results["n"] == 12
    assert 0 <= results["low"] <= results["value"] <= results["high"] <= 1
    assert set(system["metrics"]) == {f"{m}@{k}" for m in ("recall", "ndcg", "mrr") for k in (5, 10, 20, 100)}
    assert system["beyond"]["coverage@10"] > 0
    assert system["calibration"] is None
    assert system["latency"]["p95_s"] >= system["latency"]["p50_s"] > 0
    assert {"history length", "target popularity", "target: genre", "user: job"} >= set(system["segments"])
    assert system["segments"]["user: job"]["baker"]["ndcg@10"]["n"] == 6
    assert system["recall_curve"][-1] == [30, 1.0] or system["recall_curve"][-1][0] <= 30
    assert set(result["paired"]) == {"popularity-random"}
    assert set(result["paired"]["popularity-random"]["ndcg@10"]) == {"value", "low", "high", "p", "p_holm"}
    run = result["run"]
    assert run["train_hash"] == DATA.log.hash
    assert (run["part"], run["protocol"], run["users"], run["domain"]) == ("test", "full", 12, "small")
    assert "Time order" in run["rule"]
    assert run["versions"]["ir-measures"]
    assert any("12 users" in note for note in result["notes"])


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Fake(DATA)
    whole = without_chance(evaluate(tmp_path, "fake", fakes={"fake": first}))
    path = tmp_path / "rankings" / "fake.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # header, four answers, and half of one
    second = Fake(DATA)
    again = without_chance(evaluate(tmp_path, "fake", fakes={"fake": second}))
    assert second.asked == list(DATA.split.cases[4:])
    assert again == whole
    assert [json.loads(line)["case"] for line in path.read_bytes().splitlines()[1:]] == list(range(12))
    assert second.closed


@pytest.mark.parametrize("left", [0, 10])
def test_a_file_cut_off_in_its_header_is_begun_anew(left: int, tmp_path: Path) -> None:
    evaluate(tmp_path, "fake", fakes={"fake": Fake(DATA)})
    path = tmp_path / "rankings" / "fake.jsonl"
    os.truncate(path, left)
    again = Fake(DATA)
    evaluate(tmp_path, "fake", fakes={"fake": again})
    assert len(again.asked) == 12


def test_what_is_finished_is_not_asked_again(tmp_path: Path) -> None:
    evaluate(tmp_path, "fake", fakes={"fake": Fake(DATA)})
    again = Fake(DATA)
    evaluate(tmp_path, "fake", fakes={"fake": again})
    assert again.asked == []


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    evaluate(tmp_path, "popularity")
    path = tmp_path / "rankings" / "popularity.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"rubbish\n", *lines[4:]]))
    with pytest.raises(DataError, match=r"popularity\.jsonl, row 4"):
        evaluate(tmp_path, "popularity")


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (data_of(seed=1), {}, "seed"),
        (DATA, {"depth": 20}, "depth"),
        (data_of(leave_one_out(world(), "validation")), {}, "part"),
        (data_of(leave_one_out(world(length=7))), {}, "train events"),
        (data_of(dataclasses.replace(DATA.split, cases=DATA.split.cases[:3])), {}, "cases"),
        (data_of(items=catalogue(31)), {}, "data"),
    ],
)
def test_answers_of_another_run_are_refused_and_kept(
    data: EvaluationData, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    evaluate(tmp_path)
    before = (tmp_path / "rankings" / "random.jsonl").read_bytes()
    with pytest.raises(RequestError, match="another run") as caught:
        evaluate(tmp_path, data=data, **options)
    assert message in caught.value.message
    assert "--overwrite" in caught.value.hint
    assert (tmp_path / "rankings" / "random.jsonl").read_bytes() == before
    assert evaluate(tmp_path, data=data, overwrite=True, **options)["systems"]


def test_a_system_of_other_options_does_not_go_on_with_old_answers(tmp_path: Path) -> None:
    evaluate(tmp_path, "fake", fakes={"fake": Fake(DATA, options={"adapter": "one"})})
    path = tmp_path / "rankings" / "fake.jsonl"
    os.truncate(path, path.stat().st_size - 5)
    result = evaluate(tmp_path, "fake", fakes={"fake": Fake(DATA, options={"adapter": "two"})})
    assert "options differ" in result["failed"]["fake"]


def answering(change: Callable[[Case, Ranked], Ranked]) -> Callable[[Case, int], Ranked]:
    return lambda case, depth: change(case, Fake(DATA).rank(case, depth))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, r: ranked((*r.items[:5], c.history[0].item_id)), "of the history is ranked"),
        (lambda c, r: ranked((r.items[0], r.items[0])), "ranked twice"),
        (lambda c, r: ranked(("i99",)), "'i99' is not in the catalogue"),
        (lambda c, r: Ranked(r.items, r.scores[:-1]), "scores"),
        (lambda c, r: Ranked(r.items, r.scores[::-1]), "higher than the one before"),
        (lambda c, r: Ranked(r.items[:1], (float("nan"),)), "not a finite number"),
        (
            lambda c, r: ranked(
                [item for item in DATA.log.items if item not in {e.item_id for e in c.history}]
            ),
            "at most 10",
        ),
    ],
)
def test_a_broken_promise_is_reported_with_system_and_user(
    change: Callable[[Case, Ranked], Ranked], message: str, tmp_path: Path
) -> None:
    broken = Fake(DATA, answer=answering(change))
    result = evaluate(tmp_path, "popularity", "fake", fakes={"fake": broken}, depth=10)
    assert "system 'fake', user 'u00'" in result["failed"]["fake"]
    assert message in result["failed"]["fake"]
    assert set(result["systems"]) == {"popularity"}
    assert broken.closed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, r: ranked(r.items[1:]), "is not ranked"),
        (lambda c, r: ranked((*r.items, "i00")), "is no candidate"),
    ],
)
def test_candidates_are_ranked_all_of_them_and_nothing_else(
    change: Callable[[Case, Ranked], Ranked], message: str, tmp_path: Path
) -> None:
    events = [event for event in world() if event.item_id != "i00"]
    split, protocol = tasks.sampled(leave_one_out(events), [i.id for i in catalogue()][1:], 5)
    fake = Fake(DATA, answer=answering(change))
    result = evaluate(tmp_path, "fake", data=data_of(split), fakes={"fake": fake}, protocol=protocol)
    assert message in result["failed"]["fake"]
    assert result["systems"] == {}
    assert (tmp_path / "report.html").is_file()


def test_probabilities_lie_between_0_and_1_and_are_judged(tmp_path: Path) -> None:
    good = Fake(DATA, probabilities=True)
    boastful = Fake(DATA, probabilities=True, answer=answering(lambda c, r: Ranked(r.items[:1], (1.5,))))
    result = evaluate(tmp_path, "good", "boastful", fakes={"good": good, "boastful": boastful})
    assert "no probability" in result["failed"]["boastful"]
    results = result["systems"]["good"]["calibration"]
    assert 0 < results["ece"] < 1
    assert results["pairs"] == sum(point["n"] for point in results["curve"])


def test_a_system_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    def fail(case: Case, depth: int) -> Ranked:
        raise EngineError("the engine died", hint="start it again")

    result = evaluate(tmp_path, "fake", "random", fakes={"fake": Fake(DATA, answer=fail)})
    assert "the engine died" in result["failed"]["fake"]
    assert set(result["systems"]) == {"random"}
    assert "the engine died" in (tmp_path / "report.html").read_text()


def test_a_system_fitted_on_other_events_is_not_evaluated(tmp_path: Path) -> None:
    result = evaluate(tmp_path, "fake", "random", fakes={"fake": Fake(DATA, fitted_on="f" * 64)})
    assert "was fitted on events ffffffffffff" in result["failed"]["fake"]


def test_data_that_was_made_of_other_events_is_refused(tmp_path: Path) -> None:
    other = dataclasses.replace(DATA, log=data_of(leave_one_out(world(length=7))).log)
    with pytest.raises(LeakError):
        evaluate(tmp_path, data=other)


def test_a_split_that_leaks_is_refused(tmp_path: Path) -> None:
    split = dataclasses.replace(DATA.split, train=(*DATA.split.train, DATA.split.cases[0].target))
    with pytest.raises(LeakError, match="in train"):
        evaluate(tmp_path, data=data_of(split))
    assert not tmp_path.joinpath("result.json").exists()


def test_no_case_no_depth_no_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no held-out event"):
        evaluate(tmp_path, data=data_of(leave_one_out([event("a", "i00", 1)])))
    with pytest.raises(RequestError, match="too short"):
        evaluate(tmp_path, depth=5)
    with pytest.raises(RequestError, match="cannot name"):
        evaluate(tmp_path, "../evil", fakes={"../evil": Fake(DATA)})


def test_who_met_everything_but_the_target_is_asked_for_one_item(tmp_path: Path) -> None:
    events = [event(user, item.id, n) for user in "ab" for n, item in enumerate(catalogue(4))]
    result = evaluate(tmp_path, data=data_of(leave_one_out(events), catalogue(4)))
    assert result["systems"]["popularity"]["metrics"]["ndcg@10"]["value"] == 1


def test_the_baselines_of_every_table_stand_beside_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = types.ModuleType("recsys.evaluation.systems.recommenders")
    names = ("cooccurrence", "gru", "hybrid", "llm")
    monkeypatch.setattr(systems, "SYSTEMS", dict.fromkeys(names, Fake), raising=False)
    monkeypatch.setitem(sys.modules, systems.__name__, systems)
    result = runner.evaluate(DATA, ["llm"], tmp_path)
    others = [name for name in result["systems"] if name != "llm"]
    assert others == ["random", "popularity", "recent-popularity", "cooccurrence", "gru", "hybrid"]
    assert list(result["paired"]) == [f"llm-{name}" for name in others]
    with pytest.raises(RequestError, match="no system 'magic'") as caught:
        runner.evaluate(DATA, ["magic"], tmp_path)
    assert "liked-share, item-liked-share, cooccurrence, gru, hybrid, llm" in caught.value.hint


def test_rated_pairs_have_auc_for_all_and_brier_for_probabilities(tmp_path: Path) -> None:
    data = data_of()
    split, protocol = tasks.rated(leave_one_out(world(), last=3), data.domain.feedback)
    result = evaluate(
        tmp_path, "liked-share", "item-liked-share", "random", data=data_of(split), protocol=protocol
    )
    assert result["primary"] == "auc"
    assert set(result["systems"]["random"]["metrics"]) == {"auc"}
    assert set(result["systems"]["liked-share"]["metrics"]) == {"auc", "brier"}
    assert result["systems"]["liked-share"]["calibration"]["pairs"] == len(split.cases)
    assert set(result["paired"]["liked-share-item-liked-share"]) == {"auc", "brier"}
    assert set(result["paired"]["liked-share-random"]) == {"auc"}
    assert any("Rated pairs" in note for note in result["notes"])


def test_validation_and_short_lists_are_labelled(tmp_path: Path) -> None:
    split, protocol = tasks.sampled(leave_one_out(world(), "validation"), [i.id for i in catalogue()], 9)
    result = evaluate(tmp_path, data=data_of(split), protocol=protocol)
    assert result["run"]["part"] == "validation"
    assert any("never to report" in note for note in result["notes"])
    assert any("do not compare" in note for note in result["notes"])
    assert result["systems"]["popularity"]["beyond"] == {}
    page = (tmp_path / "report.html").read_text()
    assert "do not compare" in page
    assert "validation" in page


def test_progress_is_told_case_by_case(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    data = dataclasses.replace(DATA, progress=lambda *words: told.append(words))
    evaluate(tmp_path, "popularity", data=data)
    assert ("evaluating popularity", 0, 12) in told
    assert ("evaluating popularity", 12, 12) in told
