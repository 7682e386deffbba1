"""Writing reasons: by the model, by the grammar, and with hostile text as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from recsys.errors import EngineDead, EngineError, PromptError
from recsys.explain import in_language, template_reason
from recsys.explain.claims import Lexicon
from recsys.explain.writer import GRAMMAR
from recsys.types import Context, Item, Place
from tests.explain.cases import (
    ALIEN,
    BRAZIL,
    CASES,
    PHRASES,
    PROMPTS,
    case_of,
    measured_of,
    phrases_in,
    planned,
    write,
)
from tests.fakes import ScriptedEngine, film, instance_of


def follow(schema: Mapping[str, Any] | None) -> str:
    assert schema is not None
    return json.dumps(instance_of(schema))


def only_for(slot: str) -> ScriptedEngine:
    """Return an engine that answers only prompts whose reason has a slot."""

    def answer(text: str, schema: Mapping[str, Any] | None) -> str:
        return follow(schema) if f"{{{slot}}}" in text.rpartition("Given:")[2] else "no"

    return ScriptedEngine(write=answer)


ONCE = phrases_in(retries=0)
TWICE = phrases_in(retries=1)


@pytest.mark.parametrize("name", CASES)
def test_every_template_reason_cites_what_it_rests_on(name: str) -> None:
    case = CASES[name]
    reason = template_reason(case, PHRASES)
    assert reason.source == "template"
    assert case.item.title in reason.text
    assert case.net_negative or bool(reason.evidence) == case.has_content


class TestWriting:
    def test_sentence_that_holds_is_kept_with_what_it_cites(self) -> None:
        engine = ScriptedEngine()
        result = write([CASES["liked in context"]], engine)
        (reason,) = result.explanations
        assert (reason.source, reason.failures, result.degraded) == ("llm", (), ())
        assert {entry.kind for entry in reason.evidence} >= {"history", "context"}
        assert "Dune" in reason.text
        assert len(engine.calls) == 1

    def test_all_cases_travel_in_one_call_and_come_back_in_order(self) -> None:
        engine = ScriptedEngine()
        result = write([case_of(film(str(n), f"Title {n}", "Sci-Fi"), ALIEN) for n in range(4)], engine)
        assert len(engine.calls) == 1
        assert [f"Title {n}" in reason.text for n, reason in enumerate(result.explanations)] == [True] * 4

    def test_model_never_sees_a_title(self) -> None:
        engine = ScriptedEngine()
        write([CASES["wish and liked"]], engine)
        assert engine.prompts
        assert not re.search("Dune|Alien|science|dark", engine.prompts[0])

    def test_bad_sentence_is_generated_again_and_the_failure_kept(self) -> None:
        answers = iter(['{"sentence": "{item} won an Oscar."}'])
        engine = ScriptedEngine(write=lambda _, schema: next(answers, "") or follow(schema))
        result = write([CASES["one liked"]], engine, TWICE)
        (reason,) = result.explanations
        assert (reason.source, reason.failures) == ("llm", ("uncited_claim",))
        assert [call.seed for call in engine.calls] == [0, 1]
        assert len(result.generations) == 2

    def test_only_the_bad_sentence_is_generated_again(self) -> None:
        engine = only_for("wish")
        result = write([CASES["wish"], CASES["one liked"]], engine, phrases_in(retries=2))
        assert [len(call.texts) for call in engine.calls] == [2, 1, 1]
        assert [reason.source for reason in result.explanations] == ["llm", "template"]

    @pytest.mark.parametrize(
        ("answer", "failure"),
        [
            ("", "empty"),
            ("I'm sorry, no.", "refusal"),
            ("blah", "wrong_format"),
            ('{"evidence": ["h1"]}', "missing"),
            ('{"sentence": "{item} is here because you liked {past}."}', "unknown_evidence"),
        ],
    )
    def test_sentence_that_stays_bad_gives_way_to_a_template_that_lists_why(
        self, answer: str, failure: str
    ) -> None:
        (reason,) = write([CASES["one liked"]], ScriptedEngine(write=lambda *_: answer), TWICE).explanations
        assert reason.source == "template"
        assert reason.failures.count(failure) == 2
        assert "Brazil" in reason.text

    def test_sentence_that_was_cut_off_is_not_used(self) -> None:
        (reason,) = write([CASES["one liked"]], ScriptedEngine(truncates=True), ONCE).explanations
        assert (reason.source, reason.failures) == ("template", ("truncated",))

    @pytest.mark.parametrize("error", [EngineError("busy"), EngineDead("gone")], ids=["fails", "dies"])
    def test_failing_engine_gives_template_sentences_and_says_so(self, error: EngineError) -> None:
        result = write([CASES["one liked"], CASES["wish"]], ScriptedEngine(fail_in={"generate": error}))
        assert [reason.source for reason in result.explanations] == ["template", "template"]
        assert len(result.degraded) == 1
        assert result.engine_died == isinstance(error, EngineDead)
        assert error.message in result.degraded[0]

    def test_what_was_written_before_the_engine_died_is_kept(self) -> None:
        engine = only_for("wish")
        engine.fail_at = {1: EngineDead("gone")}
        result = write([CASES["wish"], CASES["one liked"]], engine)
        assert [reason.source for reason in result.explanations] == ["llm", "template"]
        assert result.explanations[1].failures == ("wrong_format",)
        assert result.degraded

    def test_without_an_engine_all_are_template_sentences(self) -> None:
        result = write([CASES["popular"]])
        assert result.explanations[0].source == "template"
        assert result.generations == []

    def test_an_item_that_nothing_is_known_of_is_not_sent_to_the_model(self) -> None:
        """The model once wrote a full stop."""
        engine = ScriptedEngine()
        (reason,) = write([CASES["nothing"]], engine).explanations
        assert not engine.calls
        assert reason.text == "Nothing is known yet that speaks for Untold."

    @pytest.mark.parametrize(
        "hostile", ["{liked} {item}", "<|im_end|>", "a\nb", "{{ 7*7 }}", r"\1 \g<0>", "\u202ex"]
    )
    @pytest.mark.parametrize("with_engine", [True, False])
    def test_hostile_text_is_filled_in_as_data(self, hostile: str, with_engine: bool) -> None:
        context = Context(weekday="Friday", wish=hostile, place=Place(city=hostile), extra={"x": hostile})
        item = film("x", f"T {hostile}", hostile)
        cases = [
            case_of(item, film("h1", hostile, hostile), context=Context()),
            case_of(item, context=context, effect=1.0),
        ]
        for reason in write(cases, ScriptedEngine() if with_engine else None).explanations:
            assert not re.search(r"[{}\n\u202e]|<\|", reason.text)
            assert reason.source == ("llm" if with_engine else "template")

    def test_title_of_nothing_but_invisible_signs_is_shown_by_its_id(self) -> None:
        (reason,) = write([case_of(film("77", "\u200b"), film("h1", "\u200b"))]).explanations
        assert "film 77" in reason.text.lower()
        assert "film h1" in reason.text

    def test_a_free_sentence_that_holds_is_kept_and_its_faults_have_names(self) -> None:
        """A server may ignore the grammar."""
        heat = Item(id="x", title="Heat", attributes={"genre": ("Comedy",)})
        lexicon = Lexicon([CASES["one liked"].item, BRAZIL, heat])
        for words, source, fault in (
            ("You enjoyed {liked}, and like it {item} is {shared}.", "llm", ()),
            ("You liked {liked} and Heat, and {item} is {shared} too.", "template", ("invented_title",)),
            ("You liked {liked}, and {item} is {shared}, with Comedy.", "template", ("wrong_attribute",)),
            (
                "You liked {liked}, and {item} is {shared}. It is a masterpiece.",
                "template",
                ("uncited_claim",),
            ),
        ):
            answer = json.dumps({"sentence": words})
            engine = ScriptedEngine(write=lambda *_, answer=answer: answer)
            (reason,) = write([CASES["one liked"]], engine, ONCE, lexicon).explanations
            assert (reason.source, reason.failures) == (source, fault), words


def test_unknown_language_names_the_known_ones() -> None:
    with pytest.raises(PromptError, match="'xx'") as caught:
        in_language(GRAMMAR, "xx", PROMPTS)
    assert "en, zh" in caught.value.hint


def test_higher_ranked_item_is_not_said_to_come_after() -> None:
    """`explain --instead-of` gives the cases in the requested order, not by rank."""
    last = measured_of(film("x", "Solaris", "Sci-Fi"), BRAZIL, rank=8)
    first = measured_of(film("y", "Big", "Comedy"), BRAZIL, rank=1)
    assert planned(last, first, style="comparative")[0].other is None
    assert planned(first, last, style="comparative")[0].other == last.item
