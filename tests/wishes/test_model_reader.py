"""The model as a reader: what it writes is linked to the catalogue, and says never how much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from recsys.errors import EngineError
from recsys.recommender.inspection import rendered
from recsys.recommender.recommender import Recommender
from recsys.recommender.wishes import reading_task
from recsys.types import Recommendations
from recsys.wishes.model_reader import MAX_WISH, ReadingTask
from recsys.wishes.query import describe
from tests.fakes import FakeTokenizer, ScriptedEngine


@pytest.fixture
def task(recommender: Recommender) -> ReadingTask:
    return reading_task(recommender.domain, recommender.catalog, recommender.prompts)


def said(task: ReadingTask, wish: str, answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return describe(task.read(wish, text), task.lexicon.domain, {}).text


@pytest.mark.parametrize(
    ("wish", "answer", "expected"),
    [
        ("gangsters", {"genre": ["Crime"]}, "genre: Crime"),
        ("only gangsters", {"genre": ["Crime"]}, "only genre: Crime"),
        ("gangsters, ideally", {"genre": ["Crime"]}, "rather genre: Crime"),
        ("no gangsters", {"not": {"genre": ["Crime"]}}, "not genre: Crime"),
        ("gangsters", {"not": {"genre": ["Crime"]}}, ""),  # no word of the wish says no
        ("golden age", {"year": "<1950"}, "year: before 1950"),
        ("two decades", {"year": "1940-1959"}, "year: 1940 to 1959"),
        ("crime", {"genre": ["Quilting"], "colour": ["red"], "year": "soon"}, ""),
        ("crime", {"genre": "Crime"}, ""),
        ("crime", "", ""),
        ("crime", "I am sorry", ""),
    ],
)
def test_an_answer_is_linked_to_the_catalogue(
    wish: str, answer: Any, expected: str, task: ReadingTask
) -> None:
    assert said(task, wish, answer) == expected


def test_only_words_of_the_wish_make_a_bound_a_must(task: ReadingTask) -> None:
    (named,) = task.read("golden age", '{"year":"<1950"}').conditions
    (bound,) = task.read("before the fifties", '{"year":"<1950"}').conditions
    assert (named.hard, bound.hard) == (False, True)


def test_the_schema_lists_the_values_there_are(task: ReadingTask) -> None:
    genre = task.schema["properties"]["genre"]["items"]["enum"]
    assert {"Crime", "Comedy"} <= set(genre)
    assert list(task.schema["properties"])[-2:] == ["not", "like"]


def test_the_prompt_has_the_schema_and_a_bounded_wish(task: ReadingTask) -> None:
    prompt = task.render(["a scary film " * 100], FakeTokenizer(), 4000)
    assert "genre: " in prompt.head
    assert len(prompt.tails[0]) < MAX_WISH + 100


def reads(
    recommender: Recommender, engine: ScriptedEngine, answers: Mapping[str, str], name: str
) -> Recommender:
    """Let the engine write these answers to wishes."""

    def write(text: str, schema: Mapping[str, Any] | None) -> str:
        return next(answer for wish, answer in answers.items() if f"Wish: {wish}" in text)

    engine.write = write
    return recommender.with_state(reader=name)


def asked_of(engine: ScriptedEngine) -> int:
    return sum("Wish: " in text for call in engine.of_kind("generate") for text in call.texts)


def text_of(answer: Recommendations) -> str:
    assert answer.understood is not None
    return answer.understood.text


def test_the_model_reads_what_the_dictionary_leaves(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    both = reads(recommender, scripted, {"gangsters": '{"genre":["Crime"],"year":"<1990"}'}, "both")
    assert text_of(both.retrieve(wish="gangsters after 1990")) == "year: after 1990 \xb7 rather genre: Crime"
    assert asked_of(scripted) == 1
    both.retrieve(wish="gangsters after 1980")
    assert asked_of(scripted) == 1  # kept
    assert text_of(both.retrieve(wish="crime after 1990")) == "genre: Crime \xb7 year: after 1990"
    assert asked_of(scripted) == 1  # nothing was left


def test_the_model_may_read_alone(recommender: Recommender, scripted: ScriptedEngine) -> None:
    alone = reads(recommender, scripted, {"mobsters": '{"genre":["Crime"]}', "comedy": "{}"}, "model")
    assert text_of(alone.retrieve(wish="mobsters")) == "genre: Crime"
    assert text_of(alone.retrieve(wish="comedy")) == "genre: Comedy"  # the dictionary, where it says nothing
    assert text_of(alone.retrieve(wish="surprise me")) == "any film"
    assert asked_of(scripted) == 2


def test_without_an_engine_the_dictionary_reads_and_says_so(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.fail_in["generate"] = EngineError("no memory")
    both = recommender.with_state(reader="both")
    text = text_of(both.retrieve(wish="gangsters after 1990"))
    assert (
        text
        == "year: after 1990 \xb7 not known here: 'gangsters' \xb7 read without the model, which does not run"
    )


def test_the_prompt_is_shown_with_its_answer(recommender: Recommender, scripted: ScriptedEngine) -> None:
    reads(recommender, scripted, {"gangsters": '{"genre":["Crime"]}'}, "both")
    prepared = recommender.prepare(wish="gangsters")
    report = rendered(recommender, recommender.render("read/wish", prepared, scripted), prepared, run=True)
    assert "Wish: gangsters" in report["text"][0]
    assert report["answer"] == {"raw": ['{"genre":["Crime"]}'], "understood": "genre: Crime"}
