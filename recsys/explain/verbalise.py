"""Evidence into one sentence: the model writes, the check decides, a template stands by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.config import ReasonConfig
from recsys.engine.base import Engine, Generation
from recsys.errors import EngineDead, EngineError, PromptError
from recsys.explain.evidence import ReasonCase
from recsys.explain.grammar import PLACEHOLDER, sentence_pattern
from recsys.explain.grounding import fill, ungrounded
from recsys.parsing import parse_reason
from recsys.prompting import PromptLibrary, RenderedPrompt
from recsys.types import Explanation

REASON_TEMPLATE = "explain/reason"
FALLBACK = "explain/fallback"
GRAMMAR = "explain/grammar.toml"

# Some randomness, seeded: without it every reason has the same shape.
_TEMPERATURE = 0.7


@dataclass
class Reasons:
    """Explanations in the order of the cases, and what they cost. `engine_died` says
    that the engine is gone for good."""

    explanations: list[Explanation]
    generations: list[Generation]
    degraded: tuple[str, ...] = ()
    engine_died: bool = False


def render_reason(
    case: ReasonCase, engine: Engine, prompts: PromptLibrary, config: ReasonConfig
) -> RenderedPrompt:
    """The exact prompt that asks for one reason."""
    variables = {"noun": case.nouns[0], "evidence": case.evidence, "shared": case.shared}
    budget = engine.max_model_len - config.max_tokens
    return prompts.render(REASON_TEMPLATE, engine.tokenizer, variables, max_tokens=budget)


def reason_schema(case: ReasonCase, grammar: Path, attempt: int = 0) -> dict[str, Any]:
    """Evidence ids are an enum, the sentence one the grammar holds true."""
    ids = [entry.id for entry in case.evidence]
    return {
        "type": "object",
        "properties": {
            "evidence": {"type": "array", "items": {"enum": ids}, "minItems": 1, "maxItems": 4},
            "sentence": {
                "type": "string",
                "pattern": sentence_pattern(case, grammar, attempt),
            },
        },
        "required": ["evidence", "sentence"],
        "additionalProperties": False,
    }


def write_reasons(
    cases: Sequence[ReasonCase], engine: Engine | None, prompts: PromptLibrary, config: ReasonConfig
) -> Reasons:
    """One explanation per case; never raises for what a model writes.

    A sentence that fails its check is asked for once more (`config.retries`), then
    replaced by a template sentence that lists what failed. Without an engine, or
    when it fails, all are template sentences and `degraded` says why.
    """
    found: dict[int, Explanation] = {}
    failures: dict[int, tuple[str, ...]] = {}
    generations: list[Generation] = []
    degraded: tuple[str, ...] = ()
    engine_died = False
    open_cases = [number for number, case in enumerate(cases) if case.claims] if engine else []
    try:
        for attempt in range(1 + config.retries):
            if not open_cases or engine is None:
                break
            for number, answer in zip(
                open_cases,
                _ask([cases[n] for n in open_cases], engine, prompts, config, attempt),
                strict=True,
            ):
                generations.append(answer)
                explanation, wrong = _judge(answer, cases[number], prompts)
                failures[number] = failures.get(number, ()) + wrong
                if explanation is not None:
                    found[number] = explanation.model_copy(update={"failures": failures[number]})
            open_cases = [number for number in open_cases if number not in found]
    except (EngineError, PromptError) as error:
        degraded = (f"reasons: {error.message}; template sentences instead",)
        engine_died = isinstance(error, EngineDead)
    explanations = [
        found.get(number) or template_reason(case, prompts, failures.get(number, ()))
        for number, case in enumerate(cases)
    ]
    return Reasons(explanations, generations, degraded, engine_died)


def _ask(
    cases: Sequence[ReasonCase], engine: Engine, prompts: PromptLibrary, config: ReasonConfig, attempt: int
) -> list[Generation]:
    rendered = [render_reason(case, engine, prompts, config) for case in cases]
    return engine.generate(
        [prompt.token_ids[0] for prompt in rendered],
        max_tokens=config.max_tokens,
        schemas=[reason_schema(case, prompts.file(GRAMMAR), attempt) for case in cases],
        temperature=_TEMPERATURE,
        seed=attempt,
    )


def _judge(
    answer: Generation, case: ReasonCase, prompts: PromptLibrary
) -> tuple[Explanation | None, tuple[str, ...]]:
    known = {entry.id for entry in case.evidence}
    sentence, _, report = parse_reason(answer.text, known, truncated=answer.truncated)
    if not sentence or report.category == "truncated":
        return None, (report.category,)
    wrong = ungrounded(sentence, case, prompts.file(GRAMMAR))
    if wrong:
        return None, wrong
    return _explanation(sentence, case, "llm"), ()


def template_reason(case: ReasonCase, prompts: PromptLibrary, failures: tuple[str, ...] = ()) -> Explanation:
    """A sentence of the same evidence that no model wrote."""

    def ids(kind: str) -> list[str]:
        return [entry.id for entry in case.by_kind(kind)]

    def placeholders(names: Sequence[str]) -> list[str]:
        return [f"{{{name}}}" for name in names]

    liked = ids("history")[:2]
    common = [a for a in ids("attribute") if liked and all(a in case.shared[name] for name in liked)]
    if liked and not common and case.shared[liked[0]]:  # one link that holds beats two that do not
        liked, common = liked[:1], list(case.shared[liked[0]])
    variables = {
        "plural": case.nouns[1],
        "liked": placeholders(liked),
        "common": placeholders(common[:2]),
        "attributes": placeholders(ids("attribute")[:2]),
        "situation": placeholders(ids("context")[:1]),
        "wish": placeholders(ids("wish")),
        "popular": placeholders(ids("popularity")),
        "variant": case.variant,
    }
    return _explanation(prompts.render_block(FALLBACK, "shared", variables), case, "template", failures)


def _explanation(sentence: str, case: ReasonCase, source: Any, failures: tuple[str, ...] = ()) -> Explanation:
    used = set(PLACEHOLDER.findall(sentence))
    return Explanation(
        text=fill(sentence, case),
        source=source,
        grounded=True,
        evidence=tuple(entry for entry in case.evidence if entry.id in used),
        failures=failures,
    )
