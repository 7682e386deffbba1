"""From a ranking to reasons: what moved it is measured, put into words, and told in figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.answers import Explained
from recsys.config import Domain
from recsys.engine import Engine
from recsys.errors import EngineDead, EngineError
from recsys.explain import MEASURE, Ablation, Part, ReasonCase, collect_evidence, told, write_reasons
from recsys.explain.ablation import Kind, parts_of
from recsys.prompting import PromptLibrary
from recsys.ranking import Ranker, Ranking
from recsys.ranking.pointwise import PointwiseRanker
from recsys.requests import Prepared
from recsys.types import (
    Context,
    Counterfactual,
    Effect,
    Evidence,
    EvidenceKind,
    Explanation,
    HistoryEntry,
    Influence,
)
from retrieval import HybridRetriever

OFFERED = 30  # of a history, the newest: each costs the retriever one question
TOP_PART = 10  # a reason may call an item popular, or close to a wish, in the first tenth
AGAINST_SHOWN = 3
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
class Measured:
    """A ranking with what each part of its request did.

    `served` is False where another strategy than pointwise ranked: then only the retriever
    that brought the candidates was measured, and nothing can be said of served ranks.
    """

    prepared: Prepared
    top: tuple[int, ...]
    parts: tuple[Part, ...]
    ablation: Ablation
    served: bool = True
    budget_left: int = 0
    degraded: tuple[str, ...] = ()
    engine_died: bool = False

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        return self.prepared.query.history[-OFFERED:]

    @property
    def every(self) -> list[Part]:
        """All parts of the request, those too that were not measured one by one."""
        return parts_of(self.prepared.query, self.prepared.request)

    @property
    def context(self) -> Context:
        return self.prepared.request.context

    @property
    def measure(self) -> str:
        return MEASURE if self.served else RETRIEVAL_MEASURE

    def effects(self, position: int) -> dict[Part, float]:
        """What each part did to the candidate at `position`, nats."""
        return {part: float(self.ablation.effect(part)[position]) for part in self.parts}


@dataclass(frozen=True)
class Explainer:
    """What reasons of one domain are made with; `n_items` is the size of the catalogue."""

    domain: Domain
    prompts: PromptLibrary
    retriever: HybridRetriever
    n_items: int

    @property
    def nouns(self) -> tuple[str, str]:
        return self.domain.noun, self.domain.plural

    def measure(
        self,
        prepared: Prepared,
        top: Sequence[int],
        ranking: Ranking | None = None,
        ranker: Ranker | None = None,
    ) -> Measured:
        """Leave out what the candidates at `top` may owe something to. Never raises EngineError.

        Without a ranking, or a ranker to ask again, only the retriever is measured.
        """
        pointwise = isinstance(ranker, PointwiseRanker)
        ablation = Ablation(
            prepared.query, prepared.request, self.retriever,
            ranking=ranking if pointwise else None,
            ranker=ranker if isinstance(ranker, PointwiseRanker) else None,
            retriever_weight=self.domain.ranker.retriever_weight,
        )  # fmt: skip
        every = parts_of(prepared.query, prepared.request)
        history = [part for part in every if part.kind == "history"][:OFFERED]
        found = Measured(
            prepared, tuple(top), (*(part for part in every if part.kind != "history"), *history), ablation,
            served=ranking is None or pointwise,
        )  # fmt: skip
        budget = self.domain.reasons.ablations
        if ablation.ranker is None or not budget:
            return found
        chosen = ablation.choose(top, budget)
        try:
            ablation.ask([frozenset([part]) for part in chosen], top)
        except EngineError as error:
            note = f"evidence: {error.message}; only the retriever was measured"
            return dataclasses.replace(found, degraded=(note,), engine_died=isinstance(error, EngineDead))
        return dataclasses.replace(found, budget_left=budget - len(chosen))

    def cases(self, measured: Measured) -> list[ReasonCase]:
        """What may be said of each candidate at `top`."""
        return [
            collect_evidence(
                measured.prepared.request.candidates[position],
                measured.history,
                measured.context,
                measured.effects(position),
                noise=measured.ablation.noise,
                measure=measured.measure,
                nouns=self.nouns,
                history_shown=self.domain.reasons.history_shown,
                top_rank=max(1, self.n_items // TOP_PART),
                variant=number,
            )
            for number, position in enumerate(measured.top)
        ]

    def explain(self, measured: Measured, engine: Engine | None) -> Explained:
        """A reason for each candidate at `top`, and its figures. Never raises EngineError."""
        cases = self.cases(measured)
        healthy = None if measured.engine_died else engine
        reasons = write_reasons(cases, healthy, self.prompts, self.domain.reasons)
        cited = [
            frozenset(case.parts[entry.id] for entry in one.evidence if entry.id in case.parts)
            for case, one in zip(cases, reasons.explanations, strict=True)
        ]
        degraded, died = reasons.degraded, measured.engine_died or reasons.engine_died
        whole = [found for one in cited if one for found in (one, self._others(measured, one))]
        if not died and whole:
            try:
                measured.ablation.ask(whole[: measured.budget_left], measured.top)
            except EngineError as error:
                degraded += (f"evidence: {error.message}; the cited set was not measured as a whole",)
                died = isinstance(error, EngineDead)
        explanations = [
            self._with_figures(measured, position, one, case, parts)
            for position, one, case, parts in zip(
                measured.top, reasons.explanations, cases, cited, strict=True
            )
        ]
        return Explained(
            explanations=explanations,
            generations=reasons.generations,
            degraded=(*measured.degraded, *degraded),
            engine_died=died,
            effects=self._effects(measured) if measured.top else (),
            ablated=measured.ablation.usage,
        )

    def _effects(self, measured: Measured) -> tuple[Effect, ...]:
        """Everything that moved the first of `top`, or the second if there is one, beyond noise."""
        first, *others = measured.top
        ablation = measured.ablation
        found = []
        for part in measured.parts:
            effect = ablation.effect(part)
            for kind, text in self._told(measured, part):
                if max(abs(effect[position]) for position in measured.top[:2]) > ablation.noise:
                    other = float(effect[others[0]]) if others else None
                    found.append(
                        Effect(
                            kind=kind, text=text, contribution=float(effect[first]), other=other,
                            rank_without=ablation.rank(first, part),
                        )
                    )  # fmt: skip
        return tuple(sorted(found, key=lambda one: -abs(one.contribution)))

    def _told(self, measured: Measured, part: Part) -> list[tuple[EvidenceKind, str]]:
        by_id = {entry.item.id: entry for entry in measured.history}
        return told(part, by_id, measured.context, self.nouns)

    @staticmethod
    def _others(measured: Measured, cited: frozenset[Part]) -> frozenset[Part]:
        """All of the history that is not cited."""
        return frozenset(part for part in measured.every if part.kind == "history") - cited

    def _with_figures(
        self, measured: Measured, position: int, one: Explanation, case: ReasonCase, cited: frozenset[Part]
    ) -> Explanation:
        figures: dict[str, object] = {
            "against": (*one.against, *self._against(measured, position, case)),
            "influences": influences(measured, position),
        }
        ablation = measured.ablation
        if cited and measured.served:
            others = self._others(measured, cited)
            p = float(ablation.probability()[position])
            exact = ablation.ranker is None or not others or ablation.asked(*others)
            strongest = max(
                (entry for entry in one.evidence if entry.id in case.parts),
                key=lambda entry: entry.contribution or 0.0,
            )
            figures |= {
                "comprehensiveness": p - float(ablation.probability(*cited)[position]),
                "sufficiency": p - float(ablation.probability(*others)[position]) if exact else None,
                "counterfactual": Counterfactual(
                    without=(strongest.id,),
                    rank=ablation.rank(position),
                    rank_without=ablation.rank(position, case.parts[strongest.id]),
                ),
            }
        return one.model_copy(update=figures)

    def _against(self, measured: Measured, position: int, case: ReasonCase) -> list[Evidence]:
        """What measurably spoke against the item, the strongest first, beside what the case has."""
        known = {entry.item_id for entry in case.against if entry.kind == "history"}
        effects = measured.effects(position)
        parts = [
            part
            for part in sorted(effects, key=lambda part: (effects[part], part.kind, part.name))
            if effects[part] < -measured.ablation.noise
            and part.kind != "popularity"
            and not (part.kind == "history" and part.name in known)
        ]
        named = [(part, kind, text) for part in parts for kind, text in self._told(measured, part)]
        return [
            Evidence(
                id=f"n{number}", kind=kind, text=text, contribution=effects[part], measure=measured.measure,
                item_id=part.name if part.kind == "history" else None,
            )
            for number, (part, kind, text) in enumerate(named[:AGAINST_SHOWN], start=3)
        ]  # fmt: skip


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
