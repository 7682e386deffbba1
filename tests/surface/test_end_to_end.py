"""The whole path with the real vLLM, the real model and the real data."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.cli.prompt import render_prompt
from recsys.explain.grammar import SLOT
from recsys.explain.phrases import facts_of
from recsys.recommender.recommender import Recommender
from recsys.recommender.scoring import score_line
from recsys.types import Recommendations

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def recommender(movies_data: Path) -> Iterator[Recommender]:
    with Recommender.load("movies", data_dir=movies_data) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def answer(recommender: Recommender) -> Recommendations:
    return recommender.recommend("196", at="Friday 21:00", place="Minneapolis, MN", k=5)


def test_a_user_gets_a_ranked_list_with_true_reasons(answer: Recommendations) -> None:
    assert answer.degraded == ()
    assert answer.strategy == "pointwise"
    assert [line.rank for line in answer] == [1, 2, 3, 4, 5]
    assert [line.score for line in answer] == sorted((line.score for line in answer), reverse=True)
    assert answer.context.weekday == "Friday"
    assert answer.context.place is not None
    assert answer.context.place.city == "Minneapolis"
    for line in answer:
        reason = line.explanation
        assert reason is not None
        assert line.item.title in reason.text
        assert reason.grounded
        assert not SLOT.search(reason.text)
        for evidence in reason.evidence:
            assert evidence.kind == "attribute" or evidence.text in reason.text


def test_cited_films_were_liked_and_cited_facts_are_true(
    recommender: Recommender, answer: Recommendations
) -> None:
    ratings = {event.item_id: event.rating for event in recommender.store.history("movies", "196")}
    for line in answer:
        assert line.explanation is not None
        for evidence in line.explanation.evidence:
            if evidence.kind == "history":
                assert ratings[evidence.item_id or ""] >= 4  # type: ignore[operator]
            if evidence.kind == "attribute":
                assert (evidence.attribute, evidence.text) in facts_of(line.item)


def test_most_reasons_are_written_by_the_model(recommender: Recommender, answer: Recommendations) -> None:
    """Three users, because in a single list the checks may reject three of five."""
    lists = [answer, *(recommender.recommend(user, at="Friday 21:00", k=5) for user in ("22", "405"))]
    sources = [line.explanation.source for result in lists for line in result if line.explanation]
    assert len(sources) == 15
    assert sources.count("llm") >= 9


def test_no_item_of_the_history_is_recommended(recommender: Recommender, answer: Recommendations) -> None:
    seen = {event.item_id for event in recommender.store.history("movies", "196")}
    assert not seen.intersection(line.item.id for line in answer)


def test_scores_are_probabilities_and_prompts_are_shared(recommender: Recommender) -> None:
    answer = recommender.recommend("22", k=20, reasons=False)
    assert math.isclose(sum(line.score for line in answer), 1.0, abs_tol=1e-9)
    assert answer.usage.cached_tokens > answer.usage.prompt_tokens / 2
    assert answer.usage.label_mass is not None
    assert answer.usage.label_mass > 0.05


def test_the_same_request_gets_the_same_list(recommender: Recommender, answer: Recommendations) -> None:
    again = recommender.recommend("196", at="Friday 21:00", place="Minneapolis, MN", k=5)
    assert {line.item.id for line in again} == {line.item.id for line in answer}


@pytest.mark.parametrize("strategy", ["listwise", "generated"])
def test_other_strategies_rank_too(strategy: str, recommender: Recommender) -> None:
    answer = recommender.recommend("196", strategy=strategy, reasons=False)
    assert len(answer) == 5
    assert answer.parse is not None
    assert answer.parse.category in ("ok", "duplicate", "missing")


def test_anybody_can_be_described_by_titles_and_a_wish(recommender: Recommender) -> None:
    answer = recommender.recommend(
        liked=["Fargo", "Star Wars"], wish="an animated film for the children", k=5
    )
    assert answer.degraded == ()
    assert answer.user is None
    assert not {"Fargo", "Star Wars"}.intersection(line.item.title for line in answer)
    asked = [line.explanation for line in answer if line.explanation and "asked" in line.explanation.text]
    assert any(entry.kind == "wish" for reason in asked for entry in reason.evidence)


def test_score_line_scores_candidates_and_reports_a_bad_line(recommender: Recommender) -> None:
    scored = score_line(recommender, '{"history": ["Fargo"], "candidates": ["Heat", {"title": "A new one"}]}')
    assert math.isclose(sum(entry["probability"] for entry in scored["scores"]), 1.0)
    assert [entry["title"] for entry in scored["scores"]] == ["Heat", "A new one"]
    assert scored["report"]["category"] == "ok"
    assert score_line(recommender, "{")["error"]["type"] == "RequestError"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rank/pointwise", "parse: ok"), ("rank/generated", "["), ("explain/reason", "llm: ")],
)
def test_prompt_render_shows_what_the_model_answered(
    name: str,
    expected: str,
    recommender: Recommender,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Reasons have no parse of a ranking; printing them used to raise."""
    monkeypatch.setattr(Recommender, "load", lambda *_, **__: recommender)
    monkeypatch.setattr(Recommender, "close", lambda _: None)
    render_prompt(name=name, user="196", n_candidates=3, run=True)
    printed = capsys.readouterr().out
    assert expected in printed.split("answer", 1)[1]


def test_an_engine_that_dies_is_replaced_by_the_next_request(recommender: Recommender) -> None:
    import multiprocessing

    recommender.engine()
    for process in multiprocessing.active_children():
        process.kill()
    degraded = recommender.recommend("196", k=3)
    assert len(degraded) == 3
    assert "died" in degraded.degraded[0]
    assert degraded.strategy == "retriever"
    assert recommender.recommend("196", k=3).degraded == ()


def test_stdout_holds_only_json(movies_environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "recsys.cli",
        "recommend",
        "--user",
        "196",
        "--at",
        "Friday 21:00",
        "-k",
        "2",
        "--json",
    ]
    completed = subprocess.run(
        command, env=movies_environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    answer = json.loads(completed.stdout)
    assert set(answer) >= {
        "recommendations",
        "context",
        "model",
        "timings",
        "degraded",
        "prompt",
        "usage",
        "parse",
    }
    line = answer["recommendations"][0]
    assert {"item", "rank", "score", "log_odds", "retriever_score", "explanation"} <= set(line)
    assert {"text", "source", "grounded", "evidence"} <= set(line["explanation"])
    assert answer["model"]["model"]
    assert answer["prompt"]["hash"]
