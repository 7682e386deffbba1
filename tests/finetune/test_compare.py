"""What a fine-tuned model is worth against the one before it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from finetune.compare import ModelScores, compare, fit_fusion
from finetune.ranked_lists import ValidationList, evaluate_lists, ndcg


def cases(
    targets: list[int], scores: list[list[float]], *, name: str = "hard", users: list[str] | None = None
) -> ValidationList:
    packed: Any = tuple(range(len(targets)))  # only counted, never read
    people = tuple(users or [f"u{number}" for number in range(len(targets))])
    mean = math.fsum(ndcg(row, target) for row, target in zip(scores, targets, strict=True)) / len(targets)
    return ValidationList(name, packed, tuple(targets), people, tuple(map(tuple, scores)), mean)


def test_ndcg_of_one_right_answer() -> None:
    assert ndcg([3.0, 2.0, 1.0], 0) == 1
    assert ndcg([3.0, 2.0, 1.0], 1) == pytest.approx(1 / math.log2(3))
    assert ndcg([1.0, 1.0], 0) == pytest.approx(1 / math.log2(2.5))  # a tie: rank 1.5
    assert ndcg([float(n) for n in range(11)], 1) == pytest.approx(1 / math.log2(11))
    assert ndcg([float(n) for n in range(11)], 0) == 0


def test_scores_that_are_nan_have_no_ndcg() -> None:
    assert ndcg([math.nan, math.nan], 0) == 0
    assert ndcg([1.0, math.nan], 0) == 0
    hard = cases([0, 0], [[1.0, 2.0]] * 2)
    assert evaluate_lists([hard], lambda _packed: [math.nan, math.nan])["score"] == 0


def test_both_are_compared_case_by_case() -> None:
    hard = cases([0, 1, 0, 1], [[1.0, 0.0]] * 4)
    right, wrong = ([[1.0, 0.0], [0.0, 1.0]] * 2, [[0.0, 1.0], [1.0, 0.0]] * 2)
    figures = compare([hard], ModelScores({"hard": right}), ModelScores({"hard": wrong}))
    second = round(1 / math.log2(3), 4)
    assert figures["metrics"]["ndcg@10"] == {"value": 1, "low": 1, "high": 1, "n": 4}
    assert figures["base_metrics"]["ndcg@10 hard"]["value"] == second
    assert figures["paired"]["ndcg@10"]["low"] == pytest.approx(1 - second, abs=1e-4)
    same = compare([hard], ModelScores({"hard": right}), ModelScores({"hard": right}))["paired"]["ndcg@10"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)


def test_many_cases_of_one_user_do_not_narrow_the_interval() -> None:
    targets, odds = [0] * 12, [[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 4
    before = ModelScores({"hard": [[1.0, 1.0]] * 12})

    def width(users: list[str]) -> float:
        hard = cases(targets, odds, users=users)
        paired = compare([hard], ModelScores({"hard": odds}), before)["paired"]["ndcg@10"]
        return paired["high"] - paired["low"]

    assert width([f"u{number // 4}" for number in range(12)]) > 1.3 * width([f"u{n}" for n in range(12)])


def test_a_fusion_weighs_what_helps() -> None:
    targets = [n % 3 for n in range(30)]
    good = [[2.0 if index == target else 0.0 for index in range(3)] for target in targets]
    noise = [[float((7 * n + 5 * index) % 4) for index in range(3)] for n in range(30)]
    half = [[a / 4 + b for a, b in zip(*rows, strict=True)] for rows in zip(good, noise, strict=True)]
    fused = fit_fusion(cases(targets, half), ModelScores({"hard": good}))
    assert fused["ndcg@10"] == 1
    assert fused["retriever"] < 1
    assert fused["weight"] < 0.1
    useless = fit_fusion(
        cases(targets, good), ModelScores({"hard": [[-odds for odds in row] for row in good]})
    )
    assert useless["ndcg@10"] == useless["retriever"] == 1
    assert "weight" not in useless
    assert "Infinity" not in json.dumps(useless)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_cases_are_no_reason_to_fail(n: int) -> None:
    hard = cases([0] * n, [[1.0, 0.0]] * n)
    scored = ModelScores({"hard": [[1.0, 0.0]] * n})
    assert bool(fit_fusion(hard, scored)) == (n > 1)
    assert compare([hard], scored, scored)["metrics"]["ndcg@10"]["n"] == n
