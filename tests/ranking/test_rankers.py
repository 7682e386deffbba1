"""Every strategy fulfils the ranker contract and its own properties."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import load_domain
from recsys.config.ranking import Weights
from recsys.errors import ModelError, RequestError
from recsys.prompting.library import PromptLibrary
from recsys.ranking import STRATEGIES, RankerParts, RankRequest, make_ranker
from recsys.ranking.base import rank_variables, softmax
from recsys.ranking.listwise import render_listwise
from tests.contracts import RankerContract, rank_request
from tests.fakes import DOMAIN, FakeTokenizer, ScriptedEngine, candidate, film, write_films


def ranker(strategy: str, engine: ScriptedEngine, max_tokens: int = 1536, **options: Any) -> Any:
    return make_ranker(strategy, RankerParts(engine, PromptLibrary(), "film", "films", max_tokens, **options))


def reversed_candidates(request: RankRequest) -> RankRequest:
    return RankRequest(request.candidates[::-1], request.history, request.context, request.profile)


class TestPointwise(RankerContract):
    strategy = "pointwise"

    def test_order_of_the_candidates_does_not_matter(self) -> None:
        request = rank_request()
        forward = ranker("pointwise", ScriptedEngine()).rank(request)
        backward = ranker("pointwise", ScriptedEngine()).rank(reversed_candidates(request))
        assert forward.log_odds == backward.log_odds[::-1]
        assert forward.scores == pytest.approx(backward.scores[::-1])

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

    def test_exact_scores_each_request_by_itself_in_the_order_of_ids(self) -> None:
        engine, request = ScriptedEngine(), rank_request(5)
        exact = ranker("pointwise", engine, exact=True)
        forward, backward = exact.rank_many([request, reversed_candidates(request)])
        assert forward.log_odds == backward.log_odds[::-1]
        assert forward.scores == backward.scores[::-1]
        first, second = engine.calls
        assert first.exact
        assert first.token_ids == second.token_ids
        by_id = sorted(range(5), key=lambda position: request.items[position].id)
        assert first.token_ids == tuple(tuple(forward.prompt.token_ids[position]) for position in by_id)

    def test_ranking_is_not_exact_by_default(self) -> None:
        engine = ScriptedEngine()
        ranker("pointwise", engine).rank(rank_request(3))
        assert not any(call.exact for call in engine.calls)

    def test_isotonic_points_calibrate_the_scores(self) -> None:
        plain = ranker("pointwise", ScriptedEngine()).rank(rank_request(4))
        calibrated = ranker("pointwise", ScriptedEngine(), isotonic=((0.5, 0.1),)).rank(rank_request(4))
        assert calibrated.log_odds == plain.log_odds
        assert calibrated.order() == plain.order()
        for before, after in zip(plain.scores, calibrated.scores, strict=True):
            assert after == pytest.approx(before / 5 if before <= 0.5 else 0.1 + (before - 0.5) * 1.8)

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

    def test_one_prompt_refuses_more_candidates_than_letters(self) -> None:
        with pytest.raises(RequestError, match="at most 26"):
            render_listwise(PromptLibrary(), FakeTokenizer(), rank_request(27), "film", "films", 4000)

    def test_more_candidates_than_letters_are_scored_in_windows_at_once(self) -> None:
        engine = ScriptedEngine()
        ranking = ranker("listwise", engine).rank(rank_request(50))
        assert [len(call.texts) for call in engine.calls] == [1, 2]
        assert {len(call.labels) for call in engine.calls} == {20}
        assert ranking.usage.cached_tokens > 0

    def test_windows_give_the_order_that_one_prompt_would(self) -> None:
        """The model prefers each choice by a fixed strength: 37 is best anywhere."""

        def strength(text: str, label: str) -> float:
            choice = re.search(rf"^{label}\. Choice (\d+)", text, re.MULTILINE)
            return int(choice[1]) * 7 % 64 / 10 if choice else -10.0

        ranking = ranker("listwise", ScriptedEngine(score=strength)).rank(rank_request(64))
        assert [n * 7 % 64 for n in ranking.order()] == list(range(64))[::-1]

    def test_sliding_windows_carry_the_best_to_the_front(self) -> None:
        def strength(text: str, label: str) -> float:
            choice = re.search(rf"^{label}\. Choice (\d+)", text, re.MULTILINE)
            return int(choice[1]) / 10 if choice else -10.0

        engine = ScriptedEngine(score=strength)
        ranking = ranker("listwise", engine, windows="sliding", window=20).rank(rank_request(50))
        assert ranking.order()[:10] == list(range(49, 39, -1))
        assert ranking.log_odds == (None,) * 50
        assert [len(call.texts) for call in engine.calls] == [1] * 4
        assert ranking.usage.prompt_tokens == sum(len(ids) for call in engine.calls for ids in call.token_ids)
        assert list(engine.calls[0].token_ids[0]) == ranking.prompt.token_ids[0]

    def test_two_orders_cancel_a_bias_for_the_first_letters(self) -> None:
        engine = ScriptedEngine(score=lambda _, label: -float(ord(label)))
        once = ranker("listwise", engine).rank(rank_request(5))
        twice = ranker("listwise", engine, permutations=2).rank(rank_request(5))
        assert once.scores[0] > 0.5
        assert twice.scores == pytest.approx([0.2] * 5)
        assert len(twice.prompt.texts) == 2

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

    def test_an_impossible_letter_scores_zero(self) -> None:
        engine = ScriptedEngine(score=lambda _, label: -math.inf if label == "B" else 0.0)
        ranking = ranker("listwise", engine).rank(rank_request(3))
        assert ranking.scores == pytest.approx((0.5, 0, 0.5))
        assert all(log_odds is not None and math.isfinite(log_odds) for log_odds in ranking.log_odds)


class TestGenerated(RankerContract):
    strategy = "generated"

    def rank_output(self, text: str, n: int = 3, **options: Any) -> Any:
        return ranker("generated", ScriptedEngine(write=lambda *_: text, **options)).rank(rank_request(n))

    def test_generated_order_is_the_ranking(self) -> None:
        ranking = self.rank_output("[3, 1, 2]")
        assert ranking.order() == [2, 0, 1]
        assert ranking.scores == pytest.approx((3 / 11, 2 / 11, 6 / 11))
        assert ranking.log_odds == (None, None, None)
        assert ranking.report.category == "ok"
        assert ranking.raw == ("[3, 1, 2]",)

    @pytest.mark.parametrize("text", ["", "I'm sorry, I cannot do that.", "no idea", "[" * 2000])
    def test_unusable_text_keeps_the_retrievers_order_and_says_so(self, text: str) -> None:
        ranking = self.rank_output(text)
        assert ranking.order() == [0, 1, 2]
        assert ranking.report.category not in ("ok", "repaired")

    def test_cut_off_text_is_reported(self) -> None:
        ranking = self.rank_output("[2, 3", truncates=True)
        assert ranking.order() == [1, 2, 0]
        assert ranking.report.category == "truncated"

    def test_schema_lists_the_numbers(self) -> None:
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


class TestScoredList(RankerContract):
    strategy = "generated-scores"

    def rank_output(self, value: object) -> Any:
        engine = ScriptedEngine(write=lambda *_: json.dumps(value))
        return ranker("generated-scores", engine).rank(rank_request(3))

    def test_scores_order_the_generated_list(self) -> None:
        ranking = self.rank_output([{"id": 1, "score": 5}, {"id": 3, "score": 80}, {"id": 2, "score": 30}])
        assert ranking.order() == [2, 1, 0]
        assert ranking.report.category == "ok"

    def test_equal_scores_keep_the_generated_order(self) -> None:
        assert self.rank_output([{"id": n, "score": 9} for n in (2, 3, 1)]).order() == [1, 2, 0]

    @pytest.mark.parametrize(
        "value",
        [[{"id": 3}], [{"id": 9, "score": 1}], ["3"], {"id": 3}, [[3]], [{"id": "x", "score": math.nan}], 3],
    )
    def test_odd_values_never_raise(self, value: object) -> None:
        assert sorted(self.rank_output(value).order()) == [0, 1, 2]


class TestTitle(RankerContract):
    strategy = "title"

    def test_score_is_the_mean_gain_of_a_title_token_over_the_title_without_the_person(self) -> None:
        def say(text: str, token: str) -> float:
            return -1.0 if "Alien" in text and "1942" in token else -3.0

        engine = ScriptedEngine(say=say)
        ranking = ranker("title", engine).rank(rank_request(4))
        tokens = len(engine.tokenizer.encode("Choice 2 (1942)"))
        assert ranking.log_odds == pytest.approx((0, 0, 2 / tokens, 0))
        assert ranking.order() == [2, 0, 1, 3]

    def test_a_title_that_is_likely_for_everyone_gains_nothing(self) -> None:
        engine = ScriptedEngine(say=lambda text, _: -0.1 if "Choice 1" in text else -5.0)
        assert ranker("title", engine).rank(rank_request(3)).log_odds == pytest.approx((0, 0, 0))

    def test_person_is_in_the_prompt_and_not_in_the_baseline(self) -> None:
        ranking = ranker("title", ScriptedEngine()).rank(rank_request(2))
        assert all("Alien" in text and "something dark" in text for text in ranking.prompt.texts)
        assert not any("Alien" in text or "something dark" in text for text in ranking.baseline.texts)
        assert [text.endswith("Choice 1 (1941)") for text in ranking.prompt.texts] == [False, True]

    def test_order_of_the_candidates_does_not_matter(self) -> None:
        forward = ranker("title", ScriptedEngine()).rank(rank_request())
        backward = ranker("title", ScriptedEngine()).rank(reversed_candidates(rank_request()))
        assert forward.log_odds == backward.log_odds[::-1]

    def test_prompt_is_the_one_that_fine_tuning_uses(self) -> None:
        """Prompt and title are tokenised separately, as `finetune` packs them."""
        engine, request = ScriptedEngine(), rank_request(2)
        ranking = ranker("title", engine).rank(request)
        prompt = PromptLibrary().render(
            "rank/title", engine.tokenizer, rank_variables(request, "film", "films"), max_tokens=1536
        )
        title = engine.tokenizer.encode("Choice 0 (1940)")
        assert ranking.prompt.token_ids[0] == [*prompt.token_ids[0], *title]

    def test_an_invisible_title_is_scored_by_its_id(self) -> None:
        blank = film("c7", "\u200b")
        request = rank_request(1)
        request = RankRequest(
            (*request.candidates, candidate(blank)), request.history, request.context, request.profile
        )
        assert ranker("title", ScriptedEngine()).rank(request).prompt.texts[1].endswith("c7")


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_prompt_never_exceeds_the_context_of_the_model(strategy: str) -> None:
    """The domain's budget may be larger than the model's context."""
    request = rank_request(4)
    long = RankRequest(request.candidates, request.history * 40, request.context, request.profile)
    engine = ScriptedEngine(max_model_len=400)
    ranking = ranker(strategy, engine, max_tokens=10_000).rank(long)
    assert ranking.prompt.tokens + engine.calls[0].max_tokens <= 400
    assert ranking.prompt.dropped > 0


@pytest.mark.parametrize("strategy", ["pointwise", "listwise"])
def test_label_of_several_tokens_is_a_model_error(strategy: str) -> None:
    class Letters(FakeTokenizer):
        def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
            return [token for sign in text for token in super(Letters, self).encode(sign)] * 2

    with pytest.raises(ModelError, match="not one token for this model"):
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


def test_scores_are_weighted_sums_and_log_odds_stay_the_models() -> None:
    engine = ScriptedEngine()
    request = rank_request(4)
    alone = ranker("pointwise", engine).rank(request)
    parts = RankerParts(
        engine, PromptLibrary(), "film", "films", 1536, weights=Weights(model=0.5, retriever=2.0)
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


UNWEIGHTED = DOMAIN.replace("model_weight = 1.0\nretriever_weight = 0.0\n", "")


def test_requests_with_a_wish_have_weights_of_their_own(tmp_path: Path) -> None:
    toml = (
        f"{UNWEIGHTED}model_weight = 0.5\nretriever_weight = 1\ntemperature = 2\n"
        "wish_weights = { model = 4, retriever = 0.5 }\n"
    )
    domain, engine = load_domain(write_films(tmp_path, toml=toml)), ScriptedEngine()
    wished = rank_request(4)
    plain, blank = (
        dataclasses.replace(wished, context=wished.context.model_copy(update={"wish": text}))
        for text in ("", "  ")
    )
    rank = make_ranker("pointwise", RankerParts.of(engine, PromptLibrary(), domain)).rank
    for request, of_model, of_retriever in ((plain, 0.5, 1), (blank, 0.5, 1), (wished, 4, 0.5)):
        found = rank(request)
        pairs = zip(found.log_odds, request.candidates, strict=True)
        expected = softmax([(of_model * (odds or 0) + of_retriever * one.score) / 2 for odds, one in pairs])
        assert found.scores == pytest.approx(expected)


def test_temperature_flattens_the_scores_and_keeps_their_order(tmp_path: Path) -> None:
    engine, request = ScriptedEngine(), rank_request(5)
    at = [
        load_domain(write_films(tmp_path / str(t), toml=f"{DOMAIN}temperature = {t}\n")) for t in (1.0, 4.0)
    ]
    plain, flat = (
        make_ranker("pointwise", RankerParts.of(engine, PromptLibrary(), domain)).rank(request)
        for domain in at
    )
    assert flat.order() == plain.order()
    assert flat.log_odds == plain.log_odds
    assert flat.scores == pytest.approx(softmax([(odds or 0.0) / 4 for odds in plain.log_odds]))
