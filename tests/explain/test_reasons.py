"""Writing reasons: by the model, by the fallback, and with hostile text as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from recsys.config import ReasonConfig
from recsys.errors import EngineDead, EngineError
from recsys.explain import claim_failures, template_reason, write_reasons
from recsys.types import Context, Place
from tests.explain.cases import (
    ALIEN,
    CASES,
    GRAMMAR_FILE,
    PROMPTS,
    case_of,
    grid,
    ids,
)
from tests.fakes import ScriptedEngine, film, instance_of

WISH_END = "Wish: {w1}<|im_end|>\n<|im_start|>assistant\n"


def follow(schema: Mapping[str, Any] | None) -> str:
    assert schema is not None
    return json.dumps(instance_of(schema))


class TestFallback:
    def test_every_template_sentence_is_true_and_reads_as_one_sentence(self) -> None:
        faults = []
        for case in grid():
            reason = template_reason(case, PROMPTS)
            assert reason.source == "template"
            name = case.item.title
            odd = re.search(r"[{}\n]|\s\s|\s[.,;]|,,|\.\.|\band (,|\.|and)|\[\]", reason.text)
            if (
                odd
                or not reason.text.endswith(".")
                or reason.text.count(name) != 1
                or reason.text.count(".") != 1
            ):
                faults.append(reason.text)
            cited = {entry.id for entry in reason.evidence}
            assert cited <= set(ids(case))
            if case.has_content:
                assert cited, reason.text
        assert faults == []

    def test_every_claim_of_a_template_sentence_is_supported(self) -> None:
        wrong = []
        for case in grid():
            text = template_reason(case, PROMPTS).text
            failures = claim_failures(text, case, GRAMMAR_FILE)
            if failures and (case.has_content or failures != ("unspecific",)):
                wrong.append((text, failures))
        assert wrong == []

    def test_item_without_evidence_is_called_unknown(self) -> None:
        case = case_of(film("x", "Untold"), channels={"popularity": 99})
        assert not case.evidence
        (reason,) = write_reasons([case], ScriptedEngine(), PROMPTS, ReasonConfig()).explanations
        assert reason.text == "Nothing is known yet that speaks for Untold."
        assert reason.source == "template"
        assert reason.evidence == ()


class TestWriting:
    def test_sentence_that_holds_is_kept_with_what_it_cites(self) -> None:
        engine = ScriptedEngine()
        case = CASES["liked in context"]
        result = write_reasons([case], engine, PROMPTS, ReasonConfig())
        (reason,) = result.explanations
        assert reason.source == "llm"
        assert reason.failures == ()
        assert result.degraded == ()
        assert {entry.id for entry in reason.evidence} <= set(ids(case))
        assert "Dune" in reason.text
        assert len(engine.calls) == 1

    def test_all_cases_travel_in_one_call_and_come_back_in_order(self) -> None:
        engine = ScriptedEngine()
        cases = [case_of(film(str(n), f"Title {n}", "Sci-Fi"), ALIEN) for n in range(4)]
        result = write_reasons(cases, engine, PROMPTS, ReasonConfig())
        assert len(engine.calls) == 1
        assert [f"Title {n}" in reason.text for n, reason in enumerate(result.explanations)] == [True] * 4

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
        reason = write_reasons(cases, engine, PROMPTS, ReasonConfig()).explanations
        assert [one.failures for one in reason] == [()] * 3
        for one, (_, unique) in zip(reason, kinds, strict=True):
            assert [e.text for e in one.evidence if e.kind == "attribute"] == ["Sci-Fi", unique]

    def test_bad_sentence_is_generated_again_and_the_failure_kept(self) -> None:
        answers = iter(['{"evidence": ["h1"], "sentence": "{item} won an Oscar."}'])
        engine = ScriptedEngine(write=lambda _, schema: next(answers, "") or follow(schema))
        result = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=1))
        (reason,) = result.explanations
        assert reason.source == "llm"
        assert reason.failures == ("uncited_claim",)
        assert [call.seed for call in engine.calls] == [0, 1]
        assert len(result.generations) == 2

    def test_only_the_bad_sentence_is_generated_again(self) -> None:
        good, bad = CASES["wish"], CASES["one liked"]
        engine = ScriptedEngine(
            write=lambda text, schema: follow(schema) if text.endswith(WISH_END) else "no"
        )
        result = write_reasons([good, bad], engine, PROMPTS, ReasonConfig(retries=2))
        assert [len(call.texts) for call in engine.calls] == [2, 1, 1]
        assert [reason.source for reason in result.explanations] == ["llm", "template"]

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
        (reason,) = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=1)).explanations
        assert reason.source == "template"
        assert reason.failures.count(failure) == 2
        assert "Brazil" in reason.text

    def test_sentence_that_was_cut_off_is_not_used(self) -> None:
        engine = ScriptedEngine(truncates=True)
        (reason,) = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=0)).explanations
        assert (reason.source, reason.failures) == ("template", ("truncated",))

    @pytest.mark.parametrize("error", [EngineError("busy"), EngineDead("gone")], ids=["fails", "dies"])
    def test_failing_engine_gives_template_sentences_and_says_so(self, error: EngineError) -> None:
        engine = ScriptedEngine(fail_in={"generate": error})
        result = write_reasons([CASES["one liked"], CASES["wish"]], engine, PROMPTS, ReasonConfig())
        assert [reason.source for reason in result.explanations] == ["template", "template"]
        assert len(result.degraded) == 1
        assert result.engine_died == isinstance(error, EngineDead)
        assert error.message in result.degraded[0]

    def test_what_was_written_before_the_engine_died_is_kept(self) -> None:
        engine = ScriptedEngine(
            write=lambda text, schema: follow(schema) if text.endswith(WISH_END) else "no",
            fail_at={1: EngineDead("gone")},
        )
        result = write_reasons([CASES["wish"], CASES["one liked"]], engine, PROMPTS, ReasonConfig())
        assert [reason.source for reason in result.explanations] == ["llm", "template"]
        assert result.explanations[1].failures == ("wrong_format",)
        assert result.degraded

    def test_without_an_engine_all_are_template_sentences(self) -> None:
        result = write_reasons([CASES["popular"]], None, PROMPTS, ReasonConfig())
        assert result.explanations[0].source == "template"
        assert result.generations == []

    def test_context_alone_is_not_sent_to_the_model(self) -> None:
        """The grammar has no sentence about context alone: it once produced a full stop."""
        engine = ScriptedEngine()
        case = case_of(film("x", "Untold"), channels={"popularity": 99}, effect=1.0)
        (reason,) = write_reasons([case], engine, PROMPTS, ReasonConfig()).explanations
        assert not engine.calls
        assert reason.source == "template"
        assert reason.failures == ()

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
        for reason in write_reasons(cases, engine, PROMPTS, ReasonConfig()).explanations:
            assert not re.search(r"[{}\n\u202e]|<\|", reason.text)
            assert reason.source == ("llm" if with_engine else "template")

    def test_title_of_nothing_but_invisible_signs_is_shown_by_its_id(self) -> None:
        (reason,) = write_reasons(
            [case_of(film("77", "\u200b"), film("h1", "\u200b"))], None, PROMPTS, ReasonConfig()
        ).explanations
        assert "film 77" in reason.text.lower()
        assert "film h1" in reason.text
