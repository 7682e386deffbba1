"""Reasons in words: written by the model, checked, or a form of the grammar."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from recsys.config import Domain, ReasonConfig
from recsys.engine.base import Engine, Generation, GenerationRequest, Tokenizer
from recsys.errors import EngineDead, EngineError, PromptError
from recsys.explain.cases import ReasonCase
from recsys.explain.claims import Lexicon, claim_failures
from recsys.explain.free import (
    FOLLOWS_TEMPLATE,
    FREE_TEMPLATE,
    follow_probabilities,
    free_failures,
    free_schema,
    plain_sentence,
    with_aside,
)
from recsys.explain.grammar import SLOT, Grammar, form_patterns, sample_sentence, sentence_pattern
from recsys.explain.phrases import Phrases
from recsys.explain.verifier import grounding_failures
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.prompting.parsing import parse_reason
from recsys.types import Explanation

REASON_TEMPLATE = "explain/reason"
GRAMMAR = "explain/grammar.toml"
DEFAULT_LANGUAGE = "en"

# Some randomness, seeded: without it every reason has the same shape.
_TEMPERATURE = 0.7
FREE_ATTEMPTS = 2  # before a form of the grammar is asked for

Checked = tuple[Explanation | None, tuple[str, ...]]
"""An explanation, or what is wrong with it."""
Written = tuple[int, Generation, Checked]
"""The number of a case, what was generated for it, and what came of it."""
Attempt = Callable[[Sequence[ReasonCase], Engine, PromptLibrary], Iterator[Written]]

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


def phrases_of(domain: Domain, prompts: PromptLibrary) -> Phrases:
    """Return the phrases of a domain in the language of its reasons."""
    reasons = domain.reasons
    grammar = Grammar.read(prompts.file(in_language(GRAMMAR, reasons.language, prompts)))
    if reasons.language in reasons.title:
        grammar = Grammar({**grammar.table, "title": reasons.title[reasons.language]})
    return Phrases(domain, grammar)


def render_reason(
    case: ReasonCase, engine: TokenWindow, prompts: PromptLibrary, phrases: Phrases
) -> RenderedPrompt:
    """Render the exact prompt for one reason."""
    config = phrases.domain.reasons
    variables = {
        "noun": case.nouns[0],
        "slots": list(case.slots),
        "examples": example_sentences(case, phrases.grammar),
    }
    name = in_language(REASON_TEMPLATE, config.language, prompts)
    return prompts.render(
        name, engine.tokenizer, variables, max_tokens=engine.max_model_len - _max_tokens(config)
    )


def reason_schema(case: ReasonCase, grammar: Grammar, attempt: int = 0) -> dict[str, Any]:
    """Build the JSON schema of a reason: a sentence of the grammar."""
    return {
        "type": "object",
        "properties": {"sentence": {"type": "string", "pattern": sentence_pattern(case, grammar, attempt)}},
        "required": ["sentence"],
        "additionalProperties": False,
    }


def _max_tokens(config: ReasonConfig) -> int:
    """Return the token limit of a generation: two sentences get twice as many."""
    return config.max_tokens * (2 if config.style == "detailed" else 1)


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
    phrases: Phrases,
    lexicon: Lexicon | None = None,
    follows: float | None = None,
) -> Generator[tuple[int, Explanation], None, Reasons]:
    """Write one explanation per case.

    Never raises for model output: a sentence that fails its check is generated again
    (`config.retries` times), then replaced by a form of the grammar, and the failures are listed. Without
    an engine, or when it fails, all reasons are such template sentences and `degraded` says why.
    With `follows` the model words the sentences itself first, twice.

    Args:
        cases: What each reason says, in rank order.
        engine: The model to write with; None: template sentences only.
        prompts: Templates.
        phrases: Grammar and words of the domain.
        lexicon: Names failures more precisely.
        follows: The least p(Yes) that a sentence in the model's own words follows; None: grammar only.

    Yields:
        (number of the case, explanation) as soon as it is checked.

    Returns:
        All explanations in the order of the cases.
    """
    written: dict[int, Explanation] = {}
    failures: dict[int, tuple[str, ...]] = {}
    result = Reasons()
    pending = [number for number, case in enumerate(cases) if case.has_content] if engine else []
    try:
        for attempt in _attempts(phrases, lexicon, follows):
            if not pending or engine is None:
                break
            batch = [cases[number] for number in pending]
            for index, generation, (explanation, wrong) in attempt(batch, engine, prompts):
                number = pending[index]
                result.generations.append(generation)
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
            written[number] = template_reason(case, phrases, failures.get(number, ()))
            yield number, written[number]
    result.explanations = [written[number] for number in range(len(cases))]
    return result


def _attempts(phrases: Phrases, lexicon: Lexicon | None, follows: float | None) -> list[Attempt]:
    """Return the ways to write that are tried in turn, for what is not written yet."""
    own: list[Attempt] = []
    if follows is not None:
        own = [
            partial(write_freely, phrases=phrases, follows=follows, seed=seed)
            for seed in range(FREE_ATTEMPTS)
        ]
    return [
        *own,
        *(
            partial(_write_by_grammar, phrases=phrases, lexicon=lexicon, seed=seed)
            for seed in range(1 + phrases.domain.reasons.retries)
        ),
    ]


def _write_by_grammar(
    cases: Sequence[ReasonCase],
    engine: Engine,
    prompts: PromptLibrary,
    *,
    phrases: Phrases,
    lexicon: Lexicon | None,
    seed: int,
) -> Iterator[Written]:
    """Let the model choose among the forms of the grammar."""
    rendered = [render_reason(case, engine, prompts, phrases) for case in cases]
    schemas = [reason_schema(case, phrases.grammar, seed) for case in cases]
    for index, generation in engine.stream(_request(rendered, schemas, phrases, seed)):
        yield index, generation, _check(generation, cases[index], phrases, lexicon)


def write_freely(
    cases: Sequence[ReasonCase],
    engine: Engine,
    prompts: PromptLibrary,
    *,
    phrases: Phrases,
    follows: float,
    seed: int,
) -> Iterator[Written]:
    """Let the model word each reason itself; check by rule, then by the model.

    Raises:
        EngineError: The engine fails.
        PromptError: A template is wrong.
    """
    grammar, language = phrases.grammar, phrases.language
    free, follow = (in_language(name, language, prompts) for name in (FREE_TEMPLATE, FOLLOWS_TEMPLATE))
    plain = [plain_sentence(case, grammar) for case in cases]
    room = engine.max_model_len - _max_tokens(phrases.domain.reasons)
    rendered = [
        prompts.render(free, engine.tokenizer, {"noun": case.nouns[0], "sentence": sentence}, max_tokens=room)
        for case, sentence in zip(cases, plain, strict=True)
    ]
    schemas = [free_schema(sentence) for sentence in plain]
    generations = engine.generate(_request(rendered, schemas, phrases, seed))
    sentences, failures = [], []
    for generation, sentence in zip(generations, plain, strict=True):
        own, report = parse_reason(generation.text, truncated=generation.truncated)
        readable = own and report.category != "truncated"
        sentences.append(own)
        failures.append(free_failures(own, sentence, grammar) if readable else (report.category,))
    passed = [number for number, wrong in enumerate(failures) if not wrong]
    pairs = [(plain[number], sentences[number]) for number in passed]
    probabilities = follow_probabilities(pairs, engine, prompts, follow)
    for number, probability in zip(passed, probabilities, strict=True):
        failures[number] = () if probability >= follows else ("does_not_follow",)
    for number, (case, generation) in enumerate(zip(cases, generations, strict=True)):
        sentence = with_aside(sentences[number], case)
        reason = None if failures[number] else _explanation(sentence, case, "llm", phrases, free=True)
        yield number, generation, (reason, failures[number])


def _request(
    rendered: Sequence[RenderedPrompt], schemas: Sequence[dict[str, Any]], phrases: Phrases, seed: int
) -> GenerationRequest:
    return GenerationRequest(
        [prompt.token_ids[0] for prompt in rendered],
        max_tokens=_max_tokens(phrases.domain.reasons),
        schemas=list(schemas),
        temperature=_TEMPERATURE,
        seed=seed,
    )


def _check(generation: Generation, case: ReasonCase, phrases: Phrases, lexicon: Lexicon | None) -> Checked:
    """Check the slots, and the sentence as shown.

    Returns:
        (explanation, ()) or (None, kinds of failure).
    """
    sentence, report = parse_reason(generation.text, truncated=generation.truncated)
    if not sentence or report.category == "truncated":
        return None, (report.category,)
    explanation = _explanation(sentence, case, "llm", phrases)
    failures = grounding_failures(sentence, case, phrases.grammar)
    if lexicon is not None and failures == ("uncited_claim",):
        failures = claim_failures(explanation.text, case, phrases, lexicon)
    return (None, failures) if failures else (explanation, ())


def template_reason(case: ReasonCase, phrases: Phrases, failures: tuple[str, ...] = ()) -> Explanation:
    """Write a sentence of the grammar without a model."""
    sentences = example_sentences(case, phrases.grammar)
    sentence = sentences[case.variant % len(sentences)]
    return _explanation(sentence, case, "template", phrases, failures)


def example_sentences(case: ReasonCase, grammar: Grammar) -> list[str]:
    """List a sentence of each form of a case, in the first words that it allows."""
    return [sample_sentence(pattern, lambda texts: texts[0]) for pattern in form_patterns(case, grammar)]


def _explanation(
    sentence: str,
    case: ReasonCase,
    source: Literal["llm", "template"],
    phrases: Phrases,
    failures: tuple[str, ...] = (),
    *,
    free: bool = False,
) -> Explanation:
    used = set(SLOT.findall(sentence))
    cited = {name for slot, (_, cites) in case.slots.items() if slot in used for name in cites}
    return Explanation(
        text=phrases.grammar.fill(sentence, case.texts),
        source=source,
        free=free,
        grounded=True,
        evidence=tuple(entry for entry in case.evidence if entry.id in cited),
        against=case.against,
        language=phrases.language,
        failures=failures,
    )
