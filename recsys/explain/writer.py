"""Evidence into one sentence: the model writes, the check decides, a template stands by."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from recsys.config import ReasonConfig, Style
from recsys.engine.base import Engine, Generation, Tokenizer
from recsys.errors import EngineDead, EngineError, PromptError
from recsys.explain.claims import Lexicon, unsupported
from recsys.explain.evidence import ReasonCase, attribute_values
from recsys.explain.grammar import PLACEHOLDER, Grammar, against_slots, lacking, sentence_pattern
from recsys.explain.verifier import fits_all, ungrounded
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
    """Explanations in the order of the cases, and what they cost. `engine_died` says
    that the engine is gone for good."""

    explanations: list[Explanation] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    degraded: tuple[str, ...] = ()
    engine_died: bool = False


def in_language(name: str, language: str, prompts: PromptLibrary) -> str:
    """ "explain/reason" -> "explain/zh/reason". Raises PromptError for a language without a folder."""
    if language == DEFAULT_LANGUAGE:
        return name
    folder, _, file = name.rpartition("/")
    if language not in (known := languages(prompts)):
        raise PromptError(
            f"no reasons in the language '{language}'",
            hint=f"there are: {', '.join(known)}; another is a folder of prompts/explain",
        )
    return f"{folder}/{language}/{file}"


def languages(prompts: PromptLibrary) -> list[str]:
    """Every language that reasons can be written in, sorted."""
    folder, _, file = GRAMMAR.rpartition("/")
    found = {path.parent.name for top in prompts.folders for path in (top / folder).glob(f"*/{file}")}
    return sorted({DEFAULT_LANGUAGE, *found})


class Window(Protocol):
    """What a prompt must know of an engine: how it counts tokens, and how many it takes."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def max_model_len(self) -> int: ...


def render_reason(
    case: ReasonCase, engine: Window, prompts: PromptLibrary, config: ReasonConfig
) -> RenderedPrompt:
    """The exact prompt that asks for one reason."""
    variables = {
        "noun": case.nouns[0],
        "evidence": case.evidence,
        "shared": case.shared,
        "against": case.against,
        "lacking": lacking(case),
        "wish_attributes": sorted(case.wish_attributes),
        "style": config.style,
        "net_negative": case.net_negative,
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
    """`write_each`, when all of them are done."""
    return drained(write_each(cases, engine, prompts, config, lexicon))


def drained(steps: Generator[Any, None, _Result]) -> _Result:
    """What a generator returns, whatever it yields before."""
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
    """One explanation per case, in rank order, and (its number, itself) as soon as it is checked.

    Never raises for what a model writes: a sentence that fails its check is asked for once more
    (`config.retries`), then replaced by a template sentence that lists what failed. Without an
    engine, or when it fails, all are template sentences and `degraded` says why. `lexicon` names
    faults better. Raises PromptError for a language that has no folder.
    """
    grammar = prompts.file(in_language(GRAMMAR, config.language, prompts))
    if config.style == "comparative":
        cases = _beside_the_next(cases)
    cases = _apart(cases)
    found: dict[int, Explanation] = {}
    failures: dict[int, tuple[str, ...]] = {}
    result = Reasons()
    open_cases = [number for number, case in enumerate(cases) if case.has_content] if engine else []
    try:
        for attempt in range(1 + config.retries):
            if not open_cases or engine is None:
                break
            asked = [cases[number] for number in open_cases]
            for place, answer in _ask(asked, engine, prompts, config, grammar, attempt):
                number = open_cases[place]
                result.generations.append(answer)
                others = [*cases[:number], *cases[number + 1 :]]
                explanation, wrong = _judge(answer, cases[number], others, grammar, config.language, lexicon)
                failures[number] = failures.get(number, ()) + wrong
                if explanation is not None:
                    found[number] = explanation.model_copy(update={"failures": failures[number]})
                    yield number, found[number]
            open_cases = [number for number in open_cases if number not in found]
    except (EngineError, PromptError) as error:
        result.degraded = (f"reasons: {error.message}; template sentences instead",)
        result.engine_died = isinstance(error, EngineDead)
    for number, case in enumerate(cases):
        if number not in found:
            found[number] = template_reason(case, prompts, failures.get(number, ()), config)
            yield number, found[number]
    result.explanations = [found[number] for number in range(len(cases))]
    return result


def _beside_the_next(cases: Sequence[ReasonCase]) -> list[ReasonCase]:
    """Each case against the item of the next, unless that one came before it."""
    following: list[ReasonCase | None] = [*cases[1:], None]
    return [
        dataclasses.replace(case, other=then.item if then and then.rank >= case.rank else None)
        for case, then in zip(cases, following, strict=True)
    ]


def _apart(cases: Sequence[ReasonCase]) -> list[ReasonCase]:
    """Each case with those of its attributes that not every other item has."""
    values = [attribute_values(case.item) for case in cases]
    found = []
    for number, case in enumerate(cases):
        others = [*values[:number], *values[number + 1 :]]
        apart = (e.id for e in case.by_kind("attribute") if not all(e.text in other for other in others))
        found.append(dataclasses.replace(case, distinguishing_attributes=frozenset(apart)))
    return found


def _ask(
    cases: Sequence[ReasonCase],
    engine: Engine,
    prompts: PromptLibrary,
    config: ReasonConfig,
    grammar: Path,
    attempt: int,
) -> Iterator[tuple[int, Generation]]:
    rendered = [render_reason(case, engine, prompts, config) for case in cases]
    return engine.stream(
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
    explanation = _explanation(sentence, case, "llm", grammar, language)
    cited = PLACEHOLDER.findall(sentence)
    wrong = ungrounded(sentence, case, grammar)
    if not wrong or (lexicon is not None and wrong == ("uncited_claim",)):
        wrong = unsupported(explanation.text, case, grammar, lexicon, cited) or wrong
    offered = (*case.evidence, *(case.against if case.net_negative else ()))
    told = [entry for entry in offered if entry.id in cited]
    if not wrong and fits_all(told, others) and not fits_all(offered, others):
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
    if case.wish_attributes:  # beside the first, one that others lack
        every[1:] = sorted(every[1:], key=lambda name: name not in case.distinguishing_attributes)
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
        "situation": placeholders(ids("context")[:1] + ids("profile")[:1]),
        "wish": placeholders(ids("wish")),
        "named": every[:1] if every and every[0] in case.wish_attributes else [],
        "co_consumed": placeholders(ids("co_consumed")[:1]),
        "popular": placeholders(ids("popularity")),
        "against": against_slots(
            case, case.against[:1] if case.net_negative else case.major_counter_evidence
        ),
        "net_negative": case.net_negative,
        "other": other,
        "also_liked": placeholders([h for h in past if h not in liked][:1] if detailed else []),
        "also_has": placeholders([a for a in every if a not in shown][:1] if detailed else []),
        "listed": case.listed,
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
