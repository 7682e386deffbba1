"""What moved a score: the request once more without one part of it.

The score that is served is `model_weight * log-odds + retriever_weight * retriever score`, each part
left out as if it had never been: without its wish a request is weighed like one that has none.
The effect of a part on an item is log p with it less log p without it, p being the softmax
of the served scores over all candidates: retriever scores are standardised within each
answer and log-odds rise and fall for all items together, so only differences between items
of one answer mean anything. Positive effects (nats) spoke for the item, negative against it.

The retriever answers every ablated query for all candidates, which costs no tokens. The model
is asked again for the explained items and a few `REFERENCE` others: what a part does to all
alike must be seen to be taken off, and the explained ones, at the top perhaps because of that
part, cannot tell. The mean of the others stands for those that are not asked.
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
from recsys.engine.labels import label_ids
from recsys.prompting.library import RenderedPrompt
from recsys.ranking.base import Ranking, RankRequest, label_usage, prefix_first
from recsys.ranking.pointwise import PointwiseRanker
from recsys.types import Candidate, Usage
from retrieval import HybridRetriever, Query

REFERENCE = 4  # items beside the explained ones that the model is asked of
NOISE = 0.1  # nats of log-odds: within what bf16 and batching change by themselves
RETRIEVER_ALONE = Weights(model=0, retriever=1)
POPULAR: tuple[Channel, ...] = ("popularity", "recent", "segment")  # channels that know no person

Kind = Literal["wish", "time", "place", "fact", "profile", "popularity", "history"]
Floats = npt.NDArray[np.float64]
_TIME = {"time": None, "hour": None, "part_of_day": None, "weekday": None, "weekend": None, "season": None}


@dataclass(frozen=True)
class RequestPart:
    """What can be left out; `name` is the id of a history item, or the name of a fact."""

    kind: Kind
    name: str = ""


def parts_of(query: Query, request: RankRequest) -> list[RequestPart]:
    """Everything a request has that can be left out: history last, newest first, each item once."""
    context = request.context
    there: dict[Kind, Iterable[str]] = {
        "wish": [""] if context.wish else [],
        "time": [""] if context.hour is not None or context.weekday or context.season else [],
        "place": [""] if context.place else [],
        "fact": context.extra,
        "profile": [""] if request.profile else [],
        "popularity": [""],
        "history": dict.fromkeys(entry.item.id for entry in reversed(query.history)),
    }
    return [RequestPart(kind, name) for kind in get_args(Kind) for name in there[kind]]


def without(query: Query, request: RankRequest, parts: Iterable[RequestPart]) -> tuple[Query, RankRequest]:
    """Both as if these parts had never been; candidates stay, popularity is not theirs to leave out."""
    names = {kind: {part.name for part in parts if part.kind == kind} for kind in get_args(Kind)}
    context = request.context
    if names["time"]:
        context = context.model_copy(update=_TIME)
    if names["place"]:
        context = context.model_copy(update={"place": None})
    if names["wish"]:
        context = context.model_copy(update={"wish": ""})
    if names["fact"]:
        kept = {name: value for name, value in context.extra.items() if name not in names["fact"]}
        context = context.model_copy(update={"extra": kept})
    gone = names["history"]
    return (
        dataclasses.replace(
            query,
            history=tuple(entry for entry in query.history if entry.item.id not in gone),
            wish=context.wish,
            context=context,
        ),
        dataclasses.replace(
            request,
            history=tuple(entry for entry in request.history if entry.item.id not in gone),
            context=context,
            profile={} if names["profile"] else request.profile,
        ),
    )


class Ablation:
    """The effects of the parts of one ranked request. Deterministic; asks nothing twice.

    `ranking` is what `ranker` served. Without both nothing but the retriever ranked. Where the
    ranking has no log-odds the model cannot be asked again: its half of every effect is unknown and
    counts as 0.
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
            # What the prompt left out it leaves out of every question: nothing else may change.
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
        self._shifts: dict[frozenset[RequestPart], Floats] = {}

    @property
    def noise(self) -> float:
        """Effects up to this (nats) are none."""
        return max(1e-3, NOISE * self._weights().model) if self.ranker else 1e-3

    def effect(self, *parts: RequestPart) -> Floats:
        """log p with these parts less log p without them all, nats, shape (candidates,)."""
        return _log_softmax(self._served) - _log_softmax(self.scores(frozenset(parts)))

    def retriever_effect(self, *parts: RequestPart) -> Floats:
        """The same for the retriever alone, whatever its weight: to choose what to ask the model."""
        with_all, less = self._scores_of(frozenset()), self._scores_of(frozenset(parts))
        return _log_softmax(with_all) - _log_softmax(less)

    def model_effect(self, *parts: RequestPart) -> Floats:
        """The same for the model alone, with its weight."""
        shifted = self._served + self._model_shift(frozenset(parts))
        return _log_softmax(self._served) - _log_softmax(shifted)

    def halves(self, position: int) -> tuple[float, float]:
        """How far the retriever and the model each lift a candidate above the mean of all, nats."""
        retriever = self._weights().retriever * self._scores_of(frozenset())
        model = self._served - retriever
        return float((retriever - retriever.mean())[position]), float((model - model.mean())[position])

    def probability(self, *parts: RequestPart) -> Floats:
        """p of each candidate without these parts, shape (candidates,)."""
        return np.exp(_log_softmax(self.scores(frozenset(parts))))

    def rank(self, position: int, *parts: RequestPart) -> int:
        """Where the candidate at `position` would come without these parts; 1 = first."""
        order = np.argsort(-self.scores(frozenset(parts)), kind="stable")
        return int(np.flatnonzero(order == position)[0]) + 1

    def asked(self, *parts: RequestPart) -> bool:
        """Whether the model was asked without exactly these parts."""
        return frozenset(parts) in self._shifts

    def exact(self, parts: frozenset[RequestPart]) -> bool:
        """Whether scores without these parts are measured, and no sum over them one by one."""
        return self.ranker is None or not parts or parts in self._shifts

    def scores(self, parts: frozenset[RequestPart]) -> Floats:
        """Served scores without `parts`, but for a constant, shape (candidates,).

        The model's half of several parts it was not asked without is the sum of theirs.
        """
        less = self._weights(parts).retriever * self._scores_of(parts)
        whole = self._weights().retriever * self._scores_of(frozenset())
        return self._served + less - whole + self._model_shift(parts)

    def _weights(self, parts: frozenset[RequestPart] = frozenset()) -> Weights:
        """Those of the score that would be served without `parts`."""
        if self._parts is None:
            return RETRIEVER_ALONE
        gone = any(part.kind == "wish" for part in parts)
        return self._parts.weights_for("" if gone else self.request.context.wish)

    def _model_shift(self, parts: frozenset[RequestPart]) -> Floats:
        """What the model's half of the score changes by."""
        if self.ranker is None:
            return np.zeros(len(self._served))
        change = self._shifts.get(parts)
        if change is None:
            single = [self._shifts[frozenset([part])] for part in parts if self.asked(part)]
            change = sum(single, np.zeros(len(self._served)))
        weight = self._weights(parts).model
        return weight * change + (weight - self._weights().model) * self._odds

    def choose(self, top: Sequence[int], budget: int) -> list[RequestPart]:
        """At most `budget` parts worth asking the model without, for the candidates at `top`.

        At least half are history items that the prompt shows, by what the retriever's score of
        `top` owes to them and by text similarity; the others are all else that the request has.
        """
        shown = {entry.item.id for entry in self.request.history}
        every = parts_of(self.query, self.request)
        history = [part for part in every if part.kind == "history" and part.name in shown]
        retriever_share = {
            part: float(np.abs(self.retriever_effect(part)[list(top)]).sum()) for part in history
        }
        alike = {
            part: sum(abs(self.request.candidates[p].contributions.get(part.name, 0.0)) for p in top)
            for part in history
        }
        most, closest = max(retriever_share.values(), default=0) or 1, max(alike.values(), default=0) or 1
        history.sort(key=lambda part: (-retriever_share[part] / most - alike[part] / closest, part.name))
        rest = [part for part in every if part.kind != "history"]
        rest = rest[: budget - min(len(history), (budget + 1) // 2)]
        return [*rest, *history[: budget - len(rest)]]

    def score_with_model(self, sets: Sequence[frozenset[RequestPart]], top: Sequence[int]) -> None:
        """Score `top` and the reference with the model, without each of `sets`. Raises EngineError."""
        self.score_each_with_model(dict.fromkeys(sets, top))

    def score_each_with_model(
        self, questions: Mapping[frozenset[RequestPart], Sequence[int]], reference: int = REFERENCE
    ) -> None:
        """Score, without each set of parts, the candidates that it is asked for and `reference` others.

        All in two calls: the first prompts of all sets fill the prefix cache. A set that the model
        was asked without before is not asked again. Raises EngineError.
        """
        new = {parts: top for parts, top in questions.items() if parts and parts not in self._shifts}
        if self.ranker is None or not new:
            return
        asked = {parts: [*dict.fromkeys(top), *self._reference(top, reference)] for parts, top in new.items()}
        seen = self._seen(list(asked))
        rendered = [self._ablated(parts, seen[parts], positions) for parts, positions in asked.items()]
        engine = self.ranker.parts.engine
        labels = label_ids(engine.tokenizer, rendered[0].template.meta.labels)
        answers = prefix_first(
            lambda prompts: engine.label_logprobs(prompts, labels), [prompt.token_ids for prompt in rendered]
        )
        work = label_usage([one for of in answers for one in of])
        self.usage = Usage(
            prompt_tokens=self.usage.prompt_tokens + work.prompt_tokens,
            cached_tokens=self.usage.cached_tokens + work.cached_tokens,
            generated_tokens=self.usage.generated_tokens + work.generated_tokens,
        )
        for (parts, positions), found in zip(asked.items(), answers, strict=True):
            change = np.array([one.logprobs[0] - one.logprobs[1] for one in found]) - self._odds[positions]
            own = len(set(new[parts]))
            of_others = change[own:] if len(positions) > own else change
            shift = np.full(len(self._served), of_others.mean())
            shift[positions] = change
            self._shifts[parts] = shift

    def _reference(self, top: Sequence[int], n: int) -> list[int]:
        """At most n candidates beside `top`, spread over all ranks of the retriever."""
        others = [position for position in range(len(self._served)) if position not in set(top)]
        return sorted({others[i * len(others) // n] for i in range(n)}) if others else []

    def _ablated(
        self, parts: frozenset[RequestPart], candidates: Sequence[Candidate], asked: Sequence[int]
    ) -> RenderedPrompt:
        assert self.ranker is not None
        _, request = without(self.query, self.request, parts)
        request = dataclasses.replace(request, candidates=tuple(candidates[position] for position in asked))
        ranker = self.ranker
        if any(part.kind == "popularity" for part in parts):
            facts = tuple(fact for fact in ranker.parts.facts if fact != "popularity")
            ranker = dataclasses.replace(ranker, parts=dataclasses.replace(ranker.parts, facts=facts))
        return ranker.render(request)

    def score_with_retriever(self, sets: Iterable[frozenset[RequestPart]]) -> None:
        """Ask the retriever without each of `sets`, all together: faster than one by one as they are needed."""
        new = [parts for parts in dict.fromkeys(sets) if parts not in self._retriever_scores]
        asked = [self._query(parts) for parts in new]
        own = np.array([candidate.score for candidate in self.request.candidates], dtype=np.float64)
        ids = [candidate.item.id for candidate in self.request.candidates]
        for parts, scores in zip(new, self.retriever.rescored(asked, ids), strict=True):
            self._retriever_scores[parts] = np.where(np.isnan(scores), own, scores)

    def _query(self, parts: frozenset[RequestPart]) -> tuple[Query, Sequence[Channel]]:
        """What the retriever is asked without `parts`, and the channels that have no say in it."""
        query, _ = without(self.query, self.request, parts)
        return query, POPULAR if any(part.kind == "popularity" for part in parts) else ()

    def _seen(self, sets: Sequence[frozenset[RequestPart]]) -> dict[frozenset[RequestPart], list[Candidate]]:
        """The candidates as the retriever sees them without each set; one that is gone since stays as it was.

        Their scores are what `score_with_retriever` would ask for.
        """
        own = self.request.candidates
        answers = self.retriever.rescore_many(
            [self._query(parts) for parts in sets], [one.item.id for one in own]
        )
        seen = {}
        for parts, answer in zip(sets, answers, strict=True):
            known = {one.item.id: one for one in answer}
            seen[parts] = [known.get(one.item.id, one) for one in own]
            self._retriever_scores.setdefault(
                parts, np.array([one.score for one in seen[parts]], dtype=np.float64)
            )
        return seen

    def retrieval_dependent(self, part: RequestPart) -> frozenset[int]:
        """Positions of the candidates that the retriever would not bring without this part."""
        query, _ = without(self.query, self.request, [part])
        ids = {one.item.id for one in self.retriever.retrieve(query, len(self.request.candidates))}
        return frozenset(n for n, one in enumerate(self.request.candidates) if one.item.id not in ids)

    def _scores_of(self, parts: frozenset[RequestPart]) -> Floats:
        if parts not in self._retriever_scores:
            self.score_with_retriever([parts])
        return self._retriever_scores[parts]


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max()
    found: Floats = shifted - np.log(np.exp(shifted).sum())
    return found
