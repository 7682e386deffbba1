"""One protocol for every way to rank, and what all of them share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recsys.config import Domain, Fact
from recsys.engine.base import Engine, Generation, LabelScores
from recsys.prompting import PromptLibrary, RenderedPrompt
from recsys.types import Candidate, Context, HistoryEntry, Item, ParseReport, Usage


@dataclass(frozen=True)
class RankRequest:
    """Everything a ranker may read: the person, the situation and the candidates."""

    candidates: tuple[Candidate, ...]
    history: tuple[HistoryEntry, ...]
    context: Context
    profile: Mapping[str, str]

    @property
    def items(self) -> list[Item]:
        return [candidate.item for candidate in self.candidates]


@dataclass(frozen=True)
class Ranking:
    """Scores of the candidates, in the order of the request.

    `scores` sum to 1. `log_odds` (nats) is None where a strategy has none.
    """

    scores: tuple[float, ...]
    log_odds: tuple[float | None, ...]
    prompt: RenderedPrompt
    report: ParseReport
    usage: Usage
    raw: tuple[str, ...] = ()

    def order(self) -> list[int]:
        """Positions best first; equal scores keep the retriever's order."""
        return sorted(range(len(self.scores)), key=lambda position: (-self.scores[position], position))


class Ranker(Protocol):
    """Orders candidates for one person in one situation.

    `render` is the exact prompt `rank` sends. Raises EngineError if the engine
    fails and RequestError for a request it cannot rank.
    """

    name: str

    def render(self, request: RankRequest) -> RenderedPrompt: ...

    def rank(self, request: RankRequest) -> Ranking: ...


@dataclass(frozen=True)
class RankerParts:
    """What every strategy is made of. `noun` and `plural` are the domain's words.

    `facts` names what a candidate's prompt tells of what retrieval knows.
    A candidate's score is the model's log-odds and the retriever's score, each times its weight.
    """

    engine: Engine
    prompts: PromptLibrary
    noun: str
    plural: str
    max_prompt_tokens: int
    facts: tuple[Fact, ...] = ()
    model_weight: float = 1.0
    retriever_weight: float = 0.0

    @classmethod
    def of(cls, engine: Engine, prompts: PromptLibrary, domain: Domain) -> RankerParts:
        """As a domain configures them."""
        config = domain.ranker
        return cls(
            engine, prompts, domain.noun, domain.plural, config.max_prompt_tokens, config.facts,
            config.model_weight, config.retriever_weight,
        )  # fmt: skip

    def budget(self, reserve: int = 1) -> int:
        """Tokens a prompt may have, leaving `reserve` of the window for the answer."""
        return min(self.max_prompt_tokens, self.engine.max_model_len - reserve)

    def render(
        self, name: str, request: RankRequest, suffixes: Sequence[Mapping[str, Any]], *, reserve: int = 1
    ) -> RenderedPrompt:
        """Render within the budget."""
        return self.prompts.render(
            name,
            self.engine.tokenizer,
            rank_variables(request, self.noun, self.plural),
            suffixes,
            max_tokens=self.budget(reserve),
        )


def rank_variables(request: RankRequest, noun: str, plural: str) -> dict[str, Any]:
    """What every ranking template may show of a request."""
    return {
        "noun": noun,
        "plural": plural,
        "profile": request.profile,
        "history": request.history,
        "context": request.context,
    }


def softmax(values: Sequence[float]) -> tuple[float, ...]:
    """Probabilities that sum to 1; -inf counts as 0, all -inf as uniform."""
    peak = max(values)
    if peak == -math.inf:
        return tuple(1 / len(values) for _ in values)
    exponentials = [math.exp(value - peak) for value in values]
    total = math.fsum(exponentials)
    return tuple(value / total for value in exponentials)


def label_usage(scores: Sequence[LabelScores]) -> Usage:
    return Usage(
        prompt_tokens=sum(score.prompt_tokens for score in scores),
        cached_tokens=sum(score.cached_tokens for score in scores),
        generated_tokens=len(scores),
        label_mass=math.fsum(score.label_mass for score in scores) / len(scores),
    )


def generation_usage(generations: Sequence[Generation]) -> Usage:
    return Usage(
        prompt_tokens=sum(generation.prompt_tokens for generation in generations),
        cached_tokens=sum(generation.cached_tokens for generation in generations),
        generated_tokens=sum(generation.generated_tokens for generation in generations),
    )
