"""The model's weight is fitted on events, and has to prove a gain."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.ranking import RETRIEVER_LEADS
from recsys.ranking.score_fit import LEAST_CASES, ScoredCase, fit_kind


def cases(model: float, retriever: float, n: int = 200, level: bool = False) -> list[ScoredCase]:
    """Choices among ten candidates, drawn from a logit with these weights."""
    random = np.random.default_rng(1)
    drawn = []
    for number in range(n):
        features = random.normal(size=(10, 2))
        utility = features @ np.array([model, retriever]) + random.gumbel(size=10)
        levels = (0,) * 5 + (1,) * 5 if level else ()
        target = int(utility[:5].argmax() if level else utility.argmax())
        drawn.append(ScoredCase(f"u{number // 2}", features, target, levels))
    return drawn


def test_a_model_that_knows_more_gets_its_weight() -> None:
    fit = fit_kind(cases(1.5, 1.0))
    assert fit is not None
    assert fit.weights.model == pytest.approx(1.5, abs=0.4)
    assert fit.weights.retriever == pytest.approx(1.0, abs=0.3)
    assert fit.model_weight.low < fit.model_weight.value < fit.model_weight.high
    assert fit.gain.low > 0
    assert fit.ndcg.low > 0


def test_a_model_that_knows_nothing_gets_none() -> None:
    fit = fit_kind(cases(0.0, 1.0))
    assert fit is not None
    assert fit.weights == RETRIEVER_LEADS
    assert fit.gain.low <= 0


def test_a_gain_that_may_be_chance_is_no_gain() -> None:
    """Forty cases of a model that helps a little."""
    fit = fit_kind(cases(0.2, 1.0, LEAST_CASES))
    assert fit is not None
    assert fit.weights == RETRIEVER_LEADS


def test_few_cases_have_no_weights_of_their_own() -> None:
    assert fit_kind(cases(1.5, 1.0, LEAST_CASES - 2)) is None
    assert fit_kind([]) is None


def test_events_that_are_not_found_count_as_no_difference() -> None:
    found = cases(1.5, 1.0)
    missed = [ScoredCase(f"m{number}", np.zeros((0, 2)), None) for number in range(len(found))]
    alone, with_missed = fit_kind(found), fit_kind([*found, *missed])
    assert alone is not None
    assert with_missed is not None
    assert with_missed.weights == alone.weights
    assert with_missed.ndcg.value == pytest.approx(alone.ndcg.value / 2, abs=1e-3)
    assert (with_missed.cases, with_missed.asked) == (200, 400)


def test_what_a_wish_prefers_is_not_ordered_by_the_score() -> None:
    """Of ten candidates the first five are what was asked for."""
    fit = fit_kind(cases(1.5, 1.0, level=True))
    assert fit is not None
    assert fit.weights.model == pytest.approx(1.5, abs=0.4)
    case = ScoredCase("u", np.array([[0.0, -5.0], [0.0, 5.0]]), 0, (0, 1))
    assert case.ndcg(np.array([1.0, 1.0])) == 1
