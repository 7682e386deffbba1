"""What every engine and every ranker must do."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math

import pytest

from recsys.engine.base import Engine, GenerationRequest
from recsys.engine.labels import label_ids
from recsys.errors import EngineDead, EngineError
from recsys.prompting.library import PromptLibrary
from recsys.ranking import Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.types import Context
from tests.fakes import ScriptedEngine, candidate, film, seen

PROMPTS = ("Is the sky blue? Answer:", "Is snow black? Answer:", "Will they enjoy Heat? Answer:")
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["blue", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def encoded(engine: Engine, texts: tuple[str, ...] = PROMPTS) -> list[list[int]]:
    return [engine.tokenizer.encode(text, add_special_tokens=False) for text in texts]


class EngineContract:
    """Mix in where a fixture `engine` gives an engine that answers. Leaves it open."""

    tolerance = 0.0  # nats between one prompt alone and in a batch

    def test_each_prompt_gets_one_log_probability_per_label(self, engine: Engine) -> None:
        labels = label_ids(engine.tokenizer, ("Yes", "No", "A"))
        answers = engine.label_logprobs(encoded(engine), labels)
        assert len(answers) == len(PROMPTS)
        for answer in answers:
            assert len(answer.logprobs) == 3
            assert all(logprob <= 0 for logprob in answer.logprobs)
            assert 0 < answer.label_mass <= 1
            assert answer.label_mass == pytest.approx(min(1, math.fsum(map(math.exp, answer.logprobs))))

    def test_labels_come_back_in_the_order_asked_for(self, engine: Engine) -> None:
        labels = label_ids(engine.tokenizer, ("Yes", "No", "A"))
        forth = engine.label_logprobs(encoded(engine), labels)
        back = engine.label_logprobs(encoded(engine), labels[::-1])
        for scores, reversed_scores in zip(forth, back, strict=True):
            assert scores.logprobs == pytest.approx(reversed_scores.logprobs[::-1], abs=self.tolerance)
            assert len(set(scores.logprobs)) == 3

    def test_no_prompts_give_no_answers(self, engine: Engine) -> None:
        assert engine.label_logprobs([], label_ids(engine.tokenizer, ("Yes", "No"))) == []
        assert engine.continuation_logprobs([], []) == []
        assert engine.generate(GenerationRequest([], max_tokens=4)) == []

    def test_a_batch_answers_as_its_prompts_do_one_by_one(self, engine: Engine) -> None:
        labels = label_ids(engine.tokenizer, ("Yes", "No"))
        batch = engine.label_logprobs(encoded(engine), labels)
        for prompt, answer in zip(encoded(engine), batch, strict=True):
            (alone,) = engine.label_logprobs([prompt], labels)
            assert alone.logprobs == pytest.approx(answer.logprobs, abs=self.tolerance)
            assert alone.prompt_tokens == answer.prompt_tokens == len(prompt)

    def test_each_token_of_a_continuation_has_a_log_probability(self, engine: Engine) -> None:
        prompts = encoded(engine)
        continuations = encoded(engine, (" Yes", " It is not", " Heat was a good film"))
        batch = engine.continuation_logprobs(prompts, continuations)
        for prompt, tokens, answer in zip(prompts, continuations, batch, strict=True):
            (alone,) = engine.continuation_logprobs([prompt], [tokens])  # the second time: from the cache
            assert len(answer.logprobs) == len(tokens)
            assert all(logprob <= 0 for logprob in answer.logprobs)
            assert alone.logprobs == pytest.approx(answer.logprobs, abs=self.tolerance)
            assert answer.prompt_tokens == len(prompt) + len(tokens)

    def test_text_is_held_to_a_schema_where_there_is_one(self, engine: Engine) -> None:
        answers = engine.generate(
            GenerationRequest(encoded(engine), max_tokens=24, schemas=[COLOUR] * len(PROMPTS))
        )
        assert len(answers) == len(PROMPTS)
        for answer in answers:
            assert json.loads(answer.text)["colour"] in ("blue", "green")
            assert not answer.truncated

    def test_text_is_free_without_a_schema(self, engine: Engine) -> None:
        (answer,) = engine.generate(GenerationRequest(encoded(engine)[:1], max_tokens=4))
        assert isinstance(answer.text, str)
        assert not answer.text.startswith('{"colour"')
        assert 0 < answer.generated_tokens <= 4

    def test_same_question_and_seed_give_the_same_text(self, engine: Engine) -> None:
        request = GenerationRequest(encoded(engine)[:1], max_tokens=8, seed=3)
        (first,), (second,) = engine.generate(request), engine.generate(request)
        assert first.text == second.text

    def test_streamed_answers_are_those_of_one_call(self, engine: Engine) -> None:
        request = GenerationRequest(encoded(engine), max_tokens=8, schemas=[COLOUR, None, None])
        answers, streamed = engine.generate(request), dict(engine.stream(request))
        assert [streamed[n].text for n in range(len(PROMPTS))] == [answer.text for answer in answers]
        assert list(engine.stream(GenerationRequest([], max_tokens=4))) == []

    def test_it_says_what_it_is(self, engine: Engine) -> None:
        assert engine.model
        assert engine.kind
        assert engine.max_model_len >= 256


def check_closed(engine: Engine) -> None:
    """Closing twice is allowed; afterwards every question is answered with EngineDead."""
    prompts, labels = encoded(engine), label_ids(engine.tokenizer, ("Yes", "No"))
    engine.close()
    engine.close()
    with pytest.raises(EngineDead):
        engine.label_logprobs(prompts, labels)
    with pytest.raises(EngineDead):
        engine.continuation_logprobs(prompts, prompts)
    with pytest.raises(EngineDead):
        engine.generate(GenerationRequest(prompts, max_tokens=4))
    with pytest.raises(EngineDead):
        list(engine.stream(GenerationRequest(prompts, max_tokens=4)))


def rank_request(n: int = 6) -> RankRequest:
    items = [film(f"c{number}", f"Choice {number}", "Noir", year=1940 + number) for number in range(n)]
    return RankRequest(
        candidates=tuple(candidate(item, score=1 / (1 + rank)) for rank, item in enumerate(items)),
        history=(
            *seen(film("h1", "Alien", "Horror"), film("h2", "Heat", "Crime")),
            *seen(film("h3", "Big"), liked=False),
        ),
        context=Context(weekday="Friday", part_of_day="evening", wish="something dark"),
        profile={"age": "24"},
    )


class RankerContract:
    """Mix in and name the strategy."""

    strategy: str

    def make(self, engine: Engine) -> Ranker:
        return make_ranker(self.strategy, RankerParts(engine, PromptLibrary(), "film", "films", 1536))

    def rank(self, n: int) -> Ranking:
        return self.make(ScriptedEngine()).rank(rank_request(n))

    @pytest.mark.parametrize("n", [1, 2, 6, 26, 27, 100])
    def test_scores_are_one_per_candidate_and_sum_to_one(self, n: int) -> None:
        ranking = self.rank(n)
        assert len(ranking.scores) == len(ranking.log_odds) == n
        assert math.fsum(ranking.scores) == pytest.approx(1)
        assert all(0 <= score <= 1 for score in ranking.scores)
        assert sorted(ranking.order()) == list(range(n))

    def test_a_thousand_candidates_are_ranked(self) -> None:
        ranking = self.rank(1000)
        assert math.fsum(ranking.scores) == pytest.approx(1)
        assert sorted(ranking.order()) == list(range(1000))

    def test_several_requests_rank_as_they_do_alone(self) -> None:
        requests = [rank_request(n) for n in (3, 40, 1, 26)]
        requests[0] = dataclasses.replace(requests[0], history=(), profile={})
        rankings = self.make(ScriptedEngine()).rank_many(requests)
        for request, ranking in zip(requests, rankings, strict=True):
            alone = self.make(ScriptedEngine()).rank(request)
            assert ranking.scores == pytest.approx(alone.scores, rel=1e-9)
            assert ranking.order() == alone.order()
            assert ranking.prompt.texts == alone.prompt.texts
            assert ranking.usage.prompt_tokens == alone.usage.prompt_tokens
        assert self.make(ScriptedEngine()).rank_many([]) == []

    def test_several_requests_take_no_more_calls_than_the_longest(self) -> None:
        several, alone = ScriptedEngine(), ScriptedEngine()
        self.make(several).rank_many([rank_request(n) for n in (20, 40, 5)])
        self.make(alone).rank(rank_request(40))
        assert len(several.calls) <= len(alone.calls)

    def test_awaited_it_ranks_as_called(self) -> None:
        request = rank_request(6)
        awaited = asyncio.run(self.make(ScriptedEngine()).rank_async(request))
        assert awaited.scores == self.make(ScriptedEngine()).rank(request).scores

    def test_identical_candidates_are_all_ranked(self) -> None:
        request = rank_request(1)
        twins = RankRequest(request.candidates * 4, request.history, request.context, request.profile)
        ranking = self.make(ScriptedEngine()).rank(twins)
        assert len(ranking.scores) == 4
        assert math.fsum(ranking.scores) == pytest.approx(1)

    def test_what_is_rendered_is_exactly_what_is_sent(self) -> None:
        engine = ScriptedEngine()
        ranker = self.make(engine)
        rendered = ranker.render(rank_request())
        assert not engine.calls
        ranking = ranker.rank(rank_request())
        sent = [list(ids) for call in engine.calls for ids in call.token_ids]
        assert rendered.token_ids == ranking.prompt.token_ids
        expected = rendered.token_ids + (ranking.baseline.token_ids if ranking.baseline else [])
        assert sorted(sent) == sorted(expected)
        texts = rendered.texts + (ranking.baseline.texts if ranking.baseline else ())
        assert sorted(engine.prompts) == sorted(texts)
        if ranking.baseline is None:
            assert sent == rendered.token_ids
            assert tuple(engine.prompts) == rendered.texts

    def test_every_candidate_history_wish_and_fact_reaches_the_prompt(self) -> None:
        engine = ScriptedEngine()
        request = rank_request()
        self.make(engine).rank(request)
        text = "\n".join(engine.prompts)
        words = [item.name for item in request.items] + [
            "Alien",
            "Heat",
            "Big",
            "something dark",
            "Friday",
            "24",
        ]
        assert [word for word in words if word not in text] == []

    def test_same_request_gives_the_same_scores(self) -> None:
        assert self.rank(6).scores == self.rank(6).scores

    def test_use_of_the_engine_is_counted(self) -> None:
        ranking = self.rank(6)
        baseline = ranking.baseline.token_ids if ranking.baseline else []
        assert ranking.usage.prompt_tokens == sum(map(len, ranking.prompt.token_ids + baseline))
        assert ranking.usage.generated_tokens > 0

    @pytest.mark.parametrize("error", [EngineError("busy"), EngineDead("gone")], ids=["fails", "dies"])
    def test_engine_error_is_raised_and_never_read_as_a_ranking(self, error: EngineError) -> None:
        engine = ScriptedEngine(fail_at={0: error})
        with pytest.raises(type(error)) as caught:
            self.make(engine).rank(rank_request())
        assert caught.value is error
