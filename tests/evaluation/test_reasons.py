"""The study of reasons on a small catalogue: measures, ablations, resuming."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from recsys.cli import main
from recsys.errors import EngineError, RequestError
from recsys.evaluation.explanations.study import (
    StudyOptions,
    collect_record,
    evaluate_reasons,
    event_context_options,
    run_trials,
    sample_users,
)
from recsys.recommender.recommender import Recommender
from recsys.types import Interaction
from tests.fakes import ScriptedEngine


def likes_casablanca_for_alien(text: str, label: str) -> float:
    """Score Casablanca high because of Alien, and of nothing else."""
    shared, _, about = text.partition("Will this person")
    return 2.0 * (label == "Yes" and "Alien" in shared and "Casablanca" in about)


def test_every_measure_is_in_the_result_and_the_report(recommender: Recommender, tmp_path: Path) -> None:
    steps: list[str] = []
    result = evaluate_reasons(
        recommender,
        tmp_path / "out",
        StudyOptions(k=2),
        progress=lambda what, done, total: steps.append(what),
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
    assert steps[0] == "asking for reasons"
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept["reasons"] == measured
    page = (tmp_path / "out" / "report.html").read_text()
    assert "statement precision" in page
    assert "held-out events" not in page


def test_reasons_of_requests_with_wishes_are_true(recommender: Recommender, tmp_path: Path) -> None:
    result = evaluate_reasons(recommender, tmp_path / "wishes", StudyOptions(k=2, wishes=True))
    assert result["reasons"]["statement_precision"]["value"] == 1
    assert "Each person asks in words" in result["run"]["rule"]
    lines = (tmp_path / "wishes" / "reasons.jsonl").read_text().splitlines()[1:]
    wishes = [json.loads(line)["found"]["answer"]["context"]["wish"] for line in lines]
    assert all(wishes)
    assert len(set(wishes)) > 1
    with pytest.raises(RequestError, match="another run"):
        evaluate_reasons(recommender, tmp_path / "wishes", StudyOptions(k=2))


def test_concurrent_users_get_the_answers_they_get_alone(recommender: Recommender, tmp_path: Path) -> None:
    alone = evaluate_reasons(recommender, tmp_path / "alone", StudyOptions(k=2))
    concurrent = evaluate_reasons(recommender, tmp_path / "together", StudyOptions(k=2, concurrency=3))
    assert concurrent["run"]["concurrency"] == 3
    for name, found in alone["reasons"].items():
        if name not in ("latency_s", "tokens", "cost_ratio"):  # the second run finds a filled cache
            assert concurrent["reasons"][name] == found, name
    with pytest.raises(RequestError, match="concurrency is 0"):
        evaluate_reasons(recommender, tmp_path / "none", StudyOptions(concurrency=0))


def test_planted_cause_agrees_with_ablation_and_a_random_citation_does_not(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.score = likes_casablanca_for_alien
    prepared = recommender.prepare("ann", k=1, n_candidates=8)
    answer = recommender.recommend("ann", k=1, n_candidates=8)
    assert answer[0].item.title == "Casablanca"
    (result,) = run_trials(recommender, prepared, answer, random.Random(0))
    cited, other = result.agreement[0]
    assert cited > 0.5 > other
    assert result.comprehensiveness is not None
    assert result.comprehensiveness_random is not None
    assert result.comprehensiveness > result.comprehensiveness_random
    assert result.sufficiency is not None
    assert result.sufficiency_random is not None
    assert result.sufficiency < result.sufficiency_random
    assert not result.supported  # Alien has no effect on the other candidate

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
        for one in run_trials(recommender, prepared, untrue, random.Random(seed))
        for cited, other in one.agreement
    ]
    assert not all(outcomes)


def test_cited_context_is_compared_with_the_effect_of_leaving_it_out(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    def late(text: str, label: str) -> float:
        """Score Casablanca high on Fridays."""
        shared, _, about = text.partition("Will this person")
        return 2.0 * (label == "Yes" and "Friday" in shared and "Casablanca" in about)

    scripted.score = late
    prepared = recommender.prepare("ann", k=1, n_candidates=8, at="Friday 21:00")
    answer = recommender.recommend("ann", k=1, n_candidates=8, at="Friday 21:00")
    assert answer[0].item.title == "Casablanca"
    (result,) = run_trials(recommender, prepared, answer, random.Random(0))
    assert result.context[0] == (True, True)  # the time; the other is the place

    reason = answer[0].explanation
    assert reason is not None
    silent = tuple(one for one in reason.evidence if one.kind != "context")
    line = answer[0].model_copy(update={"explanation": reason.model_copy(update={"evidence": silent})})
    without_context = answer.model_copy(update={"recommendations": (line,)})
    assert run_trials(recommender, prepared, without_context, random.Random(0))[0].context[0] == (False, True)
    scripted.score = likes_casablanca_for_alien
    prepared = recommender.prepare("ann", k=1, n_candidates=8, at="Friday 21:00")
    assert run_trials(recommender, prepared, answer, random.Random(0))[0].context[0] == (True, False)


def test_ablations_of_the_study_are_in_no_figure_of_cost(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.score = likes_casablanca_for_alien
    record = collect_record(recommender, "ann", {}, StudyOptions(k=1))
    work = record.answer.usage_by_stage
    assert sum(one.prompt_tokens for one in work.values()) == record.answer.usage.prompt_tokens
    sent = sum(len(ids) for call in scripted.calls for ids in call.token_ids)
    assert sent > record.answer.usage.prompt_tokens


def test_interrupted_study_continues(
    recommender: Recommender, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    evaluate_reasons(recommender, tmp_path, StudyOptions(users=2, k=2))
    asked = len(scripted.calls)
    lines = (tmp_path / "reasons.jsonl").read_text().splitlines()
    assert len(lines) == 3
    evaluate_reasons(recommender, tmp_path, StudyOptions(users=2, k=2))
    assert len(scripted.calls) == asked
    result = evaluate_reasons(recommender, tmp_path, StudyOptions(users=3, k=2))
    assert result["run"]["users"] == 3
    assert (tmp_path / "reasons.jsonl").read_text().splitlines()[:3] == lines


def test_folder_of_another_study_needs_overwrite(recommender: Recommender, tmp_path: Path) -> None:
    evaluate_reasons(recommender, tmp_path, StudyOptions(users=2, k=2))
    with pytest.raises(RequestError, match="k") as caught:
        evaluate_reasons(recommender, tmp_path, StudyOptions(users=2, k=1))
    assert "--overwrite" in caught.value.hint
    assert (
        evaluate_reasons(recommender, tmp_path, StudyOptions(users=2, k=1, overwrite=True))["run"]["k"] == 1
    )


def test_degraded_answer_is_an_error(
    recommender: Recommender, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    scripted.fail_in["labels"] = EngineError("busy")
    with pytest.raises(EngineError, match="degraded") as caught:
        evaluate_reasons(recommender, tmp_path, StudyOptions(users=2, k=1))
    assert "repeat the command" in caught.value.hint
    assert len((tmp_path / "reasons.jsonl").read_text().splitlines()) == 1


def test_users_are_sampled_by_the_seed_and_larger_samples_start_with_smaller_ones() -> None:
    people = [f"u{n}" for n in range(50)]
    assert sample_users(people, 5, 0) == sample_users(people, 20, 0)[:5]
    assert sample_users(people, 5, 0) != sample_users(people, 5, 1)
    assert sorted(sample_users(people, None, 0)) == sorted(people)
    with pytest.raises(RequestError, match="0 users"):
        sample_users(people, 0, 0)
    with pytest.raises(RequestError, match="no user"):
        sample_users([], None, 0)


def test_event_context_becomes_request_options() -> None:
    event = Interaction(
        user_id="a", item_id="b", timestamp=0.0, context={"place": "Mill End", "weather": "rain"}
    )
    asked = event_context_options(event)
    assert asked["place"] == "Mill End"
    assert asked["extra"] == {"weather": "rain"}
    assert f"{asked['at']}".startswith("1970-01-01")
    assert event_context_options(None) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reasons", "--last", "2"), "No such option: --last"),
        (("-k", "3"), "No such option: -k"),
    ],
)
def test_options_of_the_other_evaluation_are_refused(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recsys", "evaluate", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
