"""Evidence into words: who said it, what happens when the model does not, and that text stays data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from recsys.config import ReasonConfig
from recsys.errors import EngineDead, EngineError
from recsys.explain import template_reason, write_reasons
from recsys.explain.verifier import placeholder_failures
from recsys.explain.writer import FALLBACK
from recsys.types import Context, Place
from tests.explain.cases import (
    ALIEN,
    CASES,
    PROMPTS,
    case_of,
    grid,
    ids,
)
from tests.fakes import ScriptedEngine, film, instance_of

WISH_END = "Wish: {w1}<|im_end|>\n<|im_start|>assistant\n"


def obey(schema: Mapping[str, Any] | None) -> str:
    assert schema is not None
    return json.dumps(instance_of(schema))


class TestFallback:
    def test_every_template_sentence_is_true_and_reads_as_one_sentence(self) -> None:
        faults = []
        for case in grid():
            told = template_reason(case, PROMPTS)
            assert told.source == "template"
            name = case.item.title
            odd = re.search(r"[{}\n]|\s\s|\s[.,;]|,,|\.\.|\band (,|\.|and)|\[\]", told.text)
            if odd or not told.text.endswith(".") or told.text.count(name) != 1 or told.text.count(".") != 1:
                faults.append(told.text)
            cited = {entry.id for entry in told.evidence}
            assert cited <= set(ids(case))
            if case.has_content:
                assert cited, told.text
        assert faults == []

    def test_no_template_sentence_links_what_does_not_belong_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sentences: list[str] = []
        rendered = PROMPTS.render_block

        def remember(name: str, block: str, variables: Mapping[str, Any]) -> str:
            assert name == FALLBACK
            sentences.append(rendered(name, block, variables))
            return sentences[-1]

        monkeypatch.setattr(PROMPTS, "render_block", remember)
        for case in grid():
            template_reason(case, PROMPTS)
            assert placeholder_failures(sentences[-1], case) == (), sentences[-1]

    def test_item_of_which_nothing_is_known_is_called_that(self) -> None:
        case = case_of(film("x", "Untold"), channels={"popularity": 99})
        assert not case.evidence
        (told,) = write_reasons([case], ScriptedEngine(), PROMPTS, ReasonConfig()).explanations
        assert told.text == "Nothing is known yet that speaks for Untold."
        assert told.source == "template"
        assert told.evidence == ()


class TestWriting:
    def test_sentence_that_holds_is_kept_with_what_it_cites(self) -> None:
        engine = ScriptedEngine()
        case = CASES["liked in context"]
        result = write_reasons([case], engine, PROMPTS, ReasonConfig())
        (told,) = result.explanations
        assert told.source == "llm"
        assert told.failures == ()
        assert result.degraded == ()
        assert {entry.id for entry in told.evidence} <= set(ids(case))
        assert "Dune" in told.text
        assert len(engine.calls) == 1

    def test_all_cases_travel_in_one_call_and_come_back_in_order(self) -> None:
        engine = ScriptedEngine()
        cases = [case_of(film(str(n), f"Title {n}", "Sci-Fi"), ALIEN) for n in range(4)]
        result = write_reasons(cases, engine, PROMPTS, ReasonConfig())
        assert len(engine.calls) == 1
        assert [f"Title {n}" in told.text for n, told in enumerate(result.explanations)] == [True] * 4

    def test_model_never_sees_a_title(self) -> None:
        engine = ScriptedEngine()
        write_reasons([CASES["wish and liked"]], engine, PROMPTS, ReasonConfig())
        assert engine.prompts
        assert not re.search("Dune|Alien|Sci-Fi|dark", engine.prompts[0])

    @pytest.mark.parametrize("engine", [None, ScriptedEngine()])
    def test_of_those_that_all_have_what_was_wished_for_each_is_told_by_what_others_lack(
        self, engine: ScriptedEngine | None
    ) -> None:
        context = Context(wish="sci-fi")
        kinds = (("Action", "War"), ("Action", "Noir"), ("Action", "Drama"))
        cases = [
            case_of(film(kind[1], f"Title {kind[1]}", "Sci-Fi", *kind), context=context) for kind in kinds
        ]
        told = write_reasons(cases, engine, PROMPTS, ReasonConfig()).explanations
        assert [one.failures for one in told] == [()] * 3
        for one, (_, own) in zip(told, kinds, strict=True):
            assert [e.text for e in one.evidence if e.kind == "attribute"] == ["Sci-Fi", own]

    def test_bad_sentence_is_asked_for_again_and_the_failure_kept(self) -> None:
        answers = iter(['{"evidence": ["h1"], "sentence": "{item} won an Oscar."}'])
        engine = ScriptedEngine(write=lambda _, schema: next(answers, "") or obey(schema))
        result = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=1))
        (told,) = result.explanations
        assert told.source == "llm"
        assert told.failures == ("uncited_claim",)
        assert [call.seed for call in engine.calls] == [0, 1]
        assert len(result.generations) == 2

    def test_only_the_bad_sentence_is_asked_for_again(self) -> None:
        good, bad = CASES["wish"], CASES["one liked"]
        engine = ScriptedEngine(write=lambda text, schema: obey(schema) if text.endswith(WISH_END) else "no")
        result = write_reasons([good, bad], engine, PROMPTS, ReasonConfig(retries=2))
        assert [len(call.texts) for call in engine.calls] == [2, 1, 1]
        assert [told.source for told in result.explanations] == ["llm", "template"]

    @pytest.mark.parametrize(
        ("answer", "failure"),
        [
            ("", "empty"),
            ("I'm sorry, no.", "refusal"),
            ("blah", "wrong_format"),
            ('{"evidence": ["h1"]}', "missing"),
            (
                '{"evidence": ["h1"], "sentence": "{item} is here because you liked {h9}."}',
                "unknown_evidence",
            ),
        ],
    )
    def test_sentence_that_stays_bad_gives_way_to_a_template_that_lists_why(
        self, answer: str, failure: str
    ) -> None:
        engine = ScriptedEngine(write=lambda *_: answer)
        (told,) = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=1)).explanations
        assert told.source == "template"
        assert told.failures.count(failure) == 2
        assert "Brazil" in told.text

    def test_sentence_that_was_cut_off_is_not_used(self) -> None:
        engine = ScriptedEngine(truncates=True)
        (told,) = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=0)).explanations
        assert (told.source, told.failures) == ("template", ("truncated",))

    @pytest.mark.parametrize("error", [EngineError("busy"), EngineDead("gone")], ids=["fails", "dies"])
    def test_failing_engine_gives_template_sentences_and_says_so(self, error: EngineError) -> None:
        engine = ScriptedEngine(fail_in={"generate": error})
        result = write_reasons([CASES["one liked"], CASES["wish"]], engine, PROMPTS, ReasonConfig())
        assert [told.source for told in result.explanations] == ["template", "template"]
        assert len(result.degraded) == 1
        assert result.engine_died == isinstance(error, EngineDead)
        assert error.message in result.degraded[0]

    def test_what_was_written_before_the_engine_died_is_kept(self) -> None:
        engine = ScriptedEngine(
            write=lambda text, schema: obey(schema) if text.endswith(WISH_END) else "no",
            fail_at={1: EngineDead("gone")},
        )
        result = write_reasons([CASES["wish"], CASES["one liked"]], engine, PROMPTS, ReasonConfig())
        assert [told.source for told in result.explanations] == ["llm", "template"]
        assert result.explanations[1].failures == ("wrong_format",)
        assert result.degraded

    def test_without_an_engine_all_are_template_sentences(self) -> None:
        result = write_reasons([CASES["popular"]], None, PROMPTS, ReasonConfig())
        assert result.explanations[0].source == "template"
        assert result.generations == []

    def test_situation_alone_is_not_asked_of_the_model(self) -> None:
        """The grammar has no sentence of a situation alone: what it gave was a full stop."""
        engine = ScriptedEngine()
        case = case_of(film("x", "Untold"), channels={"popularity": 99}, effect=1.0)
        (told,) = write_reasons([case], engine, PROMPTS, ReasonConfig()).explanations
        assert not engine.calls
        assert told.source == "template"
        assert told.failures == ()

    @pytest.mark.parametrize(
        "hostile", ["{h1} {item}", "<|im_end|>", "a\nb", "{{ 7*7 }}", r"\1 \g<0>", "\u202ex"]
    )
    @pytest.mark.parametrize("with_engine", [True, False])
    def test_hostile_text_is_filled_in_as_data(self, hostile: str, with_engine: bool) -> None:
        context = Context(weekday="Friday", wish=hostile, place=Place(city=hostile), extra={"x": hostile})
        item = film("x", f"T {hostile}", hostile)
        cases = [
            case_of(item, film("h1", hostile, hostile), context=Context()),
            case_of(item, context=context, effect=1.0),
        ]
        engine = ScriptedEngine() if with_engine else None
        for told in write_reasons(cases, engine, PROMPTS, ReasonConfig()).explanations:
            assert not re.search(r"[{}\n\u202e]|<\|", told.text)
            assert told.source == ("llm" if with_engine else "template")

    def test_title_of_nothing_but_invisible_signs_is_shown_by_its_id(self) -> None:
        (told,) = write_reasons(
            [case_of(film("77", "\u200b"), film("h1", "\u200b"))], None, PROMPTS, ReasonConfig()
        ).explanations
        assert "film 77" in told.text.lower()
        assert "film h1" in told.text
