"""A model is asked the domain's ranking prompt once before it is trusted."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from recsys.config import Domain
from recsys.engine.labels import label_ids
from recsys.errors import EngineError, UnusableModel
from recsys.prompting.library import PromptLibrary
from recsys.ranking.probe import LABEL_MASS_FLOOR, check_ranking_prompt
from tests.fakes import FakeTokenizer, ScriptedEngine
from tests.prompting.test_chat import TEMPLATES, tokenizer_with


def probed(films: Domain, engine: Any, strategy: str = "pointwise") -> Any:
    domain = films.model_copy(update={"ranker": films.ranker.model_copy(update={"strategy": strategy})})
    return check_ranking_prompt(engine, PromptLibrary(domain.prompt_folder), domain)


@pytest.mark.parametrize("strategy", ["pointwise", "listwise", "title", "generated", "generated-scores"])
def test_model_that_answers_is_asked_once_at_most(films: Domain, strategy: str) -> None:
    engine = ScriptedEngine()
    scores = probed(films, engine, strategy)
    assert len(engine.prompts) == (strategy in ("pointwise", "listwise"))
    assert (scores is None) == (not engine.prompts)


@pytest.mark.parametrize("mass", [0.0, 1e-9, 4e-5, 0.0099, math.nan])
@pytest.mark.parametrize("strategy", ["pointwise", "listwise"])
def test_model_that_says_something_else_where_the_answer_is_read_is_refused(
    films: Domain, strategy: str, mass: float
) -> None:
    """A model that begins `<think>` there used to rank by noise, without a word."""
    engine = ScriptedEngine()
    engine.label_mass = max(mass, 1e-300)
    with pytest.raises(UnusableModel, match=r"probability|not numbers") as caught:
        probed(films, engine, strategy)
    assert caught.value.hint


@pytest.mark.parametrize("mass", [LABEL_MASS_FLOOR, 0.02, 0.4, 0.9, 1.0])
def test_model_that_mostly_answers_is_used(films: Domain, mass: float) -> None:
    assert probed(films, ScriptedEngine(label_mass=mass)).label_mass == mass


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('System role not supported') }}",
        "no text at all",
        "{{ messages[0]['content'] }}{{ messages[0]['content'] }}",
        "{{ broken",
        "{{ messages[7]['content'] }}",
    ],
)
@pytest.mark.parametrize("strategy", ["pointwise", "title", "generated"])
def test_chat_template_that_cannot_be_used_is_told(films: Domain, template: str, strategy: str) -> None:
    with pytest.raises(UnusableModel, match="chat template"):
        probed(films, ScriptedEngine(tokenizer=tokenizer_with(template)), strategy)


def test_engine_that_fails_is_an_engine_error(films: Domain) -> None:
    with pytest.raises(EngineError, match="busy"):
        probed(films, ScriptedEngine(fail_at={0: EngineError("busy")}))


@pytest.mark.parametrize("end", ["assistant\n", "model\n", "\n\n", "<|assistant|>", "[/INST]", "Answer: "])
def test_label_that_is_read_as_it_is_alone_keeps_its_token(end: str) -> None:
    tokenizer, labels = FakeTokenizer(), ("Yes", "No", "A")
    assert label_ids(tokenizer, labels, f"Heat?{end}") == label_ids(tokenizer, labels)


class SentencePieceTokenizer:
    """Marks the start of a text and of a word, as the tokenizers of Llama 2, TinyLlama and Zephyr do."""

    chat_template = None
    all_special_tokens: list[str] = []  # noqa: RUF012
    whole: tuple[str, ...] = ("▁Yes", "▁No", "Yes", "No")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        marked = "▁" + text.replace(" ", "▁")
        signs = re.findall("|".join([*self.whole, "."]), marked, re.DOTALL)
        return [self.whole.index(sign) if sign in self.whole else 1000 + ord(sign) for sign in signs]

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> str:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("end", "ids"),
    [
        ("", (0, 1)),
        ("<|assistant|>\n", (2, 3)),
        ("model\n\n", (2, 3)),
        ("[/INST]", (0, 1)),  # "[/INST] Yes" is how such a model goes on
        ("Answer: ", (0, 1)),
    ],
)
def test_label_has_the_token_with_which_the_model_goes_on(end: str, ids: tuple[int, int]) -> None:
    """TinyLlama's "Yes" after a line break used to be refused, as it is not the token of "Yes" alone."""
    assert label_ids(SentencePieceTokenizer(), ("Yes", "No"), end) == ids


@pytest.mark.parametrize("end", ["assistant\n", "model\n", "x", "word", "\n\n"])
def test_label_of_several_tokens_where_it_is_read_is_refused(end: str) -> None:
    class Tokenizer(SentencePieceTokenizer):
        whole = ("▁Yes", "▁No")

        def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
            return super().encode(text.replace(" ", "_"))

    with pytest.raises(UnusableModel, match="not one token for this model where it is read"):
        label_ids(Tokenizer(), ("Yes", "No"), f"Heat?{end}")


@pytest.mark.parametrize("family", TEMPLATES)
def test_every_family_passes_with_a_model_that_answers(films: Domain, family: str) -> None:
    tokenizer = FakeTokenizer()
    tokenizer.apply_chat_template = tokenizer_with(TEMPLATES[family]).apply_chat_template  # type: ignore[method-assign]
    assert probed(films, ScriptedEngine(tokenizer=tokenizer)).label_mass > LABEL_MASS_FLOOR
