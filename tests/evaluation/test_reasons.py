"""Asking for reasons, asking the ranker again, and going on: on the small world of films."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from recsys.cli import main
from recsys.errors import EngineError, RequestError
from recsys.evaluation.explanations.study import ask, evaluate_reasons, moment_of, sample_people, trials
from recsys.recommender.recommender import Recommender
from recsys.types import Interaction
from tests.fakes import ScriptedEngine


def of_alien(text: str, label: str) -> float:
    """Casablanca is liked for Alien, and for nothing else."""
    shared, _, about = text.partition("Will this person")
    return 2.0 * (label == "Yes" and "Alien" in shared and "Casablanca" in about)


def test_every_measure_is_in_the_result_and_the_report(recommender: Recommender, tmp_path: Path) -> None:
    told: list[str] = []
    result = evaluate_reasons(
        recommender, tmp_path / "out", k=2, progress=lambda what, done, total: told.append(what)
    )
    measured = result["reasons"]
    for name in (
        "statement_precision",
        "evidence_validity",
        "usr",
        "distinct_1",
        "distinct_2",
        "fmr",
        "fcr",
        "div",
        "template_share",
        "swap_specificity",
        "check_failures",
        "latency_s",
        "tokens",
        "cost_ratio",
    ):
        assert set(measured[name]) == {"value", "low", "high", "n"}
    assert measured["evidence_validity"]["value"] == 1
    assert measured["statement_precision"]["value"] == 1
    assert result["run"]["users"] == 5
    assert result["run"]["model"] == "scripted"
    assert any("references" in note for note in result["notes"])
    assert any("Only 5 users" in note for note in result["notes"])
    assert told[0] == "asking for reasons"
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept["reasons"] == measured
    page = (tmp_path / "out" / "report.html").read_text()
    assert "statement precision" in page
    assert "held-out events" not in page


def test_people_may_ask_in_words_and_their_reasons_are_as_true(
    recommender: Recommender, tmp_path: Path
) -> None:
    result = evaluate_reasons(recommender, tmp_path / "wishes", k=2, wishes=True)
    assert result["reasons"]["statement_precision"]["value"] == 1
    assert "Each person asks in words" in result["run"]["rule"]
    lines = (tmp_path / "wishes" / "reasons.jsonl").read_text().splitlines()[1:]
    wishes = [json.loads(line)["found"]["answer"]["context"]["wish"] for line in lines]
    assert all(wishes)
    assert len(set(wishes)) > 1
    with pytest.raises(RequestError, match="another run"):
        evaluate_reasons(recommender, tmp_path / "wishes", k=2)


def test_people_asked_for_at_once_get_what_they_get_alone(recommender: Recommender, tmp_path: Path) -> None:
    alone = evaluate_reasons(recommender, tmp_path / "alone", k=2)
    co_consumed = evaluate_reasons(recommender, tmp_path / "together", k=2, concurrency=3)
    assert co_consumed["run"]["concurrency"] == 3
    for name, found in alone["reasons"].items():
        if name not in ("latency_s", "tokens", "cost_ratio"):  # the second finds the cache filled
            assert co_consumed["reasons"][name] == found, name
    with pytest.raises(RequestError, match="0 people"):
        evaluate_reasons(recommender, tmp_path / "none", concurrency=0)


def test_planted_cause_agrees_with_ablation_and_a_random_citation_does_not(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.score = of_alien
    prepared = recommender.prepare("ann", k=1, n_candidates=8)
    answer = recommender.recommend("ann", k=1, n_candidates=8)
    assert answer[0].item.title == "Casablanca"
    (found,) = trials(recommender, prepared, answer, random.Random(0))
    cited, other = found.agreement[0]
    assert cited > 0.5 > other
    assert found.comprehensiveness is not None
    assert found.comprehensiveness_random is not None
    assert found.comprehensiveness > found.comprehensiveness_random
    assert found.sufficiency is not None
    assert found.sufficiency_random is not None
    assert found.sufficiency < found.sufficiency_random
    assert not found.supported  # nothing of the other candidate is owed to Alien

    reason = answer[0].explanation
    assert reason is not None
    wrong = tuple(
        one.model_copy(update={"item_id": "f4"}) if one.kind == "history" else one for one in reason.evidence
    )
    line = answer[0].model_copy(update={"explanation": reason.model_copy(update={"evidence": wrong})})
    untrue = answer.model_copy(update={"recommendations": (line,)})
    outcomes = [
        cited > other
        for seed in range(5)
        for one in trials(recommender, prepared, untrue, random.Random(seed))
        for cited, other in one.agreement
    ]
    assert not all(outcomes)


def test_whether_the_moment_is_cited_is_held_against_what_leaving_it_out_does(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    def late(text: str, label: str) -> float:
        """Casablanca is wanted on Fridays."""
        shared, _, about = text.partition("Will this person")
        return 2.0 * (label == "Yes" and "Friday" in shared and "Casablanca" in about)

    scripted.score = late
    prepared = recommender.prepare("ann", k=1, n_candidates=8, at="Friday 21:00")
    answer = recommender.recommend("ann", k=1, n_candidates=8, at="Friday 21:00")
    assert answer[0].item.title == "Casablanca"
    (found,) = trials(recommender, prepared, answer, random.Random(0))
    assert found.context[0] == (True, True)  # the time; the other is the place

    reason = answer[0].explanation
    assert reason is not None
    silent = tuple(one for one in reason.evidence if one.kind != "context")
    line = answer[0].model_copy(update={"explanation": reason.model_copy(update={"evidence": silent})})
    untold = answer.model_copy(update={"recommendations": (line,)})
    assert trials(recommender, prepared, untold, random.Random(0))[0].context[0] == (False, True)
    scripted.score = of_alien
    prepared = recommender.prepare("ann", k=1, n_candidates=8, at="Friday 21:00")
    assert trials(recommender, prepared, answer, random.Random(0))[0].context[0] == (True, False)


def test_asking_again_is_in_no_figure_of_cost(recommender: Recommender, scripted: ScriptedEngine) -> None:
    scripted.score = of_alien
    record = ask(recommender, "ann", {}, 1, seed=0)
    work = record.answer.usage_by_stage
    assert sum(one.prompt_tokens for one in work.values()) == record.answer.usage.prompt_tokens
    sent = sum(len(ids) for call in scripted.calls for ids in call.token_ids)
    assert sent > record.answer.usage.prompt_tokens


def test_run_that_was_stopped_goes_on(
    recommender: Recommender, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    evaluate_reasons(recommender, tmp_path, users=2, k=2)
    asked = len(scripted.calls)
    lines = (tmp_path / "reasons.jsonl").read_text().splitlines()
    assert len(lines) == 3
    evaluate_reasons(recommender, tmp_path, users=2, k=2)
    assert len(scripted.calls) == asked
    result = evaluate_reasons(recommender, tmp_path, users=3, k=2)
    assert result["run"]["users"] == 3
    assert (tmp_path / "reasons.jsonl").read_text().splitlines()[:3] == lines


def test_folder_of_another_run_is_not_touched_unless_told(recommender: Recommender, tmp_path: Path) -> None:
    evaluate_reasons(recommender, tmp_path, users=2, k=2)
    with pytest.raises(RequestError, match="k") as caught:
        evaluate_reasons(recommender, tmp_path, users=2, k=1)
    assert "--overwrite" in caught.value.hint
    assert evaluate_reasons(recommender, tmp_path, users=2, k=1, overwrite=True)["run"]["k"] == 1


def test_degraded_answer_measures_nothing(
    recommender: Recommender, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    scripted.fail_in["labels"] = EngineError("busy")
    with pytest.raises(EngineError, match="degraded") as caught:
        evaluate_reasons(recommender, tmp_path, users=2, k=1)
    assert "goes on" in caught.value.hint
    assert len((tmp_path / "reasons.jsonl").read_text().splitlines()) == 1


def test_people_are_drawn_by_the_seed_and_more_begin_with_fewer() -> None:
    people = [f"u{n}" for n in range(50)]
    assert sample_people(people, 5, 0) == sample_people(people, 20, 0)[:5]
    assert sample_people(people, 5, 0) != sample_people(people, 5, 1)
    assert sorted(sample_people(people, None, 0)) == sorted(people)
    with pytest.raises(RequestError, match="0 users"):
        sample_people(people, 0, 0)
    with pytest.raises(RequestError, match="nobody"):
        sample_people([], None, 0)


def test_event_is_asked_about_in_its_situation() -> None:
    event = Interaction(
        user_id="a", item_id="b", timestamp=0.0, context={"place": "Mill End", "weather": "rain"}
    )
    asked = moment_of(event)
    assert asked["place"] == "Mill End"
    assert asked["extra"] == {"weather": "rain"}
    assert f"{asked['at']}".startswith("1970-01-01")
    assert moment_of(None) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--reasons", "--last", "2"), "--last says nothing of reasons"),
        (("-k", "3"), "-k says nothing of rankings"),
    ],
)
def test_options_of_the_other_evaluation_are_refused(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recsys", "evaluate", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert said in capsys.readouterr().err
