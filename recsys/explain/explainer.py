"""From a ranking to reasons: what moved it is measured, put into words, and told in figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recsys.config import Domain
from recsys.data.catalog import Catalog
from recsys.engine import Engine
from recsys.engine.base import Generation
from recsys.errors import EngineDead, EngineError
from recsys.explain import (
    MEASURE,
    Ablation,
    Lexicon,
    ReasonCase,
    RequestPart,
    collect_evidence,
    describe_part,
    drained,
    write_each,
)
from recsys.explain.ablation import Kind, parts_of
from recsys.explain.evidence import WISH
from recsys.prompting.library import PromptLibrary
from recsys.ranking import Ranker, Ranking, RankRequest
from recsys.ranking.pointwise import PointwiseRanker
from recsys.types import (
    Context,
    Counterfactual,
    Effect,
    EvidenceKind,
    Explanation,
    HistoryEntry,
    Influence,
    Usage,
)
from retrieval import HybridRetriever, Query

OFFERED = 30  # of a history, the newest: each costs the retriever one question
TOP_PART = 10  # a reason may call an item close to a wish in the first tenth of the catalogue
EXPLAINED = 2  # times the budget where one or two items are explained by themselves: each part costs less
WHOLE_REFERENCE = 2  # items asked of beside one explained, when all that its reason cites is left out
RETRIEVAL_MEASURE = "log p of retrieval with and without"
GROUPS: dict[str, tuple[Kind, ...]] = {
    "history": ("history",),
    "context": ("time", "place", "fact"),
    "wish": ("wish",),
    "profile": ("profile",),
    "popularity": ("popularity",),
}
INFLUENCES = {
    "retrieval": "how well it fits by counts of who chose what, and by its description",
    "history": "what was chosen before",
    "context": "the time, the place and other facts of the moment",
    "wish": "what was asked for",
    "profile": "what is known of the person",
    "popularity": "how many people choose it",
}


@dataclass(frozen=True)
class Explained:
    """Explanations in the order asked, and what they cost: generations, and the usage of ablations.

    `effects` is what moved the first, the strongest first. `engine_died` says that the engine is gone for good.
    """

    explanations: list[Explanation] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    degraded: tuple[str, ...] = ()
    engine_died: bool = False
    effects: tuple[Effect, ...] = ()
    ablated: Usage = field(default_factory=Usage)
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds of evidence and reasons


@dataclass(frozen=True)
class Measured:
    """A ranking with what each part of its request did; `listed` are the candidates that are recommended,
    `retrieval_dependent` those of them that would not be candidates without the wish.

    `served` is False where another strategy than pointwise ranked: then only the retriever
    that brought the candidates was measured, and nothing can be said of served ranks.
    """

    query: Query
    request: RankRequest
    top: tuple[int, ...]
    parts: tuple[RequestPart, ...]
    ablation: Ablation
    listed: frozenset[int]
    retrieval_dependent: frozenset[int] = frozenset()
    served: bool = True
    degraded: tuple[str, ...] = ()
    engine_died: bool = False

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        return self.query.history[-OFFERED:]

    @cached_property
    def every(self) -> list[RequestPart]:
        """All parts of the request, those too that were not measured one by one."""
        return parts_of(self.query, self.request)

    @property
    def context(self) -> Context:
        return self.request.context

    @property
    def measure(self) -> str:
        return MEASURE if self.served else RETRIEVAL_MEASURE

    def effects(self, position: int) -> dict[RequestPart, float]:
        """What each part did to the candidate at `position`, nats."""
        return {part: float(self.ablation.effect(part)[position]) for part in self.parts}

    @cached_property
    def past(self) -> frozenset[RequestPart]:
        """All of the history."""
        return frozenset(part for part in self.every if part.kind == "history")


@dataclass(frozen=True)
class Explainer:
    """What reasons of one domain are made with."""

    domain: Domain
    prompts: PromptLibrary
    retriever: HybridRetriever
    catalog: Catalog

    @property
    def nouns(self) -> tuple[str, str]:
        return self.domain.noun, self.domain.plural

    def measure(
        self,
        query: Query,
        request: RankRequest,
        top: Sequence[int],
        ranking: Ranking | None = None,
        ranker: Ranker | None = None,
        listed: Collection[int] | None = None,
    ) -> Measured:
        """Leave out what the candidates at `top` may owe something to. Never raises EngineError.

        Without a ranking, or a ranker to ask again, only the retriever is measured. `listed` are
        those of `top` that are recommended, all of them if None.
        """
        pointwise = isinstance(ranker, PointwiseRanker)
        ablation = Ablation(
            query,
            request,
            self.retriever,
            ranking=ranking if pointwise else None,
            ranker=ranker if isinstance(ranker, PointwiseRanker) else None,
        )
        every = parts_of(query, request)
        history = [part for part in every if part.kind == "history"][:OFFERED]
        recommended = frozenset(top if listed is None else listed)
        found = Measured(
            query,
            request,
            tuple(top),
            (*(part for part in every if part.kind != "history"), *history),
            ablation,
            listed=recommended,
            retrieval_dependent=ablation.retrieval_dependent(WISH) & recommended
            if WISH in every
            else frozenset(),
            served=ranking is None or pointwise,
        )
        ablation.score_with_retriever([frozenset(), *(frozenset([part]) for part in found.parts)])
        budget = self.domain.reasons.ablations * (EXPLAINED if listed is not None else 1)
        if ablation.ranker is None or not budget:
            return found
        sets = [frozenset([part]) for part in ablation.choose(top, budget)]
        if not found.listed.issuperset(top):  # what the history as a whole did is said of those alone
            sets.append(found.past)
        try:
            ablation.score_with_model(sets, top)
        except EngineError as error:
            note = f"evidence: {error.message}; only the retriever was measured"
            return dataclasses.replace(found, degraded=(note,), engine_died=isinstance(error, EngineDead))
        return found

    def cases(self, measured: Measured) -> list[ReasonCase]:
        """What may be said of each candidate at `top`."""
        ablation, past = measured.ablation, tuple(measured.past)
        return [
            collect_evidence(
                measured.request.candidates[position],
                measured.history,
                measured.context,
                measured.effects(position),
                noise=ablation.noise,
                measure=measured.measure,
                nouns=self.nouns,
                history_shown=self.domain.reasons.history_shown,
                top_rank=max(1, len(self.catalog) // TOP_PART),
                variant=number,
                listed=position in measured.listed,
                rank=ablation.rank(position),
                retrieval_dependent=position in measured.retrieval_dependent,
                history_effect=float(ablation.effect(*past)[position])
                if ablation.exact(measured.past)
                else 0.0,
            )
            for number, position in enumerate(measured.top)
        ]

    def explain(self, measured: Measured, engine: Engine | None) -> Explained:
        """`explain_each`, when all are done."""
        return drained(self.explain_each(measured, engine))

    def explain_each(
        self, measured: Measured, engine: Engine | None
    ) -> Generator[tuple[int, Explanation], None, Explained]:
        """A reason for each candidate at `top`, and at the end its figures. Never raises EngineError.

        Gives (its number, the reason) as soon as one is written and checked, yet without figures.
        """
        cases = self.cases(measured)
        healthy = None if measured.engine_died else engine
        reasons = yield from write_each(
            cases, healthy, self.prompts, self.domain.reasons, Lexicon.of(self.catalog)
        )
        cited = [self._cited(case, one) for case, one in zip(cases, reasons.explanations, strict=True)]
        degraded, died = reasons.degraded, measured.engine_died or reasons.engine_died
        if self.domain.reasons.ablations and not died:
            try:
                measured.ablation.score_each_with_model(self._wholes(measured, cited), WHOLE_REFERENCE)
            except EngineError as error:
                degraded += (f"evidence: {error.message}; the cited set was not measured as a whole",)
                died = isinstance(error, EngineDead)
        explanations = [
            self._with_figures(measured, position, one, ids)
            for position, one, ids in zip(measured.top, reasons.explanations, cited, strict=True)
        ]
        return Explained(
            explanations=explanations,
            generations=reasons.generations,
            degraded=(*measured.degraded, *degraded),
            engine_died=died,
            effects=self._effects(measured) if measured.top else (),
            ablated=measured.ablation.usage,
        )

    @staticmethod
    def _cited(case: ReasonCase, one: Explanation) -> dict[str, RequestPart]:
        """What the reason stands on: what it cites; where it only says what spoke against the item, that."""
        stands = one.evidence if not case.net_negative else case.against
        return {entry.id: case.parts[entry.id] for entry in stands if entry.id in case.parts}

    @staticmethod
    def _wholes(
        measured: Measured, cited: Sequence[Mapping[str, RequestPart]]
    ) -> dict[frozenset[RequestPart], list[int]]:
        """What to leave out of which candidate's request: all it stands on, and all else of the history."""
        questions: dict[frozenset[RequestPart], list[int]] = {}
        for position, ids in zip(measured.top, cited, strict=True):
            if parts := frozenset(ids.values()):
                for found in (parts, measured.past - parts):
                    questions.setdefault(found, []).append(position)
        return questions

    def _effects(self, measured: Measured) -> tuple[Effect, ...]:
        """Everything that moved the first of `top`, or the second if there is one, beyond noise."""
        first, *others = measured.top
        ablation = measured.ablation
        found = []
        for part in measured.parts:
            effect = ablation.effect(part)
            for kind, text in self._described(measured, part):
                if max(abs(effect[position]) for position in measured.top[:2]) > ablation.noise:
                    other = float(effect[others[0]]) if others else None
                    found.append(
                        Effect(
                            kind=kind,
                            text=text,
                            contribution=float(effect[first]),
                            other=other,
                            rank_without=ablation.rank(first, part),
                        )
                    )
        return tuple(sorted(found, key=lambda one: -abs(one.contribution)))

    def _described(self, measured: Measured, part: RequestPart) -> list[tuple[EvidenceKind, str]]:
        by_id = {entry.item.id: entry for entry in measured.history}
        return describe_part(part, by_id, measured.context, self.nouns)

    @staticmethod
    def _with_figures(
        measured: Measured, position: int, one: Explanation, cited: Mapping[str, RequestPart]
    ) -> Explanation:
        """Probabilities only where the model was asked without just these parts."""
        figures: dict[str, object] = {"influences": influences(measured, position)}
        ablation = measured.ablation
        if cited and measured.served:

            def lost(parts: frozenset[RequestPart]) -> float | None:
                p = ablation.probability()[position] - ablation.probability(*parts)[position]
                return float(p) if ablation.exact(parts) else None

            parts = frozenset(cited.values())
            figures |= {"comprehensiveness": lost(parts), "sufficiency": lost(measured.past - parts)}
            contributions = {entry.id: entry.contribution or 0.0 for entry in (*one.evidence, *one.against)}
            strongest = max(cited, key=lambda name: abs(contributions[name]))
            if contributions[strongest]:
                figures["counterfactual"] = Counterfactual(
                    without=(strongest,),
                    rank=ablation.rank(position),
                    rank_without=ablation.rank(position, cited[strongest]),
                )
        return one.model_copy(update=figures)


def influences(measured: Measured, position: int) -> tuple[Influence, ...]:
    """The main parameters of a score, by how far each moved it (nats, whatever the sign).

    With a model, retrieval is the retriever's half of the score and the rest what the model
    made of each group; without one, each group is what the retriever made of it.
    """
    ablation = measured.ablation
    modelled = ablation.ranker is not None
    effect = ablation.model_effect if modelled else ablation.effect
    moved = {"retrieval": abs(ablation.halves(position)[0]) if modelled else 0.0}
    for name, kinds in GROUPS.items():
        if parts := [part for part in measured.every if part.kind in kinds]:
            moved[name] = abs(float(effect(*parts)[position]))
    moved = {name: size for name, size in moved.items() if size > ablation.noise} or {"retrieval": 1.0}
    total = sum(moved.values())
    return tuple(
        Influence(name=name, share=size / total, text=INFLUENCES[name])
        for name, size in sorted(moved.items(), key=lambda entry: -entry[1])
    )
