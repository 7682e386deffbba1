"""The fake engine keeps the same promises as the real ones, so tests on it mean something."""

from __future__ import annotations

import re

import pytest

from recsys.engine.base import GenerationRequest
from recsys.errors import EngineDead, EngineError
from tests.contracts import EngineContract, check_closed, encoded
from tests.fakes import FakeTokenizer, ScriptedEngine, first_match


class TestScriptedEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> ScriptedEngine:
        return ScriptedEngine()


def test_closed_engine_is_dead() -> None:
    check_closed(ScriptedEngine())


@pytest.mark.parametrize(
    "text",
    ["", "Yes", "one  two\n", "<|im_start|>user\nHi<|im_end|>", "unbelievably long", "\ud800", "日本 🎬 é"],
)
def test_decode_undoes_encode(text: str) -> None:
    tokenizer = FakeTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_engine_fails_at_the_call_it_was_told_to_and_recovers() -> None:
    engine = ScriptedEngine(fail_at={1: EngineError("busy")})
    engine.generate(GenerationRequest(encoded(engine), max_tokens=4))
    with pytest.raises(EngineError, match="busy"):
        engine.generate(GenerationRequest(encoded(engine), max_tokens=4))
    engine.generate(GenerationRequest(encoded(engine), max_tokens=4))
    assert len(engine.calls) == 2


def test_dead_engine_stays_dead() -> None:
    engine = ScriptedEngine(fail_in={"labels": EngineDead("gone")})
    engine.generate(GenerationRequest(encoded(engine), max_tokens=4))
    with pytest.raises(EngineDead):
        engine.label_logprobs(encoded(engine), [1])
    with pytest.raises(EngineDead):
        engine.generate(GenerationRequest(encoded(engine), max_tokens=4))


@pytest.mark.parametrize(
    "pattern", [r"^(a|b)c(d )?\.$", r"^(Since|As) you liked (\{h1\} and \{h2\}|\{h1\})\.$"]
)
def test_first_match_matches(pattern: str) -> None:
    assert re.fullmatch(pattern, first_match(pattern))
