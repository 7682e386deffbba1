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

A part of an item is left out of what the model reads of that item alone, so nothing is common to all.

An `Ablator` measures, an `AblationTable` holds what was measured: measuring more gives another table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recsys.config.ranking import Weights
from recsys.config.retrieval import Channel
from recsys.engine.base import Engine, LabelScores
from recsys.engine.labels import label_ids
from recsys.explain.item_parts import ItemPart, without
from recsys.explain.request_parts import Parts, RequestPart, remove_parts, request_parts
from recsys.prompting.library import RenderedPrompt
from recsys.ranking.base import Ranking, RankRequest, label_usage, prefix_first, summed
from recsys.ranking.pointwise import PointwiseRanker
from recsys.types import Candidate, Usage
from retrieval import HybridRetriever, Query

REFERENCE = 4  # other items that the model scores along with the explained ones
NOISE = 0.1  # nats of log-odds: how much bf16 and batching change them without a cause
RETRIEVER_ALONE = Weights(model=0, retriever=1)
POPULAR: tuple[Channel, ...] = ("popularity", "recent", "segment")  # channels that ignore the person
NOTHING: Parts = frozenset()

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ablated:
    """The scores of all candidates without a set of parts, shape (candidates,)."""

    weights: Weights  # of the score that is served without these parts
    retriever: Floats
    shift: Floats | None = None  # of log-odds, as the model scored them; None: it did not


@dataclass(frozen=True)
class AblationTable:
    """What was measured of one ranked request; `NOTHING` left out is in every table.

    Reading a set of parts that the retriever did not score raises KeyError.
    """

    served: Floats  # log p up to a constant, shape (candidates,)
    sets: Mapping[Parts, Ablated]
    odds: Floats | None = None  # of the model, shape (candidates,); None: it cannot score again
    of_items: Mapping[tuple[int, ItemPart], float] = field(default_factory=dict)
    """(position, part of that item) -> change of its log-odds without the part."""
    usage: Usage = field(default_factory=Usage)

    @property
    def noise(self) -> float:
        """Size in nats up to which an effect counts as none."""
        return 1e-3 if self.odds is None else max(1e-3, NOISE * self.sets[NOTHING].weights.model)

    def effect(self, *parts: RequestPart) -> Floats:
        """Return log p minus log p without `parts`, nats, shape (candidates,)."""
        return _log_softmax(self.served) - _log_softmax(self.scores(frozenset(parts)))

    def retriever_effect(self, *parts: RequestPart) -> Floats:
        """Return the effect on the retriever's scores alone, whatever their weight."""
        full, ablated = self.sets[NOTHING].retriever, self.sets[frozenset(parts)].retriever
        return _log_softmax(full) - _log_softmax(ablated)

    def model_effect(self, *parts: RequestPart) -> Floats:
        """Return the effect on the model's share of the score alone, with its weight."""
        shifted = self.served + self._model_shift(frozenset(parts))
        return _log_softmax(self.served) - _log_softmax(shifted)

    def item_effects(self, position: int) -> dict[ItemPart, float]:
        """Return the effects of the measured parts of a candidate on it, nats."""
        served = _log_softmax(self.served)[position]
        return {
            part: float(served - _log_softmax(self._scores_of_item(position, part))[position])
            for of, part in self.of_items
            if of == position
        }

    def rank_of_item(self, position: int, part: ItemPart) -> int:
        """Return the rank, from 1, of a candidate without a part of its own."""
        return _rank(self._scores_of_item(position, part), position)

    def _scores_of_item(self, position: int, part: ItemPart) -> Floats:
        ablated = self.served.copy()
        ablated[position] += self.sets[NOTHING].weights.model * self.of_items[position, part]
        return ablated

    def score_shares(self, position: int) -> tuple[float, float]:
        """Return how far retriever and model each lift a candidate above the mean, nats."""
        full = self.sets[NOTHING]
        retriever = full.weights.retriever * full.retriever
        model = self.served - retriever
        return float((retriever - retriever.mean())[position]), float((model - model.mean())[position])

    def probability(self, *parts: RequestPart) -> Floats:
        """Return p of each candidate without `parts`, shape (candidates,)."""
        return np.exp(_log_softmax(self.scores(frozenset(parts))))

    def rank(self, position: int, *parts: RequestPart) -> int:
        """Return the rank, from 1, of the candidate at `position` without `parts`."""
        return _rank(self.scores(frozenset(parts)), position)

    def is_measured(self, parts: Parts) -> bool:
        """Return whether scores without `parts` are measured, not sums over parts."""
        return self.odds is None or not parts or (parts in self.sets and self.sets[parts].shift is not None)

    def scores(self, parts: Parts) -> Floats:
        """Return served scores without `parts` up to a constant, shape (candidates,).

        The model's share for a set that it did not score is the sum of the shares of single parts.
        """
        full, ablated = self.sets[NOTHING], self.sets[parts]
        retrieved = ablated.weights.retriever * ablated.retriever - full.weights.retriever * full.retriever
        return self.served + retrieved + self._model_shift(parts)

    def _model_shift(self, parts: Parts) -> Floats:
        """Return the change of the model's share of the score."""
        if self.odds is None:
            return np.zeros(len(self.served))
        ablated = self.sets[parts]
        change = ablated.shift if ablated.shift is not None else self._summed_shift(parts)
        return ablated.weights.model * change + (ablated.weights.model - self.sets[NOTHING].weights.model) * (
            self.odds
        )

    def _summed_shift(self, parts: Parts) -> Floats:
        singles = [self.sets.get(frozenset([part])) for part in parts]
        measured = [single.shift for single in singles if single and single.shift is not None]
        return sum(measured, np.zeros(len(self.served)))


@dataclass(frozen=True)
class Ablator:
    """Scores one ranked request without parts of it."""

    query: Query
    request: RankRequest
    retriever: HybridRetriever
    served: Floats  # log p up to a constant, shape (candidates,)
    odds: Floats | None = None  # of the model, shape (candidates,)
    ranker: PointwiseRanker | None = None
    """Scores ablated requests. None: the retriever alone ranked, or the model cannot score again; its
    share of every effect is then unknown, and 0 here."""
    weighted: PointwiseRanker | None = None  # whose weights the served scores have

    @classmethod
    def of(
        cls,
        query: Query,
        request: RankRequest,
        retriever: HybridRetriever,
        ranking: Ranking | None = None,
        ranker: PointwiseRanker | None = None,
    ) -> Ablator:
        """Prepare the ablation of a ranked request.

        Args:
            query: The query of the retrieval.
            request: What was ranked.
            retriever: The retriever that brought the candidates.
            ranking: What `ranker` returned. Without both, the retriever alone ranked.
            ranker: The ranker to score ablated requests with.
        """
        if ranking is None or ranker is None:
            retrieved = [candidate.score for candidate in request.candidates]
            return cls(query, request, retriever, np.array(retrieved, dtype=np.float64))
        served = np.log(np.maximum(ranking.scores, 1e-12))
        odds = [value for value in ranking.log_odds if value is not None]
        if len(odds) < len(ranking.log_odds):
            return cls(query, request, retriever, served, weighted=ranker)
        # History that did not fit the served prompt stays out of every ablated one:
        # nothing but the removed part may change.
        request = dataclasses.replace(request, history=request.history[ranking.prompt.dropped :])
        whole = dataclasses.replace(ranker, parts=dataclasses.replace(ranker.parts, max_history_trim=0))
        return cls(query, request, retriever, served, np.array(odds, dtype=np.float64), whole, ranker)

    def start(self) -> AblationTable:
        """Return the table in which nothing is left out yet."""
        return self.by_retriever(AblationTable(self.served, {}, self.odds), [NOTHING])

    def by_retriever(self, table: AblationTable, sets: Iterable[Parts]) -> AblationTable:
        """Rescore all candidates without each of `sets` at once: faster than one by one."""
        new = [parts for parts in dict.fromkeys(sets) if parts not in table.sets]
        served = np.array([candidate.score for candidate in self.request.candidates], dtype=np.float64)
        ids = [candidate.item.id for candidate in self.request.candidates]
        rows = self.retriever.score_many([self._query_without(parts) for parts in new], ids)
        scored = {
            parts: Ablated(self._weights(parts), np.where(np.isnan(scores), served, scores))
            for parts, scores in zip(new, rows, strict=True)
        }
        return dataclasses.replace(table, sets={**table.sets, **scored})

    def by_model(
        self, table: AblationTable, positions: Mapping[Parts, Sequence[int]], reference: int = REFERENCE
    ) -> AblationTable:
        """Score candidates without each set of parts: at its positions, and a reference.

        Takes two engine calls: the first prompt of every set fills the prefix cache. Sets that were
        scored before are skipped.

        Raises:
            EngineError: The engine fails.
        """
        table = self.by_retriever(table, positions)
        new = {parts: top for parts, top in positions.items() if parts and table.sets[parts].shift is None}
        if self.ranker is None or self.odds is None or not new:
            return table
        at = {parts: [*dict.fromkeys(top), *self._reference(top, reference)] for parts, top in new.items()}
        prompts = self._rendered(at)
        engine, labels = self._labels(prompts[0])
        groups = prefix_first(
            lambda ids: engine.label_logprobs(ids, labels), [prompt.token_ids for prompt in prompts]
        )
        sets = dict(table.sets)
        for (parts, scored), group in zip(at.items(), groups, strict=True):
            change = np.array([r.logprobs[0] - r.logprobs[1] for r in group]) - self.odds[scored]
            n_explained = len(set(new[parts]))
            of_reference = change[n_explained:] if len(scored) > n_explained else change
            shift = np.full(len(self.served), of_reference.mean())
            shift[scored] = change
            sets[parts] = dataclasses.replace(sets[parts], shift=shift)
        return dataclasses.replace(table, sets=sets, usage=_added(table.usage, groups))

    def items_by_model(self, table: AblationTable, parts: Mapping[int, Sequence[ItemPart]]) -> AblationTable:
        """Score the candidate at each position without each part of its own.

        Raises:
            EngineError: The engine fails.
        """
        wanted = [(position, part) for position, own in parts.items() for part in own]
        if self.ranker is None or self.odds is None or not wanted:
            return table
        candidates = self.request.candidates
        ablated = tuple(
            candidates[position].model_copy(update={"item": without(candidates[position].item, part)})
            for position, part in wanted
        )
        prompt = self.ranker.render(dataclasses.replace(self.request, candidates=ablated))
        engine, labels = self._labels(prompt)
        group = engine.label_logprobs(prompt.token_ids, labels)
        changes = {
            (position, part): float(score.logprobs[0] - score.logprobs[1] - self.odds[position])
            for (position, part), score in zip(wanted, group, strict=True)
        }
        return dataclasses.replace(table, of_items=changes, usage=_added(table.usage, [group]))

    def choose_parts(self, table: AblationTable, top: Sequence[int], budget: int) -> list[RequestPart]:
        """Choose at most `budget` parts to ablate for the candidates at `top`.

        At least half are history items in the prompt, by their effect on the retriever's scores of
        `top` and by text similarity; the others are everything else in the request.
        """
        in_prompt = {entry.item.id for entry in self.request.history}
        every = request_parts(self.query, self.request)
        history = [part for part in every if part.kind == "history" and part.name in in_prompt]
        effects = {part: float(np.abs(table.retriever_effect(part)[list(top)]).sum()) for part in history}
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

    def retrieval_dependent(self, part: RequestPart) -> frozenset[int]:
        """Return the positions of candidates that are not retrieved without this part."""
        query, _ = remove_parts(self.query, self.request, [part])
        retrieved = self.retriever.retrieve(query, len(self.request.candidates))
        ids = {candidate.item.id for candidate in retrieved}
        return frozenset(n for n, c in enumerate(self.request.candidates) if c.item.id not in ids)

    def _weights(self, parts: Parts) -> Weights:
        """Return the weights of the score that is served without `parts`."""
        if self.weighted is None:
            return RETRIEVER_ALONE
        _, request = remove_parts(self.query, self.request, parts)
        return self.weighted.parts.weights_for(request)

    def _reference(self, top: Sequence[int], n: int) -> list[int]:
        """Return at most n positions outside `top`, spread over the retriever's ranks."""
        others = [position for position in range(len(self.served)) if position not in set(top)]
        return sorted({others[i * len(others) // n] for i in range(n)}) if others else []

    def _labels(self, prompt: RenderedPrompt) -> tuple[Engine, Sequence[int]]:
        """Return the engine, and the tokens of the labels of a prompt."""
        assert self.ranker is not None
        engine = self.ranker.parts.engine
        return engine, label_ids(engine.tokenizer, prompt.template.meta.labels, prompt.tails[0])

    def _rendered(self, at: Mapping[Parts, Sequence[int]]) -> list[RenderedPrompt]:
        """Render candidates as they are retrieved without each set of parts."""
        served = self.request.candidates
        answers = self.retriever.rescore_many(
            [self._query_without(parts) for parts in at], [candidate.item.id for candidate in served]
        )
        prompts = []
        for (parts, positions), answer in zip(at.items(), answers, strict=True):
            by_id = {candidate.item.id: candidate for candidate in answer}
            rescored = [by_id.get(served[p].item.id, served[p]) for p in positions]
            prompts.append(self._render_without(parts, rescored))
        return prompts

    def _render_without(self, parts: Parts, candidates: Sequence[Candidate]) -> RenderedPrompt:
        assert self.ranker is not None
        _, request = remove_parts(self.query, self.request, parts)
        ranker = self.ranker
        if any(part.kind == "popularity" for part in parts):
            facts = tuple(fact for fact in ranker.parts.facts if fact != "popularity")
            ranker = dataclasses.replace(ranker, parts=dataclasses.replace(ranker.parts, facts=facts))
        return ranker.render(dataclasses.replace(request, candidates=tuple(candidates)))

    def _query_without(self, parts: Parts) -> tuple[Query, Sequence[Channel]]:
        """Return the ablated query and the channels to exclude."""
        query, _ = remove_parts(self.query, self.request, parts)
        return query, POPULAR if any(part.kind == "popularity" for part in parts) else ()


def _added(usage: Usage, groups: Sequence[Sequence[LabelScores]]) -> Usage:
    """Add the work of these responses."""
    return summed([usage, label_usage([response for group in groups for response in group])])


def _rank(scores: Floats, position: int) -> int:
    order = np.argsort(-scores, kind="stable")
    return int(np.flatnonzero(order == position)[0]) + 1


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max()
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum())
    return log_probabilities
