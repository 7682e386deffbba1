"""Explanations of a ranking: effects, evidence, checked sentences, figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recsys.config import Domain, ReasonConfig
from recsys.data.catalog import Catalog
from recsys.engine import Engine
from recsys.engine.base import Generation
from recsys.errors import EngineDead, EngineError
from recsys.explain.ablation import REFERENCE, AblationTable, Ablator
from recsys.explain.cases import ReasonCase
from recsys.explain.causes import Cause, Proposer
from recsys.explain.claims import Lexicon
from recsys.explain.evidence import MEASURE, WISH, AskedFor, MeasuredCandidate, describe_part
from recsys.explain.item_parts import ItemPart, item_parts
from recsys.explain.lead import lead_of
from recsys.explain.past import Past
from recsys.explain.phrases import DECADE, Fact, FactCounts, Phrases, facts_of
from recsys.explain.plan import plan_list
from recsys.explain.relations import RelationPhrases
from recsys.explain.request_parts import Kind, Parts, RequestPart, request_parts
from recsys.explain.writer import drained, phrases_of, write_each
from recsys.knowledge.attributes import matched_attributes
from recsys.knowledge.fields import profile_values
from recsys.prompting.library import PromptLibrary
from recsys.ranking import Ranker, Ranking, RankRequest
from recsys.ranking.pointwise import PointwiseRanker
from recsys.types import (
    Context,
    Counterfactual,
    Effect,
    EvidenceKind,
    Explanation,
    Influence,
    Usage,
)
from retrieval import HybridRetriever, Query

MAX_ABLATED_HISTORY = 30  # newest history items that are ablated: each costs one retriever query
TOP_PART = 10  # "close to a wish" means in the first tenth of the catalogue
SINGLE_ITEM_BUDGET = 2  # times the ablation budget for one or two items: each ablation costs less there
WHOLE_REFERENCE = 2  # reference items when many sets are left out, each for one or two items
FEW_SETS = 8  # sets up to which there are more
CAUSES = 1  # causes of one item that the model scores without
ITEM_PARTS = 4  # parts of one item that the model scores it without
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
    """Explanations in the order of the explained candidates, and what they cost."""

    explanations: list[Explanation] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    degraded: tuple[str, ...] = ()
    engine_died: bool = False  # the engine cannot be used again
    effects: tuple[Effect, ...] = ()  # on the first candidate, strongest first
    ablated: Usage = field(default_factory=Usage)  # engine work of the ablations
    lead: str = ""  # what all of the list share
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds of evidence and reasons


@dataclass(frozen=True)
class Measured:
    """A ranking with the effect of each part of its request."""

    query: Query
    request: RankRequest
    top: tuple[int, ...]  # positions of the candidates to explain
    parts: tuple[RequestPart, ...]  # parts that were measured one by one
    ablator: Ablator
    table: AblationTable
    history: Past
    listed: frozenset[int]  # positions of the recommended candidates
    causes: tuple[tuple[Cause, ...], ...] = ()  # of the history, for each of `top`
    asked: AskedFor | None = None
    retrieval_dependent: frozenset[int] = frozenset()  # of `listed`, those that only the wish retrieved
    served: bool = True  # False: another strategy ranked, and only the retriever was measured
    degraded: tuple[str, ...] = ()
    engine_died: bool = False

    @cached_property
    def every(self) -> list[RequestPart]:
        """All parts of the request, including those not measured one by one."""
        return request_parts(self.query, self.request)

    @property
    def context(self) -> Context:
        return self.request.context

    @property
    def measure(self) -> str:
        return MEASURE if self.served else RETRIEVAL_MEASURE

    def effects(self, position: int) -> dict[RequestPart, float]:
        """Return the effect of each measured part on the candidate at `position`, nats."""
        return {part: float(self.table.effect(part)[position]) for part in self.parts}

    @cached_property
    def past(self) -> frozenset[RequestPart]:
        """The whole history."""
        return frozenset(part for part in self.every if part.kind == "history")

    @cached_property
    def history_effects(self) -> tuple[float, ...]:
        """Effect of the whole history on each candidate of `top`; 0 if not measured."""
        if not self.table.is_measured(self.past):
            return (0.0,) * len(self.top)
        return tuple(float(self.table.effect(*self.past)[position]) for position in self.top)


@dataclass(frozen=True)
class Explainer:
    """Explains rankings of one domain."""

    domain: Domain
    prompts: PromptLibrary
    retriever: HybridRetriever
    catalog: Catalog
    follows: float | None = None
    """The least p(Yes) that a sentence in the model's own words follows; None: forms of the grammar."""

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
        asked: AskedFor | None = None,
    ) -> Measured:
        """Ablate the request for the candidates at `top`. Never raises EngineError.

        Args:
            query: The query of the retrieval.
            request: What was ranked.
            top: Positions of the candidates to explain.
            ranking: What `ranker` returned. Without both, only the retriever is measured.
            ranker: The ranker to score ablated requests with.
            listed: Positions of the recommended candidates; None: all of `top`.
            asked: What the wish asks for; None: the values that it names.
        """
        pointwise = ranker if isinstance(ranker, PointwiseRanker) else None
        ablator = Ablator.of(query, request, self.retriever, ranking if pointwise else None, pointwise)
        every = request_parts(query, request)
        repeated = {request.candidates[position].item.id for position in top} & request.chosen.keys()
        past = [part for part in every if part.kind == "history"]
        history = [
            part for number, part in enumerate(past) if number < MAX_ABLATED_HISTORY or part.name in repeated
        ]
        recommended = frozenset(top if listed is None else listed)
        parts = (*(part for part in every if part.kind != "history"), *history)
        wholes = [frozenset(part for part in every if part.kind in kinds) for kinds in GROUPS.values()]
        measured = Measured(
            query,
            request,
            tuple(top),
            parts,
            ablator,
            ablator.by_retriever(ablator.start(), [*(frozenset([part]) for part in parts), *wholes]),
            Past(query.history),
            listed=recommended,
            asked=asked,
            retrieval_dependent=ablator.retrieval_dependent(WISH) & recommended
            if WISH in every
            else frozenset(),
            served=ranking is None or pointwise is not None,
        )
        budget = self.domain.reasons.ablations * (SINGLE_ITEM_BUDGET if listed is not None else 1)
        if budget:
            measured = _scored(measured, _single_sets(measured, budget))
        causes = self._causes(measured)
        table = ablator.by_retriever(measured.table, [cause.parts for own in causes for cause in own])
        measured = dataclasses.replace(measured, causes=causes, table=table)
        if budget and not measured.degraded:
            measured = _scored(measured, _cause_sets(measured), _item_parts(measured))
        return measured

    def _causes(self, measured: Measured) -> tuple[tuple[Cause, ...], ...]:
        """Propose what of the history may support each candidate at `top`."""
        request = measured.request
        past = [part for part in measured.parts if part.kind == "history" and measured.top]
        effects = {part: measured.table.effect(part) for part in past}
        examples = measured.asked.examples if measured.asked else frozenset()
        is_noun = self.phrases.is_noun
        proposer = Proposer(measured.history, self._counts, is_noun, self._is_rated, examples)
        relations = RelationPhrases(self.phrases, request.context.time, examples)
        return tuple(
            tuple(
                proposer.causes(
                    request.candidates[position],
                    {part: float(effect[position]) for part, effect in effects.items()},
                    relations.of(request.candidates[position], measured.history.entries),
                    self._citable,
                )
            )
            for position in measured.top
        )

    def candidates(self, measured: Measured) -> list[MeasuredCandidate]:
        """Collect what was measured for each candidate at `top`."""
        types, profile = self.domain.users.types if self.domain.users else {}, measured.request.profile
        own = frozenset(
            value for name, text in profile.items() for value in profile_values(text, types.get(name))
        )
        return [self._candidate(measured, number, own) for number in range(len(measured.top))]

    def _candidate(self, measured: Measured, number: int, own: Collection[str]) -> MeasuredCandidate:
        position, table, context = measured.top[number], measured.table, measured.context
        candidate = measured.request.candidates[position]
        known = facts_of(candidate.item)
        told = [fact for fact in known if self._citable(fact)]
        if measured.asked is not None:
            asked = list(measured.asked.facts.get(candidate.item.id, ()))
        else:
            named = set(matched_attributes(context.wish, [fact.value for fact in known]))
            asked = [fact for fact in known if fact.value in named]
        top_rank = max(1, len(self.catalog) // TOP_PART)
        return MeasuredCandidate(
            candidate,
            told,
            measured.history,
            context,
            _cited_effects(measured.effects(position), self.domain.reasons),
            [(cause, float(table.effect(*cause.parts)[position])) for cause in measured.causes[number]],
            table.item_effects(position),
            noise=table.noise,
            measure=measured.measure,
            listed=position in measured.listed,
            rank=table.rank(position),
            history_effect=measured.history_effects[number],
            retrieval_dependent=position in measured.retrieval_dependent,
            asked=asked,
            examples=measured.asked.examples if measured.asked else frozenset(),
            close=candidate.channels.get("text", top_rank + 1) <= top_rank,
            chosen=measured.request.chosen.get(candidate.item.id),
            own=[fact for fact in told if fact.value in own],
        )

    def cases(self, measured: Measured) -> list[ReasonCase]:
        """Plan the reason of each candidate at `top`."""
        return self._planned(self.candidates(measured))

    def _planned(self, candidates: Sequence[MeasuredCandidate]) -> list[ReasonCase]:
        return plan_list(candidates, self.phrases, self._counts, self.domain.reasons.style)

    @cached_property
    def phrases(self) -> Phrases:
        """The words of the domain in the language of its reasons."""
        return phrases_of(self.domain, self.prompts)

    @property
    def _counts(self) -> FactCounts:
        return FactCounts.of_catalog(self.catalog)

    @property
    def _is_rated(self) -> bool:
        interactions = self.domain.interactions
        return interactions is not None and interactions.rating is not None

    def _citable(self, fact: Fact) -> bool:
        citable = self.domain.citable_attributes
        return citable is None or fact.attribute in citable or fact.attribute == DECADE

    def explain(self, measured: Measured, engine: Engine | None) -> Explained:
        """Run `explain_each` to its end."""
        return drained(self.explain_each(measured, engine))

    def explain_each(
        self, measured: Measured, engine: Engine | None
    ) -> Generator[tuple[int, Explanation], None, Explained]:
        """Write a reason for each candidate at `top`. Never raises EngineError.

        Yields:
            (number within `top`, reason) as soon as a reason is written and checked, without figures.

        Returns:
            All reasons with their figures.
        """
        candidates = self.candidates(measured)
        cases = self._planned(candidates)
        healthy = None if measured.engine_died else engine
        lexicon = Lexicon.of(self.catalog)
        reasons = yield from write_each(cases, healthy, self.prompts, self.phrases, lexicon, self.follows)
        cited = [_cited(case, reason) for case, reason in zip(cases, reasons.explanations, strict=True)]
        degraded, died = reasons.degraded, measured.engine_died or reasons.engine_died
        sets = _cited_sets(measured, cited)
        measured = dataclasses.replace(measured, table=measured.ablator.by_retriever(measured.table, sets))
        if self.domain.reasons.ablations and not died:
            try:
                table = measured.ablator.by_model(measured.table, sets, WHOLE_REFERENCE)
                measured = dataclasses.replace(measured, table=table)
            except EngineError as error:
                degraded += (f"evidence: {error.message}; the cited set was not measured as a whole",)
                died = isinstance(error, EngineDead)
        explanations = [
            _with_figures(measured, position, reason, parts)
            for position, reason, parts in zip(measured.top, reasons.explanations, cited, strict=True)
        ]
        return Explained(
            explanations=explanations,
            generations=reasons.generations,
            degraded=(*measured.degraded, *degraded),
            engine_died=died,
            effects=self._effects(measured) if measured.top else (),
            ablated=measured.table.usage,
            lead=lead_of(candidates, self.phrases, self._counts),
        )

    def _effects(self, measured: Measured) -> tuple[Effect, ...]:
        """List what has an effect on the first or the second of `top`.

        What has the largest effect comes first, or what tells two items apart most.
        """
        table, first, other = measured.table, measured.top[0], measured.top[1:2]

        def effect(kind: EvidenceKind, text: str, parts: Parts) -> Effect:
            sizes = table.effect(*parts)
            second = float(sizes[other[0]]) if other else None
            rank = table.rank(first, *parts)
            return Effect(
                kind=kind, text=text, contribution=float(sizes[first]), other=second, rank_without=rank
            )

        effects = [
            effect(kind, text, frozenset([part]))
            for part in measured.parts
            for kind, text in self._describe(measured, part)
        ]
        groups = dict.fromkeys(
            (cause.parts, cause.facts)
            for causes in measured.causes[:2]
            for cause in causes
            if cause.kind == "group"
        )
        effects += [effect("group", self.phrases.many(len(parts), facts), parts) for parts, facts in groups]
        effects += [
            Effect(
                kind="attribute" if part.attribute else "passage",
                text=part.attribute.replace("_", " ") or part.sentence,
                contribution=size,
                other=0.0 if other else None,
                rank_without=table.rank_of_item(first, part),
            )
            for part, size in table.item_effects(first).items()
        ]
        found = [one for one in effects if max(abs(one.contribution), abs(one.other or 0.0)) > table.noise]
        return tuple(sorted(found, key=lambda one: -abs(one.contribution - (one.other or 0.0))))

    def _describe(self, measured: Measured, part: RequestPart) -> list[tuple[EvidenceKind, str]]:
        return describe_part(part, measured.history.by_id, measured.context, self.nouns)


def _scored(
    measured: Measured,
    sets: Mapping[Parts, Sequence[int]],
    items: Mapping[int, Sequence[ItemPart]] | None = None,
) -> Measured:
    """Score with the model what is left without sets of parts, and parts of items.

    A failure is noted.
    """
    ablator, reference = measured.ablator, REFERENCE if len(sets) <= FEW_SETS else WHOLE_REFERENCE
    try:
        table = ablator.by_model(measured.table, sets, reference)
        return dataclasses.replace(measured, table=ablator.items_by_model(table, items or {}))
    except EngineError as error:
        note = f"evidence: {error.message}; only the retriever was measured"
        return dataclasses.replace(measured, degraded=(note,), engine_died=isinstance(error, EngineDead))


def _item_parts(measured: Measured) -> dict[int, list[ItemPart]]:
    """Return what of each explained item the model scores it without."""
    shown = measured.request.shown_items
    return {n: item_parts(shown[n])[:ITEM_PARTS] for n in measured.top}


def _single_sets(measured: Measured, budget: int) -> dict[Parts, Sequence[int]]:
    """Return the parts that the model scores without, one by one."""
    chosen = measured.ablator.choose_parts(measured.table, measured.top, budget)
    sets: dict[Parts, Sequence[int]] = {frozenset([part]): measured.top for part in chosen}
    if not measured.listed.issuperset(measured.top):  # only unlisted items mention the history as a whole
        sets[measured.past] = measured.top
    return sets


def _cause_sets(measured: Measured) -> dict[Parts, Sequence[int]]:
    """Return the strongest causes of each candidate, which the model scores without."""
    sets: dict[Parts, list[int]] = {}
    for position, causes in zip(measured.top, measured.causes, strict=True):
        effects = {cause.parts: float(measured.table.effect(*cause.parts)[position]) for cause in causes}
        for parts in sorted(effects, key=lambda parts: -effects[parts])[:CAUSES]:
            sets.setdefault(parts, []).append(position)
    return dict(sets)


def _cited_effects(
    effects: Mapping[RequestPart, float], reasons: ReasonConfig
) -> Mapping[RequestPart, float]:
    """Leave out the effect of the time where the domain does not cite it."""
    return {part: effect for part, effect in effects.items() if reasons.time or part.kind != "time"}


def _cited(case: ReasonCase, reason: Explanation) -> dict[str, Parts]:
    """Map evidence ids to the parts a reason rests on; opposing for a net negative."""
    entries = reason.evidence if not case.net_negative else case.against
    return {entry.id: case.parts[entry.id] for entry in entries if entry.id in case.parts}


def _cited_sets(measured: Measured, cited: Sequence[Mapping[str, Parts]]) -> dict[Parts, list[int]]:
    """Map sets to ablate to positions: what a reason cites, and the other history."""
    sets: dict[Parts, list[int]] = {}
    for position, by_id in zip(measured.top, cited, strict=True):
        if parts := frozenset().union(*by_id.values()):
            for removed in (parts, measured.past - parts):
                sets.setdefault(removed, []).append(position)
    return sets


def _with_figures(
    measured: Measured, position: int, reason: Explanation, cited: Mapping[str, Parts]
) -> Explanation:
    """Add influences, and the change of probability without the cited set."""
    figures: dict[str, object] = {"influences": influences(measured, position)}
    table = measured.table
    if cited and measured.served:

        def lost(parts: Parts) -> float | None:
            if not table.is_measured(parts):
                return None
            return float(table.probability()[position] - table.probability(*parts)[position])

        parts = frozenset().union(*cited.values())
        figures |= {"comprehensiveness": lost(parts), "sufficiency": lost(measured.past - parts)}
        contributions = {entry.id: entry.contribution or 0.0 for entry in (*reason.evidence, *reason.against)}
        strongest = max(cited, key=lambda name: abs(contributions[name]))
        if contributions[strongest]:
            figures["counterfactual"] = Counterfactual(
                without=(strongest,),
                rank=table.rank(position),
                rank_without=table.rank(position, *cited[strongest]),
            )
    return reason.model_copy(update=figures)


def influences(measured: Measured, position: int) -> tuple[Influence, ...]:
    """Return the main factors of a score, with their shares by absolute effect.

    With a model, retrieval is the retriever's share of the score, and the other factors are the
    model's effects. Without one, they are the retriever's effects.
    """
    table = measured.table
    has_model = table.odds is not None
    effect = table.model_effect if has_model else table.effect
    sizes = {"retrieval": abs(table.score_shares(position)[0]) if has_model else 0.0}
    for name, kinds in GROUPS.items():
        if parts := [part for part in measured.every if part.kind in kinds]:
            sizes[name] = abs(float(effect(*parts)[position]))
    sizes = {name: size for name, size in sizes.items() if size > table.noise} or {"retrieval": 1.0}
    total = sum(sizes.values())
    return tuple(
        Influence(name=name, share=size / total, text=INFLUENCES[name])
        for name, size in sorted(sizes.items(), key=lambda entry: -entry[1])
    )
