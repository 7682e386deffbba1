"""Sentences to learn from: true, told apart, and as the model is asked for them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from finetune.reason_examples import sample_sentence
from recsys.config import Settings
from recsys.explain.grammar import PLACEHOLDER, sentence_pattern
from tests.explain.cases import CASES, GRAMMAR_FILE
from tests.finetune.world import tuning


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("style", ["short", "detailed", "comparative"])
def test_what_is_drawn_is_a_sentence_of_the_grammar(name: str, style: str) -> None:
    case = CASES[name]
    if not case.has_content:
        return
    pattern = sentence_pattern(case, GRAMMAR_FILE, style=style)  # type: ignore[arg-type]
    found = {sample_sentence(pattern, random.Random(seed)) for seed in range(40)}
    assert all(re.fullmatch(pattern, one) for one in found)
    assert len(found) > 1
    assert sample_sentence(pattern, random.Random(1)) == sample_sentence(pattern, random.Random(1))


def test_an_expression_that_is_not_the_grammars_is_refused() -> None:
    with pytest.raises(ValueError, match="not understood"):
        sample_sentence("a)b", random.Random(0))


def test_a_lesson_is_the_served_prompt_and_a_true_answer(shop: Path, shared: Settings) -> None:
    with tuning(shop, shared, objectives={"reason": 1, "pointwise": 0}) as made:
        packed_examples = [
            made.reasons.packed_example(made.maker.example(n), random.Random(n)) for n in range(12)
        ]
        told = [packed_example for packed_example in packed_examples if packed_example is not None]
        assert len(told) > 6
        for prompt, answer in told:
            assert prompt.template.name == "explain/reason"
            found = json.loads(answer)
            assert found["evidence"] == list(
                dict.fromkeys(p for p in PLACEHOLDER.findall(found["sentence"]) if p != "item")
            )
            assert "{item}" in found["sentence"]
        asked = [made.packed_example(n).packed for n in range(12)]
        reasons = [packed for packed in asked if packed.objective == "reason"]
        assert len(reasons) > 6
        assert {packed.objective for packed in asked} <= {"reason", "pointwise"}
        text = made.tokenizer.decode([token for (token,) in reasons[0].labels])
        assert json.loads(text)["sentence"].endswith(".")
