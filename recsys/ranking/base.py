"""The `Ranker` protocol and what all strategies share."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from recsys.config import Domain
from recsys.config.ranking import MODEL_ALONE, Fact, RequestKind, Weights, Windows
from recsys.engine.base import ContinuationScores, Engine, Generation, LabelScores
from recsys.knowledge.typed_values import with_attributes
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.ranking.kinds import has_ties, kinds_of, tells_apart, with_ties_broken
from recsys.types import Candidate, Context, HistoryEntry, Item, ParseReport, Usage

_Prompt = TypeVar("_Prompt")
_Response = TypeVar("_Response")


@dataclass(frozen=True)
class RankRequest:
    """Everything a ranker may read: candidates, history, context and profile."""

    candidates: tuple[Candidate, ...]
    history: tuple[HistoryEntry, ...]
    context: Context
    profile: Mapping[str, str]
    attributes: tuple[str, ...] | None = None  # that the prompt shows; None: all
    chosen: Mapping[str, HistoryEntry] = field(default_factory=dict)  # candidates that the user chose before

    @classmethod
    def of(
        cls,
        domain: Domain,
        candidates: Sequence[Candidate],
        history: Sequence[HistoryEntry],
        context: Context,
        profile: Mapping[str, str],
    ) -> RankRequest:
        """Create the request as a domain configures it, from the whole history."""
        ids = {candidate.item.id for candidate in candidates}
        return cls(
            tuple(candidates),
            tuple(history[max(0, len(history) - domain.ranker.history_length) :]),
            context,
            profile,
            domain.ranker.attributes,
            {entry.item.id: entry for entry in history if entry.item.id in ids} if domain.repeats else {},
        )

    @property
    def items(self) -> list[Item]:
        return [candidate.item for candidate in self.candidates]

    @property
    def shown_items(self) -> list[Item]:
        """The items with the attributes that the prompt shows."""
        return [with_attributes(item, self.attributes) for item in self.items]


@dataclass(frozen=True)
class Ranking:
    """Scores of the candidates, in the order of the request."""

    scores: tuple[float, ...]  # sum to 1; calibrated by `isotonic`, to p(the next item is a candidate)
    log_odds: tuple[float | None, ...]  # nats; None where the strategy has none
    prompt: RenderedPrompt  # as `Ranker.render` returns it
    report: ParseReport
    usage: Usage
    raw: tuple[str, ...] = ()  # generated text
    baseline: RenderedPrompt | None = None  # the same prompt without the person, if it was scored

    def order(self) -> list[int]:
        """Return positions best first; equal scores keep the retriever's order."""
        return sorted(range(len(self.scores)), key=lambda position: (-self.scores[position], position))


class Ranker(Protocol):
    """Orders the candidates of a request, deterministically; thread-safe.

    Ranking raises EngineError if the engine fails, and RequestError for a request it cannot rank.
    """

    name: str

    def render(self, request: RankRequest) -> RenderedPrompt:
        """Render the exact prompt that `rank` sends; with sliding windows, the first one."""
        ...

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """Rank several requests with as few engine calls as one of them takes."""
        ...

    def rank(self, request: RankRequest) -> Ranking:
        """Rank one request."""
        return self.rank_many([request])[0]

    async def rank_async(self, request: RankRequest) -> Ranking:
        """Rank one request in a thread, so as not to block the event loop."""
        return await asyncio.to_thread(self.rank, request)


@dataclass(frozen=True)
class RankerParts:
    """The engine, prompts and options that every strategy is built from.

    A candidate's score is the model's log-odds (nats) plus the retriever's score, each times its
    weight. Where the model has no weight it orders what the retriever cannot tell apart.
    """

    engine: Engine
    prompts: PromptLibrary
    noun: str  # the domain's word for an item
    plural: str
    max_prompt_tokens: int
    facts: tuple[Fact, ...] = ()  # retrieval facts in a candidate's prompt
    weights: Weights = MODEL_ALONE
    kind_weights: Mapping[RequestKind, Weights] = field(default_factory=dict)  # of kinds with their own
    windows: Windows = "anchored"  # how a list that is too long for one prompt is split
    window: int = 20  # candidates in a window
    permutations: int = 1  # listwise: orders of the list to average over
    exact: bool = False  # pointwise: bit-identical scores whatever the batch
    max_history_trim: int = 0  # pointwise: oldest history entries dropped to fill whole cache blocks
    isotonic: tuple[tuple[float, float], ...] = ()  # calibrates scores: `recsys.ranking.calibration`

    @classmethod
    def of(cls, engine: Engine, prompts: PromptLibrary, domain: Domain) -> RankerParts:
        """Create the parts as a domain configures them."""
        config, weights = domain.ranker, domain.weights(engine.model, engine.adapter)
        return cls(
            engine,
            prompts,
            domain.noun,
            domain.plural,
            config.max_prompt_tokens,
            config.facts,
            weights["plain"],
            weights,
            config.windows,
            config.window,
            config.permutations,
            config.exact,
            config.max_history_trim,
            config.isotonic,
        )

    def weights_for(self, request: RankRequest) -> Weights:
        """Return the weights of a request's score."""
        return weights_at(request, {"plain": self.weights, **self.kind_weights})

    def scores(self, request: RankRequest, log_odds: Sequence[float]) -> tuple[float, ...]:
        """Compute each candidate's probability from the model's scores (nats)."""
        weights = self.weights_for(request)
        if weights.model:
            retrieved = [candidate.score for candidate in request.candidates]
        else:
            retrieved = with_ties_broken(request.candidates, log_odds)
        probabilities = softmax(
            [
                weights.model * odds + weights.retriever * score
                for odds, score in zip(log_odds, retrieved, strict=True)
            ]
        )
        return apply_isotonic(probabilities, self.isotonic)

    def budget(self, reserve: int = 1) -> int:
        """Return the most tokens a prompt may have, with `reserve` left for the answer."""
        return min(self.max_prompt_tokens, self.engine.max_model_len - reserve)

    def render(
        self, name: str, request: RankRequest, suffixes: Sequence[Mapping[str, Any]], *, reserve: int = 1
    ) -> RenderedPrompt:
        """Render a template within the token budget."""
        return self.prompts.render(
            name,
            self.engine.tokenizer,
            rank_variables(request, self.noun, self.plural),
            suffixes,
            max_tokens=self.budget(reserve),
        )


def weights_at(request: RankRequest, by_kind: Mapping[RequestKind, Weights]) -> Weights:
    """Return the weights of a request, of those of all kinds.

    Where the retriever says nothing of the candidates, the model is all there is.
    """
    weights = by_kind[weighted_kind(request, by_kind)]
    return weights if weights.model or tells_apart(request.candidates) else MODEL_ALONE


def weighted_kind(request: RankRequest, by_kind: Mapping[RequestKind, Weights]) -> RequestKind:
    """Return the kind of which a request has its weights."""
    return next(kind for kind in kinds_of(request) if kind in by_kind)


def model_decides(request: RankRequest, weights: Weights, k: int) -> bool:
    """Return whether the model can change the first k of a request."""
    return bool(weights.model) or has_ties(request.candidates, k)


def rank_variables(request: RankRequest, noun: str, plural: str) -> dict[str, Any]:
    """Return the request variables of every ranking template."""
    return {
        "noun": noun,
        "plural": plural,
        "profile": request.profile,
        "history": [
            entry.model_copy(update={"item": with_attributes(entry.item, request.attributes)})
            if request.attributes is not None
            else entry
            for entry in request.history
        ],
        "context": request.context,
    }


def softmax(values: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities that sum to 1; -inf gives 0, all -inf gives uniform ones."""
    peak = max(values)
    if peak == -math.inf:
        return tuple(1 / len(values) for _ in values)
    exponentials = [math.exp(value - peak) for value in values]
    total = math.fsum(exponentials)
    return tuple(value / total for value in exponentials)


def apply_isotonic(
    probabilities: Sequence[float], points: Sequence[tuple[float, float]]
) -> tuple[float, ...]:
    """Map probabilities by the line through (0, 0), the rising `points` and (1, 1).

    Without points they stay as they are.
    """
    if not points:
        return tuple(probabilities)
    line = [(0.0, 0.0), *points, (1.0, 1.0)]

    def on_line(probability: float) -> float:
        right = min(max(1, bisect.bisect_left(line, (probability,))), len(line) - 1)
        (x0, y0), (x1, y1) = line[right - 1], line[right]
        return y0 + (y1 - y0) * (probability - x0) / (x1 - x0)

    return tuple(map(on_line, probabilities))


def prefix_first(
    score: Callable[[list[_Prompt]], list[_Response]], groups: Sequence[Sequence[_Prompt]]
) -> list[list[_Response]]:
    """Score groups of prompts, each group with a shared prefix, in two calls.

    The first prompt of each group fills the prefix cache that the others then hit.
    """
    firsts = score([group[0] for group in groups])
    rest = iter(score([prompt for group in groups for prompt in group[1:]]))
    return [[first, *(next(rest) for _ in group[1:])] for first, group in zip(firsts, groups, strict=True)]


def log_odds(probability: float) -> float:
    """Return log p / (1 - p) in nats; finite also for 0 and 1."""
    bounded = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(bounded) - math.log1p(-bounded)


def label_usage(scores: Sequence[LabelScores]) -> Usage:
    """Sum the engine work of scoring labels."""
    return Usage(
        prompt_tokens=sum(score.prompt_tokens for score in scores),
        cached_tokens=sum(score.cached_tokens for score in scores),
        generated_tokens=len(scores),
        label_mass=math.fsum(score.label_mass for score in scores) / len(scores),
    )


def continuation_usage(scores: Sequence[ContinuationScores]) -> Usage:
    """Sum the engine work of scoring continuations."""
    return Usage(
        prompt_tokens=sum(score.prompt_tokens for score in scores),
        cached_tokens=sum(score.cached_tokens for score in scores),
        generated_tokens=len(scores),
    )


def summed(work: Iterable[Usage | Generation]) -> Usage:
    """Sum engine work, without label masses."""
    entries = list(work)
    return Usage(
        prompt_tokens=sum(entry.prompt_tokens for entry in entries),
        cached_tokens=sum(entry.cached_tokens for entry in entries),
        generated_tokens=sum(entry.generated_tokens for entry in entries),
    )
