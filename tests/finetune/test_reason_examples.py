"""Reasons to learn to write: true, specific, and prompted as when serving."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from recsys.config import Settings
from recsys.explain.grammar import sample_sentence, sentence_pattern
from tests.explain.cases import CASES, PHRASES
from tests.finetune.world import finetune_job


@pytest.mark.parametrize("name", CASES)
def test_a_sampled_sentence_matches_the_grammar(name: str) -> None:
    pattern = sentence_pattern(CASES[name], PHRASES.grammar)
    sentences = {sample_sentence(pattern, random.Random(seed).choice) for seed in range(40)}
    assert all(re.fullmatch(pattern, sentence) for sentence in sentences)
    assert len(sentences) > 1 or not CASES[name].has_content
    assert sample_sentence(pattern, random.Random(1).choice) == sample_sentence(
        pattern, random.Random(1).choice
    )


def test_a_pattern_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not a pattern of the reason grammar"):
        sample_sentence("a)b", random.Random(0).choice)


def test_a_reason_example_is_the_served_prompt_and_a_true_answer(shop: Path, shared: Settings) -> None:
    with finetune_job(shop, shared, objectives={"reason": 1, "pointwise": 0}) as job:
        examples = map(job.train_examples.example, range(12))
        pairs = [
            job.reason_examples.prompt_and_answer(example, random.Random(n))
            for n, example in enumerate(examples)
        ]
        reasons = [pair for pair in pairs if pair is not None]
        assert len(reasons) > 6
        for prompt, answer in reasons:
            assert prompt.template.name == "explain/reason"
            reason = json.loads(answer)
            assert list(reason) == ["sentence"]
            assert "{item}" in reason["sentence"]
        packed_prompts = [job.packed_example(n).packed for n in range(12)]
        packed_reasons = [packed for packed in packed_prompts if packed.objective == "reason"]
        assert len(packed_reasons) > 6
        assert {packed.objective for packed in packed_prompts} <= {"reason", "pointwise"}
        text = job.tokenizer.decode([token for (token,) in packed_reasons[0].labels])
        assert json.loads(text)["sentence"].endswith(".")
