"""The free writer: a model words a reason itself, from one sentence that is true.

It sees a sentence of the grammar with placeholders for titles and facts, and says the same in other
words. Two checks follow. By rule: each placeholder once, and no name, number, quotation or negation that
the sentence lacks. By the model: whether the new sentence follows from the true one, as the probability
of its own Yes; what counts as enough is measured for each model (`recsys doctor --reasons`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from recsys.engine.base import Engine
from recsys.engine.labels import label_ids
from recsys.explain.cases import ReasonCase
from recsys.explain.grammar import SLOT, Grammar, form_patterns, sample_sentence
from recsys.prompting.library import PromptLibrary

FREE_TEMPLATE = "explain/free"
FOLLOWS_TEMPLATE = "explain/follows"
_DIGIT = re.compile(r"\d")
_QUOTES = re.compile('["\u201c\u201d\u300c\u300d\u00ab\u00bb*_#<>\\[\\]]')
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z][\w'\u2019]*")  # a capital within a sentence


def plain_sentence(case: ReasonCase, grammar: Grammar) -> str:
    """Return a true sentence of the grammar, without what stands beside a title."""
    forms = [sample_sentence(pattern, lambda texts: texts[0]) for pattern in form_patterns(case, grammar)]
    return forms[case.variant % len(forms)].replace("{item}{aside}", "{item}")


def with_aside(sentence: str, case: ReasonCase) -> str:
    """Return a sentence with what tells the item apart after its title."""
    return sentence.replace("{item}", "{item}{aside}") if "aside" in case.slots else sentence


def free_schema(plain: str) -> dict[str, Any]:
    """Build the JSON schema of a rewritten sentence: text, placeholders of `plain`."""
    slots = "|".join(sorted(set(SLOT.findall(plain))))
    pattern = rf"^([^{{}}\"\\\n]|\{{({slots})\}})+$"
    return {
        "type": "object",
        "properties": {"sentence": {"type": "string", "pattern": pattern}},
        "required": ["sentence"],
        "additionalProperties": False,
    }


def free_failures(sentence: str, plain: str, grammar: Grammar) -> tuple[str, ...]:
    """Return what is wrong with a rewritten sentence by rule; () if nothing is.

    - `unknown_evidence`: a placeholder that the true sentence lacks
    - `uncited_claim`: a number, a quotation, a name, or a word of `only_if` that it lacks
    - `incomplete`: a placeholder is missing or repeated, or the sentence does not end
    - `instruction`: an order to the reader
    """
    used, expected = Counter(SLOT.findall(sentence)), Counter(SLOT.findall(plain))
    failures = ["unknown_evidence"] if used.keys() - expected.keys() else []
    if used != expected or not sentence.rstrip().endswith(grammar.table["stop"]):
        failures.append("incomplete")
    words = SLOT.sub("x", sentence)
    new = [word for word in grammar.table["only_if"].split() if _has(word, words) and not _has(word, plain)]
    if new or any(pattern.search(words) for pattern in (_DIGIT, _QUOTES, _NAME)):
        failures.append("uncited_claim")
    if re.search(grammar.table["words"]["orders"], words, re.IGNORECASE):
        failures.append("instruction")
    return tuple(failures)


def follow_probabilities(
    pairs: Sequence[tuple[str, str]], engine: Engine, prompts: PromptLibrary, template: str
) -> list[float]:
    """Return p(Yes) that each claim follows from its sentence: [(sentence, claim)].

    Raises:
        EngineError: The engine fails.
        PromptError: The template is wrong.
    """
    if not pairs:
        return []
    rendered = [
        prompts.render(
            template,
            engine.tokenizer,
            {"sentence": sentence, "claim": claim},
            max_tokens=engine.max_model_len - 1,
        )
        for sentence, claim in pairs
    ]
    labels = label_ids(engine.tokenizer, rendered[0].template.meta.labels, rendered[0].tails[0])
    scores = engine.label_logprobs([prompt.token_ids[0] for prompt in rendered], labels)
    return [1 / (1 + math.exp(score.logprobs[1] - score.logprobs[0])) for score in scores]


def _has(word: str, text: str) -> bool:
    pattern = rf"(?<!\w){re.escape(word)}(?!\w)" if word.isascii() else re.escape(word)
    return bool(re.search(pattern, text, re.IGNORECASE))
