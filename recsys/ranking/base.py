"""One protocol for every way to rank, and what all of them share."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from recsys.config import Domain
from recsys.config.ranking import MODEL_ALONE, Fact, Weights, Windows
from recsys.engine.base import ContinuationScores, Engine, Generation, LabelScores
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.types import Candidate, Context, HistoryEntry, Item, ParseReport, Usage

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


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

    `scores` sum to 1, or where `isotonic` calibrates them to the chance that the next one is
    among the candidates. `log_odds` (nats) is None where a strategy has none. `prompt` is what
    `render` gives, `baseline` what was asked beside it without the person, if anything was.
    """

    scores: tuple[float, ...]
    log_odds: tuple[float | None, ...]
    prompt: RenderedPrompt
    report: ParseReport
    usage: Usage
    raw: tuple[str, ...] = ()
    baseline: RenderedPrompt | None = None

    def order(self) -> list[int]:
        """Positions best first; equal scores keep the retriever's order."""
        return sorted(range(len(self.scores)), key=lambda position: (-self.scores[position], position))


class Ranker(Protocol):
    """Orders candidates for one person in one situation, the same request always alike.

    `render` is the exact prompt `rank` sends; where a later prompt depends on an earlier
    answer (sliding windows), the first. Safe to call from several threads. Raises EngineError
    if the engine fails and RequestError for a request it cannot rank.
    """

    name: str

    def render(self, request: RankRequest) -> RenderedPrompt: ...

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """Rank several requests with as few calls of the engine as one of them takes."""
        ...

    def rank(self, request: RankRequest) -> Ranking:
        return self.rank_many([request])[0]

    async def rank_async(self, request: RankRequest) -> Ranking:
        """The same in a thread, so that an event loop goes on."""
        return await asyncio.to_thread(self.rank, request)


@dataclass(frozen=True)
class RankerParts:
    """What every strategy is made of. `noun` and `plural` are the domain's words.

    `facts` names what a candidate's prompt tells of what retrieval knows.
    A candidate's score is what the model says of it (log-odds, nats) and the retriever's score,
    each times its weight; `wish_weights`, if any, hold where the request has a wish. A list that is too long
    for one prompt is asked about in `windows` of `window` candidates; `permutations` is in how
    many orders a list is shown. `exact` is for `PointwiseRanker`, and so is `max_history_trim`, how
    many of the oldest entries of a history may go to fill whole blocks of the engine's cache. `isotonic` calibrates the scores: `recsys.ranking.calibration`.
    """

    engine: Engine
    prompts: PromptLibrary
    noun: str
    plural: str
    max_prompt_tokens: int
    facts: tuple[Fact, ...] = ()
    weights: Weights = MODEL_ALONE
    wish_weights: Weights | None = None
    windows: Windows = "anchored"
    window: int = 20
    permutations: int = 1
    exact: bool = False
    max_history_trim: int = 0
    isotonic: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, engine: Engine, prompts: PromptLibrary, domain: Domain) -> RankerParts:
        """As a domain configures them."""
        config = domain.ranker
        return cls(
            engine,
            prompts,
            domain.noun,
            domain.plural,
            config.max_prompt_tokens,
            config.facts,
            config.weights(),
            config.weights(wish=True),
            config.windows,
            config.window,
            config.permutations,
            config.exact,
            config.max_history_trim,
            config.isotonic,
        )

    def weights_for(self, wish: str) -> Weights:
        """Those of a request with this wish, which may be empty."""
        return (self.wish_weights if wish.strip() else None) or self.weights

    def scores(self, request: RankRequest, model: Sequence[float]) -> tuple[float, ...]:
        """The probability of each candidate, from what the model says of it (nats)."""
        weights = self.weights_for(request.context.wish)
        found = softmax(
            [
                weights.model * said + weights.retriever * candidate.score
                for said, candidate in zip(model, request.candidates, strict=True)
            ]
        )
        return calibrated(found, self.isotonic)

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


def calibrated(probabilities: Sequence[float], points: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Each probability on the line through (0, 0), the rising `points` and (1, 1); without points as it is."""
    if not points:
        return tuple(probabilities)
    line = [(0.0, 0.0), *points, (1.0, 1.0)]

    def on_line(probability: float) -> float:
        place = min(max(1, bisect.bisect_left(line, (probability,))), len(line) - 1)
        (x0, y0), (x1, y1) = line[place - 1], line[place]
        return y0 + (y1 - y0) * (probability - x0) / (x1 - x0)

    return tuple(map(on_line, probabilities))


def prefix_first(
    ask: Callable[[list[_Asked]], list[_Answer]], groups: Sequence[Sequence[_Asked]]
) -> list[list[_Answer]]:
    """Ask for groups of prompts, each with a prefix of its own, in two calls.

    The first of each group fills the prefix cache that the rest then read.
    """
    firsts = ask([group[0] for group in groups])
    rest = iter(ask([one for group in groups for one in group[1:]]))
    return [[first, *(next(rest) for _ in group[1:])] for first, group in zip(firsts, groups, strict=True)]


def log_odds(probability: float) -> float:
    """log p / (1 - p), nats; finite also for 0 and 1."""
    bounded = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(bounded) - math.log1p(-bounded)


def label_usage(scores: Sequence[LabelScores]) -> Usage:
    """Engine work of scoring labels."""
    return Usage(
        prompt_tokens=sum(score.prompt_tokens for score in scores),
        cached_tokens=sum(score.cached_tokens for score in scores),
        generated_tokens=len(scores),
        label_mass=math.fsum(score.label_mass for score in scores) / len(scores),
    )


def continuation_usage(scores: Sequence[ContinuationScores]) -> Usage:
    """Engine work of scoring continuations."""
    return Usage(
        prompt_tokens=sum(score.prompt_tokens for score in scores),
        cached_tokens=sum(score.cached_tokens for score in scores),
        generated_tokens=len(scores),
    )


def summed(work: Iterable[Usage | Generation]) -> Usage:
    """Engine work together, without a label mass."""
    every = list(work)
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in every),
        cached_tokens=sum(one.cached_tokens for one in every),
        generated_tokens=sum(one.generated_tokens for one in every),
    )
