"""Reasons in words: written by the model, checked, with a template as fallback."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from recsys.config import ReasonConfig, Style
from recsys.engine.base import Engine, Generation, GenerationRequest, Tokenizer
from recsys.errors import EngineDead, EngineError, PromptError
from recsys.explain.claims import Lexicon, claim_failures
from recsys.explain.evidence import ReasonCase, attribute_values
from recsys.explain.grammar import (
    PLACEHOLDER,
    Grammar,
    against_slots,
    contrast_attributes,
    sentence_pattern,
)
from recsys.explain.verifier import fits_all, grounding_failures
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.prompting.parsing import parse_reason
from recsys.types import Explanation

REASON_TEMPLATE = "explain/reason"
FALLBACK = "explain/fallback"
GRAMMAR = "explain/grammar.toml"
DEFAULT_LANGUAGE = "en"

# Some randomness, seeded: without it every reason has the same shape.
_TEMPERATURE = 0.7

_Result = TypeVar("_Result")


@dataclass
class Reasons:
    """Explanations in the order of the cases, and what they cost."""

    explanations: list[Explanation] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    degraded: tuple[str, ...] = ()
    engine_died: bool = False  # the engine cannot be used again


def in_language(name: str, language: str, prompts: PromptLibrary) -> str:
    """Return a file's name in a language: "explain/reason" -> "explain/zh/reason".

    Raises:
        PromptError: There is no folder for the language.
    """
    if language == DEFAULT_LANGUAGE:
        return name
    folder, _, file = name.rpartition("/")
    if language not in (known := languages(prompts)):
        raise PromptError(
            f"no reasons in the language '{language}'",
            hint=f"use one of: {', '.join(known)}; to add another, add a folder to prompts/explain",
        )
    return f"{folder}/{language}/{file}"


def languages(prompts: PromptLibrary) -> list[str]:
    """List the languages that reasons can be written in, sorted."""
    folder, _, file = GRAMMAR.rpartition("/")
    translations = {path.parent.name for top in prompts.folders for path in (top / folder).glob(f"*/{file}")}
    return sorted({DEFAULT_LANGUAGE, *translations})


class TokenWindow(Protocol):
    """The part of an engine that rendering needs: tokenizer and context length."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def max_model_len(self) -> int: ...


def render_reason(
    case: ReasonCase, engine: TokenWindow, prompts: PromptLibrary, config: ReasonConfig
) -> RenderedPrompt:
    """Render the exact prompt for one reason."""
    variables = {
        "noun": case.nouns[0],
        "evidence": case.evidence,
        "shared": case.shared,
        "against": case.against,
        "contrast_attributes": contrast_attributes(case),
        "wish_attributes": sorted(case.wish_attributes),
        "style": config.style,
        "net_negative": case.net_negative,
    }
    name = in_language(REASON_TEMPLATE, config.language, prompts)
    return prompts.render(
        name, engine.tokenizer, variables, max_tokens=engine.max_model_len - _max_tokens(config)
    )


def reason_schema(
    case: ReasonCase, grammar: Path, attempt: int = 0, style: Style = "short"
) -> dict[str, Any]:
    """Build the JSON schema: an enum of evidence ids, and the grammar."""
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


def _max_tokens(config: ReasonConfig) -> int:
    """Return the token limit of a generation: two sentences get twice as many."""
    return config.max_tokens * (2 if config.style == "detailed" else 1)


def write_reasons(
    cases: Sequence[ReasonCase],
    engine: Engine | None,
    prompts: PromptLibrary,
    config: ReasonConfig,
    lexicon: Lexicon | None = None,
) -> Reasons:
    """Run `write_each` to its end."""
    return drained(write_each(cases, engine, prompts, config, lexicon))


def drained(steps: Generator[Any, None, _Result]) -> _Result:
    """Run a generator to its end and return its return value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


def write_each(
    cases: Sequence[ReasonCase],
    engine: Engine | None,
    prompts: PromptLibrary,
    config: ReasonConfig,
    lexicon: Lexicon | None = None,
) -> Generator[tuple[int, Explanation], None, Reasons]:
    """Write one explanation per case.

    Never raises for model output: a sentence that fails its check is generated again
    (`config.retries` times), then replaced by a template sentence that lists the failures. Without an
    engine, or when it fails, all reasons are template sentences and `degraded` says why.

    Args:
        cases: Items and their evidence, in rank order.
        engine: The model to write with; None: template sentences only.
        prompts: Templates and grammar.
        config: Style, language and limits.
        lexicon: Names failures more precisely.

    Yields:
        (number of the case, explanation) as soon as it is checked.

    Returns:
        All explanations in the order of the cases.

    Raises:
        PromptError: There is no folder for the language.
    """
    grammar = prompts.file(in_language(GRAMMAR, config.language, prompts))
    if config.style == "comparative":
        cases = _with_next_item(cases)
    cases = _with_distinguishing_attributes(cases)
    written: dict[int, Explanation] = {}
    failures: dict[int, tuple[str, ...]] = {}
    result = Reasons()
    pending = [number for number, case in enumerate(cases) if case.has_content] if engine else []
    try:
        for attempt in range(1 + config.retries):
            if not pending or engine is None:
                break
            batch = [cases[number] for number in pending]
            for index, generation in _generate(batch, engine, prompts, config, grammar, attempt):
                number = pending[index]
                result.generations.append(generation)
                others = [*cases[:number], *cases[number + 1 :]]
                explanation, wrong = _check(
                    generation, cases[number], others, grammar, config.language, lexicon
                )
                failures[number] = failures.get(number, ()) + wrong
                if explanation is not None:
                    written[number] = explanation.model_copy(update={"failures": failures[number]})
                    yield number, written[number]
            pending = [number for number in pending if number not in written]
    except (EngineError, PromptError) as error:
        result.degraded = (f"reasons: {error.message}; template sentences instead",)
        result.engine_died = isinstance(error, EngineDead)
    for number, case in enumerate(cases):
        if number not in written:
            written[number] = template_reason(case, prompts, failures.get(number, ()), config)
            yield number, written[number]
    result.explanations = [written[number] for number in range(len(cases))]
    return result


def _with_next_item(cases: Sequence[ReasonCase]) -> list[ReasonCase]:
    """Set each case's `other` to the next case's item, unless it is ranked higher."""
    following: list[ReasonCase | None] = [*cases[1:], None]
    return [
        dataclasses.replace(case, other=after.item if after and after.rank >= case.rank else None)
        for case, after in zip(cases, following, strict=True)
    ]


def _with_distinguishing_attributes(cases: Sequence[ReasonCase]) -> list[ReasonCase]:
    """Set each case's attributes that not every other item has."""
    values = [attribute_values(case.item) for case in cases]
    updated = []
    for number, case in enumerate(cases):
        others = [*values[:number], *values[number + 1 :]]
        ids = (e.id for e in case.by_kind("attribute") if not all(e.text in other for other in others))
        updated.append(dataclasses.replace(case, distinguishing_attributes=frozenset(ids)))
    return updated


def _generate(
    cases: Sequence[ReasonCase],
    engine: Engine,
    prompts: PromptLibrary,
    config: ReasonConfig,
    grammar: Path,
    attempt: int,
) -> Iterator[tuple[int, Generation]]:
    rendered = [render_reason(case, engine, prompts, config) for case in cases]
    return engine.stream(
        GenerationRequest(
            [prompt.token_ids[0] for prompt in rendered],
            max_tokens=_max_tokens(config),
            schemas=[reason_schema(case, grammar, attempt, config.style) for case in cases],
            temperature=_TEMPERATURE,
            seed=attempt,
        )
    )


def _check(
    generation: Generation,
    case: ReasonCase,
    others: Sequence[ReasonCase],
    grammar: Path,
    language: str,
    lexicon: Lexicon | None,
) -> tuple[Explanation | None, tuple[str, ...]]:
    """Check the placeholders, the sentence as shown, and whether it fits all others.

    Returns:
        (explanation, ()) or (None, kinds of failure).
    """
    known = {entry.id for entry in (*case.evidence, *case.against)}
    sentence, _, report = parse_reason(generation.text, known, truncated=generation.truncated)
    if not sentence or report.category == "truncated":
        return None, (report.category,)
    explanation = _explanation(sentence, case, "llm", grammar, language)
    cited = PLACEHOLDER.findall(sentence)
    failures = grounding_failures(sentence, case, grammar)
    if not failures or (lexicon is not None and failures == ("uncited_claim",)):
        failures = claim_failures(explanation.text, case, grammar, lexicon, cited) or failures
    offered = (*case.evidence, *(case.against if case.net_negative else ()))
    used = [entry for entry in offered if entry.id in cited]
    if not failures and fits_all(used, others) and not fits_all(offered, others):
        failures = ("unspecific",)  # although the case has evidence that would be specific
    return (None, failures) if failures else (explanation, ())


def template_reason(
    case: ReasonCase,
    prompts: PromptLibrary,
    failures: tuple[str, ...] = (),
    config: ReasonConfig | None = None,
) -> Explanation:
    """Write a sentence from the same evidence without a model."""
    config = config or ReasonConfig()
    name = in_language(FALLBACK, config.language, prompts)
    grammar = prompts.file(in_language(GRAMMAR, config.language, prompts))
    sentence = prompts.render_block(name, "shared", _template_variables(case, config.style))
    return _explanation(sentence, case, "template", grammar, config.language, failures)


def _template_variables(case: ReasonCase, style: Style) -> dict[str, Any]:
    """Choose what the fallback template names."""

    def ids(kind: str) -> list[str]:
        return [entry.id for entry in case.by_kind(kind)]

    related = [] if case.net_negative or ids("wish") or ids("repeat") else case.by_kind("relation")[:1]
    told = {entry.item_id for entry in related}
    past = [entry.id for entry in case.by_kind("history") if entry.item_id not in told]
    contrast = contrast_attributes(case)
    liked, common, attributes = _liked_and_attributes(case, past)
    if related:
        liked, common = [], []
    if style == "comparative" and contrast:
        common = [a for a in common if a in contrast]
        attributes = contrast
    named = common[:2] if liked and common and not ids("wish") else attributes[:2]
    detailed = style == "detailed"
    against = case.against[:1] if case.net_negative else case.major_counter_evidence
    return {
        "plural": case.nouns[1],
        "related": _placeholders([entry.id for entry in related]),
        "liked": _placeholders(liked),
        "common": _placeholders(common[:2]),
        "attributes": _placeholders(attributes[:2]),
        "situation": _placeholders(ids("context")[:1] + ids("profile")[:1]),
        "wish": _placeholders(ids("wish")),
        "wish_attributes": attributes[:1] if attributes and attributes[0] in case.wish_attributes else [],
        "co_consumed": _placeholders(ids("co_consumed")[:1]),
        "repeat": _placeholders(ids("repeat")),
        "popular": _placeholders(ids("popularity")),
        "against": against_slots(case, against),
        "net_negative": case.net_negative,
        "other": ["{other}"] if style == "comparative" and named and contrast else [],
        "also_liked": _placeholders([h for h in past if h not in liked][:1] if detailed else []),
        "also_has": _placeholders([a for a in attributes if a not in named][:1] if detailed else []),
        "listed": case.listed,
        "variant": case.variant,
    }


def _liked_and_attributes(case: ReasonCase, past: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return ids of liked items, of attributes they all share, of all attributes."""
    attributes = [entry.id for entry in case.by_kind("attribute")]
    if case.wish_attributes:  # after the first, those that other items lack
        attributes[1:] = sorted(attributes[1:], key=lambda name: name not in case.distinguishing_attributes)
    liked = list(past[:2])
    common = [a for a in attributes if liked and all(a in case.shared[name] for name in liked)]
    if liked and not common and case.shared[liked[0]]:  # one true link is better than two unlinked items
        liked, common = liked[:1], list(case.shared[liked[0]])
    return liked, common, attributes


def _placeholders(names: Sequence[str]) -> list[str]:
    return [f"{{{name}}}" for name in names]


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
