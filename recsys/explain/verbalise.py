"""Evidence into one sentence: the model writes, the check decides, a template stands by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.config import ReasonConfig, Style
from recsys.engine.base import Engine, Generation
from recsys.errors import EngineDead, EngineError, PromptError
from recsys.explain.claims import Lexicon, unsupported
from recsys.explain.evidence import ReasonCase
from recsys.explain.grammar import PLACEHOLDER, Grammar, lacking, sentence_pattern
from recsys.explain.grounding import fits_all, ungrounded
from recsys.parsing import parse_reason
from recsys.prompting import PromptLibrary, RenderedPrompt
from recsys.types import Explanation

REASON_TEMPLATE = "explain/reason"
FALLBACK = "explain/fallback"
GRAMMAR = "explain/grammar.toml"
DEFAULT_LANGUAGE = "en"

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


def in_language(name: str, language: str, prompts: PromptLibrary) -> str:
    """ "explain/reason" -> "explain/zh/reason". Raises PromptError for a language without a folder."""
    if language == DEFAULT_LANGUAGE:
        return name
    folder, _, file = name.rpartition("/")
    found = {path.parent.name for top in prompts.folders for path in (top / folder).glob("*/grammar.toml")}
    if language not in found:
        raise PromptError(
            f"no reasons in the language '{language}'",
            hint=f"there are: {', '.join(sorted({DEFAULT_LANGUAGE, *found}))}; another is a folder of prompts/explain",
        )
    return f"{folder}/{language}/{file}"


def render_reason(
    case: ReasonCase, engine: Engine, prompts: PromptLibrary, config: ReasonConfig
) -> RenderedPrompt:
    """The exact prompt that asks for one reason."""
    variables = {
        "noun": case.nouns[0],
        "evidence": case.evidence,
        "shared": case.shared,
        "against": case.against,
        "lacking": lacking(case),
        "style": config.style,
    }
    name = in_language(REASON_TEMPLATE, config.language, prompts)
    return prompts.render(
        name, engine.tokenizer, variables, max_tokens=engine.max_model_len - _tokens(config)
    )


def reason_schema(
    case: ReasonCase, grammar: Path, attempt: int = 0, style: Style = "short"
) -> dict[str, Any]:
    """Evidence ids are an enum, the sentence one the grammar holds true."""
    ids = [entry.id for entry in (*case.evidence, *case.against)]
    return {
        "type": "object",
        "properties": {
            "evidence": {"type": "array", "items": {"enum": ids}, "minItems": 1, "maxItems": 4},
            "sentence": {"type": "string", "pattern": sentence_pattern(case, grammar, attempt, style)},
        },
        "required": ["evidence", "sentence"],
        "additionalProperties": False,
    }


def _tokens(config: ReasonConfig) -> int:
    """Two sentences need twice as many."""
    return config.max_tokens * (2 if config.style == "detailed" else 1)


def write_reasons(
    cases: Sequence[ReasonCase],
    engine: Engine | None,
    prompts: PromptLibrary,
    config: ReasonConfig,
    lexicon: Lexicon | None = None,
) -> Reasons:
    """One explanation per case, in rank order; never raises for what a model writes.

    A sentence that fails its check is asked for once more (`config.retries`), then
    replaced by a template sentence that lists what failed. Without an engine, or
    when it fails, all are template sentences and `degraded` says why. `lexicon` names
    faults better. Raises PromptError for a language that has no folder.
    """
    grammar = prompts.file(in_language(GRAMMAR, config.language, prompts))
    if config.style == "comparative":
        following = [*(case.item for case in cases[1:]), None]
        cases = [dataclasses.replace(case, other=other) for case, other in zip(cases, following, strict=True)]
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
                _ask([cases[n] for n in open_cases], engine, prompts, config, grammar, attempt),
                strict=True,
            ):
                generations.append(answer)
                others = [*cases[:number], *cases[number + 1 :]]
                explanation, wrong = _judge(answer, cases[number], others, grammar, config.language, lexicon)
                failures[number] = failures.get(number, ()) + wrong
                if explanation is not None:
                    found[number] = explanation.model_copy(update={"failures": failures[number]})
            open_cases = [number for number in open_cases if number not in found]
    except (EngineError, PromptError) as error:
        degraded = (f"reasons: {error.message}; template sentences instead",)
        engine_died = isinstance(error, EngineDead)
    explanations = [
        found.get(number) or template_reason(case, prompts, failures.get(number, ()), config)
        for number, case in enumerate(cases)
    ]
    return Reasons(explanations, generations, degraded, engine_died)


def _ask(
    cases: Sequence[ReasonCase],
    engine: Engine,
    prompts: PromptLibrary,
    config: ReasonConfig,
    grammar: Path,
    attempt: int,
) -> list[Generation]:
    rendered = [render_reason(case, engine, prompts, config) for case in cases]
    return engine.generate(
        [prompt.token_ids[0] for prompt in rendered],
        max_tokens=_tokens(config),
        schemas=[reason_schema(case, grammar, attempt, config.style) for case in cases],
        temperature=_TEMPERATURE,
        seed=attempt,
    )


def _judge(
    answer: Generation,
    case: ReasonCase,
    others: Sequence[ReasonCase],
    grammar: Path,
    language: str,
    lexicon: Lexicon | None,
) -> tuple[Explanation | None, tuple[str, ...]]:
    """Its placeholders, then the sentence as it would be shown, then the swap test."""
    known = {entry.id for entry in (*case.evidence, *case.against)}
    sentence, _, report = parse_reason(answer.text, known, truncated=answer.truncated)
    if not sentence or report.category == "truncated":
        return None, (report.category,)
    wrong = ungrounded(sentence, case, grammar)
    if wrong:
        return None, wrong
    explanation = _explanation(sentence, case, "llm", grammar, language)
    cited = PLACEHOLDER.findall(sentence)
    wrong = unsupported(explanation.text, case, grammar, lexicon, cited)
    if not wrong and fits_all(explanation.evidence, others) and not fits_all(case.evidence, others):
        wrong = ("unspecific",)  # and the case has what would tell it apart
    return (None, wrong) if wrong else (explanation, ())


def template_reason(
    case: ReasonCase,
    prompts: PromptLibrary,
    failures: tuple[str, ...] = (),
    config: ReasonConfig | None = None,
) -> Explanation:
    """A sentence of the same evidence that no model wrote."""
    config = config or ReasonConfig()

    def ids(kind: str) -> list[str]:
        return [entry.id for entry in case.by_kind(kind)]

    def placeholders(names: Sequence[str]) -> list[str]:
        return [f"{{{name}}}" for name in names]

    past, every, contrast = ids("history"), ids("attribute"), lacking(case)
    liked = past[:2]
    common = [a for a in every if liked and all(a in case.shared[name] for name in liked)]
    if liked and not common and case.shared[liked[0]]:  # one link that holds beats two that do not
        liked, common = liked[:1], list(case.shared[liked[0]])
    if config.style == "comparative" and contrast:
        common = [a for a in common if a in contrast]
        every = contrast
    shown = common[:2] if liked and common and not ids("wish") else every[:2]
    other = ["{other}"] if config.style == "comparative" and shown and contrast else []
    detailed = config.style == "detailed"
    variables = {
        "plural": case.nouns[1],
        "liked": placeholders(liked),
        "common": placeholders(common[:2]),
        "attributes": placeholders(every[:2]),
        "situation": placeholders(ids("context")[:1]),
        "wish": placeholders(ids("wish")),
        "together": placeholders(ids("together")[:1]),
        "popular": placeholders(ids("popularity")),
        "disliked": placeholders([e.id for e in case.against if e.kind == "history"][:1]),
        "other": other,
        "also_liked": placeholders([h for h in past if h not in liked][:1] if detailed else []),
        "also_has": placeholders([a for a in every if a not in shown][:1] if detailed else []),
        "variant": case.variant,
    }
    name = in_language(FALLBACK, config.language, prompts)
    grammar = prompts.file(in_language(GRAMMAR, config.language, prompts))
    sentence = prompts.render_block(name, "shared", variables)
    return _explanation(sentence, case, "template", grammar, config.language, failures)


def _explanation(
    sentence: str,
    case: ReasonCase,
    source: Literal["llm", "template"],
    grammar: Path,
    language: str,
    failures: tuple[str, ...] = (),
) -> Explanation:
    used = set(PLACEHOLDER.findall(sentence))
    return Explanation(
        text=Grammar.read(grammar).fill(sentence, case),
        source=source,
        grounded=True,
        evidence=tuple(entry for entry in case.evidence if entry.id in used),
        against=case.against,
        language=language,
        failures=failures,
    )
