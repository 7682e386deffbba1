"""Every measure of reasons drops when a fault is planted in good answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import DataError, RequestError
from recsys.evaluation.explanations.measures import ReasonRow, Record, TrialResult, measures, rows_of
from recsys.evaluation.explanations.references import read_references, reference_shares
from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth
from recsys.evaluation.results.meanings import MEANINGS
from recsys.types import Context, Evidence, Explanation, Interaction, Recommendation, Recommendations, Usage
from retrieval.arrays import FloatArray
from tests.evaluation.test_statements import judge_of
from tests.fakes import film

GENRES = ("Comedy", "Crime", "Drama", "War")
FILMS = {
    item.id: item
    for item in (
        *(film(f"seen{n}", f"Seen {'abcdefgh'[n]}", GENRES[n % 4]) for n in range(8)),
        *(film(f"new{n}", f"New {'abcdefgh'[n]}", GENRES[n % 4]) for n in range(8)),
    )
}
USERS = [f"u{n}" for n in range(8)]
GOOD = TrialResult(
    agreement=((0.5, 0.1),),
    comprehensiveness=0.3,
    comprehensiveness_random=0.0,
    sufficiency=0.1,
    sufficiency_random=0.4,
    swapped="new1",
    supported=True,
)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Return a judge of users who each liked two films."""
    events = [
        Interaction(user_id=user, item_id=f"seen{(n + step) % 8}", rating=5.0)
        for n, user in enumerate(USERS)
        for step in (0, 4)
    ]
    return judge_of(GroundTruth(FILMS.values(), events, feedback()))


def feedback() -> Any:
    from recsys.config import Feedback

    return Feedback(liked_at_least=4, disliked_at_most=2)


def reason(number: int, **changed: Any) -> Explanation:
    """Return a true reason for film `number`, by a genre that the user liked."""
    liked, genre = FILMS[f"seen{number}"], GENRES[number % 4]
    found: dict[str, Any] = {
        "text": f"You liked {liked.title}, and {FILMS[f'new{number}'].title} has {genre} too.",
        "source": "llm",
        "grounded": True,
        "evidence": (
            Evidence(id="h1", kind="history", text=liked.title, item_id=liked.id),
            Evidence(id="a1", kind="attribute", text=genre),
        ),
    }
    return Explanation(**found | changed)


def record(
    number: int, trial: TrialResult = GOOD, usage: dict[str, Usage] | None = None, **changed: Any
) -> Record:
    line = Recommendation(
        item=FILMS[f"new{number}"], rank=1, score=0.5, explanation=reason(number, **changed)
    )
    answer = Recommendations(
        domain="films",
        user=USERS[number],
        recommendations=(line,),
        context=Context(),
        model=None,
        strategy="pointwise",
        timings={"rank": 1.0, "evidence": 0.2, "reasons": 0.3},
        usage_by_stage=usage
        or {
            "rank": Usage(prompt_tokens=100, cached_tokens=60, generated_tokens=10),
            "evidence": Usage(prompt_tokens=200, cached_tokens=150, generated_tokens=10),
            "reasons": Usage(prompt_tokens=50, cached_tokens=40, generated_tokens=30),
        },
    )
    return Record(answer=answer, trials=(trial,))


def measured(
    judge: Judge | None, *changed: Record, truth: GroundTruth | None = None
) -> dict[str, dict[str, float]]:
    """Measure good answers of all users, with `changed` in place of the first."""
    records = [*changed, *(record(number) for number in range(len(changed), 8))]
    truth = truth or (judge.truth if judge else GroundTruth((), ()))
    return measures(rows_of(records, truth), truth, judge)


def value(judge: Judge | None, name: str, *changed: Record) -> float:
    return measured(judge, *changed)[name]["value"]


def test_context_cited_without_effect_or_omitted_despite_one_counts(judge: Judge) -> None:
    right = GOOD.model_copy(update={"context": ((True, True), (False, False))})
    idle = GOOD.model_copy(update={"context": ((True, False),)})
    silent = GOOD.model_copy(update={"context": ((False, True),)})
    assert "context_precision" not in measured(judge)  # no trial has a context
    records = [record(0, right), record(1, right), record(2, right), record(3, idle)]
    assert value(judge, "context_precision", *records) == 0.75
    assert value(judge, "context_recall", *records) == 1
    assert value(judge, "context_recall", *records, record(4, silent)) == 0.75


def test_good_answers_get_the_best_figures_and_intervals(judge: Judge) -> None:
    found = measured(judge)
    best = {
        "statement_precision": 1.0,
        "evidence_validity": 1.0,
        "ablation_agreement": 1.0,
        "usr": 1.0,
        "comprehensiveness": 0.3,
        "comprehensiveness_random": 0.0,
        "sufficiency": 0.1,
        "sufficiency_random": 0.4,
        "template_share": 0.0,
        "check_failures": 0.0,
        "fmr": 1.0,
        "fcr": 1.0,
        "latency_s": 0.5,
        "tokens": 100.0,
        "cost_ratio": 2.0,
    }
    assert {name: found[name]["value"] for name in best} == pytest.approx(best)
    assert {name.partition(":")[0] for name in found} <= set(MEANINGS)
    for name, one in found.items():
        assert one["low"] <= one["value"] + 1e-9, name
        assert one["n"] == 8


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("statement_precision", {"text": "You liked Seen a, and New a has War too."}),
        ("statement_precision", {"text": "You liked Seen b, and New a is here."}),
        (
            "evidence_validity",
            {"evidence": (Evidence(id="h1", kind="history", text="Seen b", item_id="seen1"),)},
        ),
        ("fmr", {"text": "You liked Seen a, and New a may suit you."}),
    ],
)
def test_untrue_or_empty_reasons_cost(judge: Judge, name: str, changed: dict[str, Any]) -> None:
    assert value(judge, name, record(0, **changed)) < 1


def test_false_statements_are_counted_by_kind(judge: Judge) -> None:
    found = measured(judge, record(0, text="You liked Seen a, and New a has War too."))
    assert found["statement_precision:false attribute"]["value"] == pytest.approx(1 / 24)
    assert found["statement_precision:false link"]["value"] == pytest.approx(1 / 24)
    assert found["statement_precision"]["value"] == pytest.approx(22 / 24)


def test_random_citations_lower_agreement(judge: Judge) -> None:
    weak = GOOD.model_copy(update={"agreement": ((0.1, 0.5), (0.1, 0.1))})
    assert value(judge, "ablation_agreement", record(0, weak)) == pytest.approx(7 / 9)


def test_reasons_that_cite_no_history_are_left_out_of_ablation_measures(judge: Judge) -> None:
    found = measured(judge, record(0, TrialResult()))
    assert found["ablation_agreement"]["n"] == found["comprehensiveness"]["n"] == 7
    assert found["sufficiency"]["value"] == pytest.approx(0.1)


def test_repeated_sentences_lower_usr_and_distinct(judge: Judge) -> None:
    same = [record(n, text=reason(0).text) for n in range(4)]
    found = measured(judge, *same)
    assert found["usr"]["value"] == pytest.approx(5 / 8)
    assert found["distinct_1"]["value"] < value(judge, "distinct_1")
    assert found["distinct_2"]["value"] < value(judge, "distinct_2")


def test_distinct_counts_words_and_pairs(judge: Judge) -> None:
    found = measures(
        rows_of([record(0, text="one two one."), record(1, text="One two.")], judge.truth), judge.truth, None
    )
    assert found["distinct_1"]["value"] == pytest.approx(2 / 5)
    assert found["distinct_2"]["value"] == pytest.approx(2 / 3)


def test_naming_only_one_genre_lowers_coverage_and_raises_overlap(judge: Judge) -> None:
    same = [record(n, text="It has Comedy.") for n in range(8)]
    good, poor = measured(judge), measured(judge, *same)
    assert (good["fcr"]["value"], poor["fcr"]["value"]) == (1.0, 0.25)
    # Of 28 pairs of good reasons 4 are of one genre.
    assert good["div"]["value"] == pytest.approx(4 / 28)
    assert poor["div"]["value"] == 1.0


def test_template_sentences_and_failed_checks_are_counted(judge: Judge) -> None:
    found = measured(judge, record(0, source="template", failures=("uncited_claim", "uncited_claim")))
    assert found["template_share"]["value"] == pytest.approx(1 / 8)
    assert found["check_failures"]["value"] == pytest.approx(1 / 8)
    assert found["check_failures:uncited_claim"]["value"] == pytest.approx(1 / 8)


def test_reason_that_fits_another_candidate_is_not_specific(judge: Judge) -> None:
    assert value(judge, "swap_specificity") == pytest.approx(
        6 / 8
    )  # New b is a crime film, as new1 and new5 are
    alike = GOOD.model_copy(update={"swapped": "new4"})
    assert value(judge, "swap_specificity", record(0, alike)) == pytest.approx(5 / 8)
    unsupported = alike.model_copy(update={"supported": False})
    assert value(judge, "swap_specificity", record(0, unsupported)) == pytest.approx(6 / 8)
    nobody = GOOD.model_copy(update={"swapped": None})
    assert measured(judge, record(0, nobody))["swap_specificity"]["n"] == 7


def test_cost_of_evidence_and_reasons_is_relative_to_ranking(judge: Judge) -> None:
    expensive = {"rank": Usage(prompt_tokens=50), "evidence": Usage(prompt_tokens=500), "reasons": Usage()}
    found = measured(judge, record(0, usage=expensive))
    assert found["cost_ratio"]["value"] == pytest.approx(1200 / 400)
    assert found["tokens"]["value"] == pytest.approx(1200 / 8)


def test_several_reasons_of_an_answer_share_its_work(judge: Judge) -> None:
    one = record(0)
    twice = one.answer.model_copy(update={"recommendations": one.answer.recommendations * 2})
    found = measures(rows_of([Record(answer=twice, trials=(GOOD, GOOD))], judge.truth), judge.truth, judge)
    assert found["latency_s"]["value"] == pytest.approx(0.25)
    assert found["cost_ratio"]["value"] == pytest.approx(2.0)


def test_without_a_judge_or_reasons_measures_are_left_out(judge: Judge) -> None:
    assert "statement_precision" not in measured(None, truth=judge.truth)
    assert measures([], judge.truth, judge) == {}
    bare = record(0).answer.recommendations[0].model_copy(update={"explanation": None})
    answer = record(0).answer.model_copy(update={"recommendations": (bare,)})
    rows: list[ReasonRow] = rows_of([Record(answer=answer, trials=(TrialResult(),))], judge.truth)
    assert rows == []


class WordCounts:
    """An embedder that counts words."""

    name = "words"
    dimension = 64

    def embed(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in set(text.split()):
                vectors[row, sum(word.encode()) % self.dimension] = 1
        return np.asarray(
            vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1), dtype=np.float32
        )


def test_reasons_are_closer_to_references_than_to_shuffled_ones(judge: Judge, tmp_path: Path) -> None:
    lines = [
        {"item": f"new{n}", "text": f"{FILMS[f'new{n}'].title} has {GENRES[n % 4]} too."} for n in range(7)
    ]
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = rows_of([record(n) for n in range(8)], judge.truth)
    shares = reference_shares(rows, read_references(path), WordCounts(), 0)
    found = measures(rows, judge.truth, judge, further=shares)
    assert found["reference_similarity"]["n"] == 7  # the eighth has no reference
    assert found["reference_similarity"]["value"] > found["reference_similarity_shuffled"]["value"] + 0.1
    mixed = {line["item"]: [lines[(n + 1) % 7]["text"]] for n, line in enumerate(lines)}
    poor = measures(rows, judge.truth, judge, further=reference_shares(rows, mixed, WordCounts(), 0))
    assert poor["reference_similarity"]["value"] < found["reference_similarity"]["value"] - 0.1
    assert reference_shares(rows, {"new0": ["one"]}, WordCounts(), 0) == {}


@pytest.mark.parametrize(
    "line", ["", "[]", '{"item": "new0"}', '{"item": 1, "text": "x"}', '{"item": "a", "text": " "}']
)
def test_invalid_reference_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"item": "new0", "text": "good"}\n' + line + "\n")
    with pytest.raises(DataError, match="row 2"):
        read_references(path)
    with pytest.raises(RequestError, match="none"):
        read_references(tmp_path / "none.jsonl")
