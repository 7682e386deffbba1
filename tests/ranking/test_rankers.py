"""Every strategy keeps the ranker's promises, and each its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ModelError, RequestError
from recsys.prompting import PromptLibrary
from recsys.ranking import STRATEGIES, RankerParts, RankRequest, make_ranker
from recsys.ranking.base import softmax
from tests.contracts import RankerContract, rank_request
from tests.fakes import FakeTokenizer, ScriptedEngine


def ranker(strategy: str, engine: ScriptedEngine, max_tokens: int = 1536) -> Any:
    return make_ranker(strategy, RankerParts(engine, PromptLibrary(), "film", "films", max_tokens))


def reordered(request: RankRequest) -> RankRequest:
    return RankRequest(request.candidates[::-1], request.history, request.context, request.profile)


class TestPointwise(RankerContract):
    strategy = "pointwise"

    def test_order_of_the_candidates_does_not_matter(self) -> None:
        request = rank_request()
        there = ranker("pointwise", ScriptedEngine()).rank(request)
        back = ranker("pointwise", ScriptedEngine()).rank(reordered(request))
        assert there.log_odds == back.log_odds[::-1]
        assert there.scores == pytest.approx(back.scores[::-1])

    def test_identical_candidates_score_alike_and_keep_the_retrievers_order(self) -> None:
        request = rank_request(1)
        twins = RankRequest(request.candidates * 3, request.history, request.context, request.profile)
        ranking = ranker("pointwise", ScriptedEngine()).rank(twins)
        assert len(set(ranking.scores)) == 1
        assert ranking.order() == [0, 1, 2]

    def test_first_prompt_goes_alone_and_warms_the_prefix_for_the_rest(self) -> None:
        engine = ScriptedEngine()
        ranking = ranker("pointwise", engine).rank(rank_request(5))
        assert [len(call.texts) for call in engine.calls] == [1, 4]
        shared = len(ranking.prompt.head_ids) // 16 * 16
        assert ranking.usage.cached_tokens >= 4 * shared > 0

    def test_log_odds_are_yes_less_no_in_nats(self) -> None:
        engine = ScriptedEngine(
            score=lambda text, label: 3.0 if label == "Yes" and "Choice 2" in text else 1.0
        )
        ranking = ranker("pointwise", engine).rank(rank_request(3))
        assert engine.calls[0].labels == ("Yes", "No")
        assert ranking.log_odds == pytest.approx((0, 0, 2))
        assert ranking.order() == [2, 0, 1]
        assert ranking.scores[2] == pytest.approx(math.exp(2) / (math.exp(2) + 2))
        assert ranking.usage.label_mass == pytest.approx(0.9)


class TestListwise(RankerContract):
    strategy = "listwise"

    def test_more_candidates_than_letters_are_refused_before_the_engine_is_asked(self) -> None:
        engine = ScriptedEngine()
        with pytest.raises(RequestError, match="at most 26") as caught:
            ranker("listwise", engine).rank(rank_request(27))
        assert "pointwise" in caught.value.hint
        assert not engine.calls

    def test_letters_stand_for_the_candidates_in_order(self) -> None:
        engine = ScriptedEngine(score=lambda _, label: 2.0 if label == "C" else 0.0)
        ranking = ranker("listwise", engine).rank(rank_request(4))
        assert engine.calls[0].labels == ("A", "B", "C", "D")
        assert "C. Choice 2 (1942)" in engine.prompts[0]
        assert ranking.order() == [2, 0, 1, 3]
        assert len(engine.calls) == 1

    def test_log_odds_belong_to_the_scores(self) -> None:
        ranking = ranker("listwise", ScriptedEngine()).rank(rank_request(4))
        for score, log_odds in zip(ranking.scores, ranking.log_odds, strict=True):
            assert log_odds is not None
            assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(score)

    def test_a_letter_that_cannot_come_scores_zero(self) -> None:
        engine = ScriptedEngine(score=lambda _, label: -math.inf if label == "B" else 0.0)
        ranking = ranker("listwise", engine).rank(rank_request(3))
        assert ranking.scores == pytest.approx((0.5, 0, 0.5))
        assert all(log_odds is not None and math.isfinite(log_odds) for log_odds in ranking.log_odds)


class TestGenerated(RankerContract):
    strategy = "generated"

    def written(self, text: str, n: int = 3, **options: Any) -> Any:
        return ranker("generated", ScriptedEngine(write=lambda *_: text, **options)).rank(rank_request(n))

    def test_written_order_is_the_ranking(self) -> None:
        ranking = self.written("[3, 1, 2]")
        assert ranking.order() == [2, 0, 1]
        assert ranking.scores == pytest.approx((3 / 11, 2 / 11, 6 / 11))
        assert ranking.log_odds == (None, None, None)
        assert ranking.report.category == "ok"
        assert ranking.raw == ("[3, 1, 2]",)

    @pytest.mark.parametrize("text", ["", "I'm sorry, I cannot do that.", "no idea", "[" * 2000])
    def test_unusable_text_keeps_the_retrievers_order_and_says_so(self, text: str) -> None:
        ranking = self.written(text)
        assert ranking.order() == [0, 1, 2]
        assert ranking.report.category not in ("ok", "repaired")

    def test_cut_off_text_is_reported(self) -> None:
        ranking = self.written("[2, 3", truncates=True)
        assert ranking.order() == [1, 2, 0]
        assert ranking.report.category == "truncated"

    def test_schema_asks_for_each_number(self) -> None:
        schemas: list[Mapping[str, Any] | None] = []

        def write(_: str, schema: Mapping[str, Any] | None) -> str:
            schemas.append(schema)
            return "[1, 2, 3]"

        ranker("generated", ScriptedEngine(write=write)).rank(rank_request(3))
        assert schemas == [{"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "maxItems": 3}]

    def test_room_is_left_for_the_whole_answer(self) -> None:
        engine = ScriptedEngine(write=lambda *_: json.dumps(list(range(1, 27))))
        ranking = ranker("generated", engine, 4096).rank(rank_request(26))
        assert ranking.prompt.tokens + engine.calls[0].max_tokens <= engine.max_model_len
        assert engine.calls[0].max_tokens >= len(engine.tokenizer.encode(json.dumps(list(range(1, 27))))) - 26


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_prompt_never_outgrows_the_window_of_the_model(strategy: str) -> None:
    """The budget of the domain may be larger than what the model can read."""
    request = rank_request(4)
    long = RankRequest(request.candidates, request.history * 40, request.context, request.profile)
    engine = ScriptedEngine(max_model_len=400)
    ranking = ranker(strategy, engine, max_tokens=10_000).rank(long)
    assert ranking.prompt.tokens + engine.calls[0].max_tokens <= 400
    assert ranking.prompt.dropped > 0


@pytest.mark.parametrize("strategy", ["pointwise", "listwise"])
def test_label_of_several_tokens_is_a_fault_of_the_model(strategy: str) -> None:
    class Letters(FakeTokenizer):
        def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
            return [token for sign in text for token in super(Letters, self).encode(sign)] * 2

    with pytest.raises(ModelError, match="tokens for this model"):
        ranker(strategy, ScriptedEngine(tokenizer=Letters())).rank(rank_request(2))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0], (1.0,)),
        ([-math.inf], (1.0,)),
        ([-math.inf, -math.inf], (0.5, 0.5)),
        ([-math.inf, 2.0], (0.0, 1.0)),
        ([1000.0, 1000.0], (0.5, 0.5)),
        ([-1e6, 0.0], (0.0, 1.0)),
    ],
)
def test_softmax_of_extremes(values: list[float], expected: tuple[float, ...]) -> None:
    assert softmax(values) == pytest.approx(expected)


@given(st.lists(st.floats(-700, 700) | st.just(-math.inf), min_size=1, max_size=30))
def test_softmax_sums_to_one_and_keeps_the_order(values: list[float]) -> None:
    scores = softmax(values)
    assert math.fsum(scores) == pytest.approx(1)
    ranked = sorted(range(len(values)), key=lambda n: (values[n], n))
    assert all(scores[a] <= scores[b] for a, b in pairwise(ranked))


def test_the_retrievers_score_counts_by_its_weight_and_log_odds_stay_the_models_own() -> None:
    engine = ScriptedEngine()
    request = rank_request(4)
    alone = ranker("pointwise", engine).rank(request)
    parts = RankerParts(
        engine, PromptLibrary(), "film", "films", 1536, model_weight=0.5, retriever_weight=2.0
    )
    fused = make_ranker("pointwise", parts).rank(request)
    assert fused.log_odds == alone.log_odds
    expected = softmax(
        [
            0.5 * (odds or 0.0) + 2.0 * one.score
            for odds, one in zip(alone.log_odds, request.candidates, strict=True)
        ]
    )
    assert fused.scores == pytest.approx(expected)
