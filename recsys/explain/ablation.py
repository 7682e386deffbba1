"""Ablation: the effect of a part of a request, measured by leaving it out.

The served score is `model_weight * log-odds + retriever_weight * retriever score`. An ablated request
is scored as if the part had never been there: without its wish it gets the weights of a request that
has none. The effect of a part on an item is log p with it minus log p without it, where p is the
softmax of the served scores over all candidates: retriever scores are standardised within each answer
and log-odds shift for all items together, so only differences between items of one answer are
comparable. Positive effects (nats) support the item, negative ones count against it.

The retriever rescores all candidates for every ablated query, which costs no tokens. The model scores
only the explained items and a few `REFERENCE` others. A shift common to all items must cancel out,
and the explained items cannot show it, since the part may be why they rank high. The mean shift of
the reference items stands for the candidates that are not scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from recsys.config.ranking import Weights
from recsys.config.retrieval import Channel
from recsys.engine.base import LabelScores
from recsys.engine.labels import label_ids
from recsys.prompting.library import RenderedPrompt
from recsys.ranking.base import Ranking, RankRequest, label_usage, prefix_first
from recsys.ranking.pointwise import PointwiseRanker
from recsys.types import Candidate, Usage
from retrieval import HybridRetriever, Query

REFERENCE = 4  # other items that the model scores along with the explained ones
NOISE = 0.1  # nats of log-odds: how much bf16 and batching change them without a cause
RETRIEVER_ALONE = Weights(model=0, retriever=1)
POPULAR: tuple[Channel, ...] = ("popularity", "recent", "segment")  # channels that ignore the person

Kind = Literal["wish", "time", "place", "fact", "profile", "popularity", "history"]
Floats = npt.NDArray[np.float64]
_NO_TIME = {"time": None, "hour": None, "part_of_day": None, "weekday": None, "weekend": None, "season": None}


@dataclass(frozen=True)
class RequestPart:
    """A part of a request that can be left out."""

    kind: Kind
    name: str = ""  # the id of a history item, or the name of a fact


def request_parts(query: Query, request: RankRequest) -> list[RequestPart]:
    """List all parts: history last, newest first, each item once."""
    context = request.context
    names: dict[Kind, Iterable[str]] = {
        "wish": [""] if context.wish else [],
        "time": [""] if context.hour is not None or context.weekday or context.season else [],
        "place": [""] if context.place else [],
        "fact": context.extra,
        "profile": [""] if request.profile else [],
        "popularity": [""],
        "history": dict.fromkeys(entry.item.id for entry in reversed(query.history)),
    }
    return [RequestPart(kind, name) for kind in get_args(Kind) for name in names[kind]]


def remove_parts(
    query: Query, request: RankRequest, parts: Iterable[RequestPart]
) -> tuple[Query, RankRequest]:
    """Return query and request without `parts`.

    Candidates stay. Popularity is in neither: it is removed by leaving out channels and facts.
    """
    names = {kind: {part.name for part in parts if part.kind == kind} for kind in get_args(Kind)}
    context = request.context
    if names["time"]:
        context = context.model_copy(update=_NO_TIME)
    if names["place"]:
        context = context.model_copy(update={"place": None})
    if names["wish"]:
        context = context.model_copy(update={"wish": ""})
    if names["fact"]:
        kept = {name: value for name, value in context.extra.items() if name not in names["fact"]}
        context = context.model_copy(update={"extra": kept})
    removed = names["history"]
    return (
        dataclasses.replace(
            query,
            history=tuple(entry for entry in query.history if entry.item.id not in removed),
            wish="" if names["wish"] else query.wish,
            wished=() if names["wish"] else query.wished,
            preferred=() if names["wish"] else query.preferred,
            context=context,
            profile={} if names["profile"] else query.profile,
        ),
        dataclasses.replace(
            request,
            history=tuple(entry for entry in request.history if entry.item.id not in removed),
            chosen={name: entry for name, entry in request.chosen.items() if name not in removed},
            context=context,
            profile={} if names["profile"] else request.profile,
        ),
    )


class Ablation:
    """The effects of the parts of one ranked request; every score is computed once.

    Args:
        query: The query of the retrieval.
        request: What was ranked.
        retriever: The retriever that brought the candidates.
        ranking: What `ranker` returned. Without both, the retriever alone ranked. Where the ranking has
            no log-odds, the model cannot score again: its share of every effect is unknown, and 0 here.
        ranker: The ranker to score ablated requests with.
    """

    def __init__(
        self,
        query: Query,
        request: RankRequest,
        retriever: HybridRetriever,
        *,
        ranking: Ranking | None = None,
        ranker: PointwiseRanker | None = None,
    ) -> None:
        self.query, self.request, self.retriever = query, request, retriever
        self.ranker: PointwiseRanker | None = None
        self._parts = ranker.parts if ranking is not None and ranker is not None else None
        if ranking is not None and ranker is not None and None not in ranking.log_odds:
            # History that did not fit the served prompt stays out of every ablated one:
            # nothing but the removed part may change.
            self.request = dataclasses.replace(request, history=request.history[ranking.prompt.dropped :])
            self.ranker = dataclasses.replace(
                ranker, parts=dataclasses.replace(ranker.parts, max_history_trim=0)
            )
        self.usage = Usage()
        self._odds = np.array(ranking.log_odds if self.ranker and ranking else [], dtype=np.float64)
        self._served = (
            np.log(np.maximum(ranking.scores, 1e-12))
            if ranking is not None
            else np.array([candidate.score for candidate in request.candidates], dtype=np.float64)
        )
        self._retriever_scores: dict[frozenset[RequestPart], Floats] = {}
        self._shifts: dict[frozenset[RequestPart], Floats] = {}  # of log-odds, as the model scored them

    @property
    def noise(self) -> float:
        """Size in nats up to which an effect counts as none."""
        return max(1e-3, NOISE * self._weights().model) if self.ranker else 1e-3

    def effect(self, *parts: RequestPart) -> Floats:
        """Return log p minus log p without `parts`, nats, shape (candidates,)."""
        return _log_softmax(self._served) - _log_softmax(self.scores(frozenset(parts)))

    def retriever_effect(self, *parts: RequestPart) -> Floats:
        """Return the effect on the retriever's scores alone, whatever their weight."""
        full, ablated = self._retriever_scores_without(), self._retriever_scores_without(frozenset(parts))
        return _log_softmax(full) - _log_softmax(ablated)

    def model_effect(self, *parts: RequestPart) -> Floats:
        """Return the effect on the model's share of the score alone, with its weight."""
        shifted = self._served + self._model_shift(frozenset(parts))
        return _log_softmax(self._served) - _log_softmax(shifted)

    def score_shares(self, position: int) -> tuple[float, float]:
        """Return how far retriever and model each lift a candidate above the mean, nats."""
        retriever = self._weights().retriever * self._retriever_scores_without()
        model = self._served - retriever
        return float((retriever - retriever.mean())[position]), float((model - model.mean())[position])

    def probability(self, *parts: RequestPart) -> Floats:
        """Return p of each candidate without `parts`, shape (candidates,)."""
        return np.exp(_log_softmax(self.scores(frozenset(parts))))

    def rank(self, position: int, *parts: RequestPart) -> int:
        """Return the rank, from 1, of the candidate at `position` without `parts`."""
        order = np.argsort(-self.scores(frozenset(parts)), kind="stable")
        return int(np.flatnonzero(order == position)[0]) + 1

    def is_measured(self, parts: frozenset[RequestPart]) -> bool:
        """Return whether scores without `parts` are measured, not sums over parts."""
        return self.ranker is None or not parts or parts in self._shifts

    def scores(self, parts: frozenset[RequestPart]) -> Floats:
        """Return served scores without `parts` up to a constant, shape (candidates,).

        The model's share for a set that it did not score is the sum of the shares of single parts.
        """
        ablated = self._weights(parts).retriever * self._retriever_scores_without(parts)
        full = self._weights().retriever * self._retriever_scores_without()
        return self._served + ablated - full + self._model_shift(parts)

    def _weights(self, parts: frozenset[RequestPart] = frozenset()) -> Weights:
        """Return the weights of the score that is served without `parts`."""
        if self._parts is None:
            return RETRIEVER_ALONE
        _, request = remove_parts(self.query, self.request, parts)
        return self._parts.weights_for(request)

    def _model_shift(self, parts: frozenset[RequestPart]) -> Floats:
        """Return the change of the model's share of the score."""
        if self.ranker is None:
            return np.zeros(len(self._served))
        change = self._shifts.get(parts)
        if change is None:
            singles = [frozenset([part]) for part in parts]
            measured = [self._shifts[single] for single in singles if single in self._shifts]
            change = sum(measured, np.zeros(len(self._served)))
        weight = self._weights(parts).model
        return weight * change + (weight - self._weights().model) * self._odds

    def choose_parts(self, top: Sequence[int], budget: int) -> list[RequestPart]:
        """Choose at most `budget` parts to ablate for the candidates at `top`.

        At least half are history items in the prompt, by their effect on the retriever's scores of
        `top` and by text similarity; the others are everything else in the request.
        """
        in_prompt = {entry.item.id for entry in self.request.history}
        every = request_parts(self.query, self.request)
        history = [part for part in every if part.kind == "history" and part.name in in_prompt]
        effects = {part: float(np.abs(self.retriever_effect(part)[list(top)]).sum()) for part in history}
        similarities = {
            part: sum(abs(self.request.candidates[p].contributions.get(part.name, 0.0)) for p in top)
            for part in history
        }
        largest = max(effects.values(), default=0) or 1
        closest = max(similarities.values(), default=0) or 1
        history.sort(key=lambda part: (-effects[part] / largest - similarities[part] / closest, part.name))
        rest = [part for part in every if part.kind != "history"]
        rest = rest[: budget - min(len(history), (budget + 1) // 2)]
        return [*rest, *history[: budget - len(rest)]]

    def score_with_model(self, sets: Sequence[frozenset[RequestPart]], top: Sequence[int]) -> None:
        """Score `top` and the reference with the model, without each of `sets`.

        Raises:
            EngineError: The engine fails.
        """
        self.score_each_with_model(dict.fromkeys(sets, top))

    def score_each_with_model(
        self, positions: Mapping[frozenset[RequestPart], Sequence[int]], reference: int = REFERENCE
    ) -> None:
        """Score candidates without each set of parts: at its positions, and a reference.

        Takes two engine calls: the first prompt of every set fills the prefix cache. Sets that were
        scored before are skipped.

        Raises:
            EngineError: The engine fails.
        """
        new = {parts: top for parts, top in positions.items() if parts and parts not in self._shifts}
        if self.ranker is None or not new:
            return
        scored = {
            parts: [*dict.fromkeys(top), *self._reference(top, reference)] for parts, top in new.items()
        }
        rescored = self._rescore(list(scored))
        prompts = [self._render_without(parts, rescored[parts], scored[parts]) for parts in scored]
        engine = self.ranker.parts.engine
        labels = label_ids(engine.tokenizer, prompts[0].template.meta.labels, prompts[0].tails[0])
        responses = prefix_first(
            lambda ids: engine.label_logprobs(ids, labels), [prompt.token_ids for prompt in prompts]
        )
        self._count([response for group in responses for response in group])
        for (parts, at), group in zip(scored.items(), responses, strict=True):
            change = np.array([r.logprobs[0] - r.logprobs[1] for r in group]) - self._odds[at]
            n_explained = len(set(new[parts]))
            of_reference = change[n_explained:] if len(at) > n_explained else change
            shift = np.full(len(self._served), of_reference.mean())
            shift[at] = change
            self._shifts[parts] = shift

    def _count(self, responses: Sequence[LabelScores]) -> None:
        """Add the work of these responses to `usage`."""
        work = label_usage(responses)
        self.usage = Usage(
            prompt_tokens=self.usage.prompt_tokens + work.prompt_tokens,
            cached_tokens=self.usage.cached_tokens + work.cached_tokens,
            generated_tokens=self.usage.generated_tokens + work.generated_tokens,
        )

    def _reference(self, top: Sequence[int], n: int) -> list[int]:
        """Return at most n positions outside `top`, spread over the retriever's ranks."""
        others = [position for position in range(len(self._served)) if position not in set(top)]
        return sorted({others[i * len(others) // n] for i in range(n)}) if others else []

    def _render_without(
        self, parts: frozenset[RequestPart], candidates: Sequence[Candidate], positions: Sequence[int]
    ) -> RenderedPrompt:
        assert self.ranker is not None
        _, request = remove_parts(self.query, self.request, parts)
        request = dataclasses.replace(request, candidates=tuple(candidates[p] for p in positions))
        ranker = self.ranker
        if any(part.kind == "popularity" for part in parts):
            facts = tuple(fact for fact in ranker.parts.facts if fact != "popularity")
            ranker = dataclasses.replace(ranker, parts=dataclasses.replace(ranker.parts, facts=facts))
        return ranker.render(request)

    def score_with_retriever(self, sets: Iterable[frozenset[RequestPart]]) -> None:
        """Rescore all candidates without each of `sets` at once: faster than one by one."""
        new = [parts for parts in dict.fromkeys(sets) if parts not in self._retriever_scores]
        queries = [self._query_without(parts) for parts in new]
        served = np.array([candidate.score for candidate in self.request.candidates], dtype=np.float64)
        ids = [candidate.item.id for candidate in self.request.candidates]
        for parts, scores in zip(new, self.retriever.score_many(queries, ids), strict=True):
            self._retriever_scores[parts] = np.where(np.isnan(scores), served, scores)

    def _query_without(self, parts: frozenset[RequestPart]) -> tuple[Query, Sequence[Channel]]:
        """Return the ablated query and the channels to exclude."""
        query, _ = remove_parts(self.query, self.request, parts)
        return query, POPULAR if any(part.kind == "popularity" for part in parts) else ()

    def _rescore(
        self, sets: Sequence[frozenset[RequestPart]]
    ) -> dict[frozenset[RequestPart], list[Candidate]]:
        """Return the candidates as retrieved without each set; deleted ones stay.

        Their scores are those of `score_with_retriever`.
        """
        served = self.request.candidates
        answers = self.retriever.rescore_many(
            [self._query_without(parts) for parts in sets], [candidate.item.id for candidate in served]
        )
        rescored = {}
        for parts, answer in zip(sets, answers, strict=True):
            by_id = {candidate.item.id: candidate for candidate in answer}
            rescored[parts] = [by_id.get(candidate.item.id, candidate) for candidate in served]
            self._retriever_scores.setdefault(
                parts, np.array([candidate.score for candidate in rescored[parts]], dtype=np.float64)
            )
        return rescored

    def retrieval_dependent(self, part: RequestPart) -> frozenset[int]:
        """Return the positions of candidates that are not retrieved without this part."""
        query, _ = remove_parts(self.query, self.request, [part])
        retrieved = self.retriever.retrieve(query, len(self.request.candidates))
        ids = {candidate.item.id for candidate in retrieved}
        return frozenset(n for n, c in enumerate(self.request.candidates) if c.item.id not in ids)

    def _retriever_scores_without(self, parts: frozenset[RequestPart] = frozenset()) -> Floats:
        if parts not in self._retriever_scores:
            self.score_with_retriever([parts])
        return self._retriever_scores[parts]


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max()
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum())
    return log_probabilities
