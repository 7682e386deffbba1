"""From a ranking and its reasons to the objects that callers get."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from recsys.config import Domain
from recsys.engine import Engine
from recsys.errors import RecsysError
from recsys.explain.explainer import Explained
from recsys.knowledge.reordering import Refusal, RerankedList
from recsys.ranking import Ranking
from recsys.ranking.base import softmax, summed
from recsys.ranking.reranking import rerank
from recsys.recommender.decisions import left_out, remarks, rule_actions
from recsys.recommender.request import Prepared, retriever_order
from recsys.recommender.wishes import preferred_first, wished_scores
from recsys.types import (
    Candidate,
    Conversation,
    Explanation,
    Item,
    LeftOut,
    ModelInfo,
    PromptInfo,
    Recommendation,
    Recommendations,
    RuleAction,
    StreamEvent,
    Usage,
    Why,
)
from recsys.wishes.followups import conversation_of

RETRIEVER_ORDER = "retriever order"  # what is served where the model cannot rank


@dataclass(frozen=True)
class RankedRequest:
    """A request after ranking."""

    domain: Domain
    prepared: Prepared
    strategy: str  # that was asked for
    engine: Engine | None  # that ranked, or writes the reasons
    ranking: Ranking | None  # None: the retriever's order is served
    degraded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arms: Mapping[str, str] = field(default_factory=dict)  # scenario -> arm
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds of engine start and ranking
    skipped: bool = False  # the model was not asked: the order does not depend on it
    _said: dict[tuple[int, ...], list[tuple[str, ...]]] = field(default_factory=dict, repr=False)
    _acted: dict[tuple[int, ...], tuple[RuleAction, ...]] = field(default_factory=dict, repr=False)

    @cached_property
    def reranked(self) -> RerankedList:
        """The served order of the candidates, and which of the domain's rules changed it."""
        candidates, ranking = self.prepared.request.candidates, self.ranking
        order = ranking.order() if ranking else retriever_order(candidates)
        order = preferred_first(order, candidates, self.prepared.read)
        return rerank(candidates, order, self.scores, self.domain.ranker, self.prepared.gate, self.prepared.k)

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """The probability of each candidate; what keeps less of a wish has less."""
        candidates = self.prepared.request.candidates
        scores = self.ranking.scores if self.ranking else retriever_probabilities(candidates)
        return wished_scores(scores, candidates, self.prepared.read)

    def order(self) -> list[int]:
        """Return positions, best first, without those that a rule leaves out."""
        return self.reranked.order

    def recommendations(self, top: Sequence[int], explained: Explained, seconds: float) -> Recommendations:
        """Build the answer.

        Args:
            top: positions of the candidates to return, in this order.
            seconds: how long the request has taken so far.
        """
        ranking, prepared = self.ranking, self.prepared
        timings = {**prepared.timings, **self.timings, **explained.timings, "total": seconds}
        return Recommendations(
            domain=self.domain.name,
            user=prepared.user_id,
            recommendations=recommended_items(
                prepared.request.candidates,
                ranking,
                self.scores,
                top,
                explained,
                rules=self.reranked.rules,
                remarks=self.remarks(top),
            ),
            lead=explained.lead,
            context=prepared.request.context,
            model=model_info(self.engine) if self.engine else None,
            strategy=self.strategy if ranking else "retriever",
            prompt=prompt_info(ranking) if ranking else None,
            parse=ranking.report if ranking else None,
            usage=total_usage(ranking, explained),
            usage_by_stage=usage_by_stage(ranking, explained),
            timings={stage: round(duration, 4) for stage, duration in timings.items()},
            degraded=(*self.degraded, *explained.degraded),
            notes=self.notes + prepared.notes,
            rules=self._rule_actions(top),
            understood=prepared.read.understood if prepared.read else None,
            conversation=_conversation(prepared, top),
            arms=self.arms,
        )

    def why(self, top: Sequence[int], explained: Explained) -> Why:
        """Explain the rank of the first candidate of `top`, and of a second if any."""
        ranking, prepared = self.ranking, self.prepared
        lines = recommended_items(
            prepared.request.candidates,
            ranking,
            self.scores,
            top,
            explained,
            self.order(),
            self.reranked.rules,
            [self.remarks([position])[0] for position in top],
        )
        return Why(
            domain=self.domain.name,
            user=prepared.user_id,
            item=lines[0],
            other=lines[1] if len(lines) > 1 else None,
            candidates=len(prepared.request.candidates),
            effects=explained.effects,
            context=prepared.request.context,
            model=model_info(self.engine) if self.engine else None,
            strategy=self.strategy if ranking else "retriever",
            usage=total_usage(ranking, explained),
            degraded=(*self.degraded, *explained.degraded),
            notes=self.notes + prepared.notes,
            left_out=tuple(filter(None, map(self._left_out, top))),
            arms=self.arms,
        )

    @property
    def conflicts(self) -> tuple[tuple[Item, Refusal], ...]:
        """Items that could not stand beside those of the list, and why."""
        refused = self.reranked.refused
        return self.prepared.conflicts + tuple(
            (self.prepared.request.items[position], refusal)
            for position, refusal in refused.items()
            if refusal.other is not None
            or not self.prepared.gate.refusal(self.prepared.request.items[position])
        )

    def _rule_actions(self, top: Sequence[int]) -> tuple[RuleAction, ...]:
        gate, items = self.prepared.gate, self.prepared.request.items
        if not gate.rules:
            return ()
        if (known := self._acted.get(tuple(top))) is not None:  # the answer comes twice, in a stream
            return known
        listed = [items[position] for position in top]
        moved = [
            (items[position], names)
            for by_position in (self.reranked.rules, self.reranked.on_trial)
            for position, names in by_position.items()
        ]
        actions = rule_actions(gate, self.prepared.found, self.conflicts, moved, listed)
        return self._acted.setdefault(tuple(top), actions)

    def _left_out(self, position: int) -> LeftOut | None:
        item, request = self.prepared.request.items[position], self.prepared.request
        refusal, language = self.reranked.refused.get(position), self.domain.reasons.language
        return left_out(self.prepared.gate, item, refusal, request.profile, language)

    def remarks(self, top: Sequence[int]) -> list[tuple[str, ...]]:
        """Return what rules say of each of these candidates, beside each other."""
        if (known := self._said.get(tuple(top))) is not None:
            return known
        gate, request = self.prepared.gate, self.prepared.request
        items = [request.items[position] for position in top]
        language = self.domain.reasons.language
        said = [remarks(gate, item, items, request.profile, language) for item in items]
        return self._said.setdefault(tuple(top), said)


def _conversation(prepared: Prepared, top: Sequence[int]) -> Conversation | None:
    """Return what the next turn of a conversation sends back."""
    if (read := prepared.read) is None:
        return None
    shown = [prepared.request.candidates[position].item.id for position in top]
    return conversation_of(read.asked, read.rejected, shown)


def degradation(what: str, error: RecsysError, instead: str) -> str:
    """Say what failed, what is served instead, and what to do."""
    hint = f" ({error.hint})" if error.hint else ""
    return f"{what}: {error.message}; {instead} instead{hint}"


def missing_channels(missing: Mapping[str, str]) -> tuple[str, ...]:
    """Say which retrieval channels the candidates were found without, and why."""
    return tuple(f"retrieval: the channel '{name}' {why}" for name, why in missing.items())


def with_remarks(
    steps: Generator[tuple[int, Explanation], None, Explained], remarks: Sequence[tuple[str, ...]]
) -> Generator[tuple[int, Explanation], None, Explained]:
    """Let each reason end with what rules say of its item."""

    def ended(number: int, explanation: Explanation) -> Explanation:
        between = "" if explanation.language == "zh" else " "
        text = between.join((explanation.text, *remarks[number]))
        return explanation.model_copy(update={"text": text})

    explained = yield from _mapped(steps, lambda number, reason: (number, ended(number, reason)))
    explanations = [ended(number, reason) for number, reason in enumerate(explained.explanations)]
    return dataclasses.replace(explained, explanations=explanations)


def reason_events(
    steps: Generator[tuple[int, Explanation], None, Explained],
) -> Generator[StreamEvent, None, Explained]:
    """Turn (position, explanation) steps into events; return what `steps` returns."""
    return _mapped(
        steps, lambda number, reason: StreamEvent(kind="reason", rank=number + 1, explanation=reason)
    )


Mapped = TypeVar("Mapped")


def _mapped(
    steps: Generator[tuple[int, Explanation], None, Explained], change: Callable[[int, Explanation], Mapped]
) -> Generator[Mapped, None, Explained]:
    """Yield what each step is changed into; return what `steps` returns."""
    while True:
        try:
            number, explanation = next(steps)
        except StopIteration as end:
            explained: Explained = end.value
            return explained
        yield change(number, explanation)


def last_answer(events: Iterable[StreamEvent]) -> Recommendations:
    """Return the complete answer, which is the last event of a stream."""
    *_, last = events
    assert last.answer is not None
    return last.answer


def model_info(engine: Engine) -> ModelInfo:
    """Describe the model that ranked."""
    return ModelInfo(model=engine.model, engine=engine.kind, adapter=engine.adapter)


def prompt_info(ranking: Ranking) -> PromptInfo:
    """Describe the prompt that ranked, and what its token budget dropped."""
    template = ranking.prompt.template
    return PromptInfo(
        name=template.name,
        version=template.meta.version,
        hash=template.hash,
        tokens=ranking.prompt.tokens,
        dropped_history=ranking.prompt.dropped,
    )


def recommended_items(
    candidates: Sequence[Candidate],
    ranking: Ranking | None,
    scores: Sequence[float],
    top: Sequence[int],
    explained: Explained,
    order: Sequence[int] | None = None,
    rules: Mapping[int, tuple[str, ...]] | None = None,
    remarks: Sequence[tuple[str, ...]] = (),
) -> tuple[Recommendation, ...]:
    """Return the candidates at positions `top`, each with its reason if there are any.

    Ranks are those of `order` (by default of `top` itself); a candidate that is not in it, because a
    rule leaves it out, ranks last.
    """
    order = top if order is None else order
    return tuple(
        Recommendation(
            item=candidates[position].item,
            rank=order.index(position) + 1 if position in order else len(candidates),
            score=scores[position],
            log_odds=ranking.log_odds[position] if ranking else None,
            retriever_score=candidates[position].score,
            source=candidates[position].source,
            explanation=explained.explanations[number] if explained.explanations else None,
            rules=(rules or {}).get(position, ()),
            remarks=remarks[number] if remarks else (),
        )
        for number, position in enumerate(top)
    )


def retriever_probabilities(candidates: Sequence[Candidate]) -> tuple[float, ...]:
    """Return the softmax of retriever scores, for answers without a model."""
    return softmax([candidate.score for candidate in candidates]) if candidates else ()


def usage_by_stage(ranking: Ranking | None, explained: Explained) -> dict[str, Usage]:
    """Return the engine work of ranking, evidence and reasons."""
    return {
        "rank": ranking.usage if ranking else Usage(),
        "evidence": explained.ablated,
        "reasons": summed(explained.generations),
    }


def total_usage(ranking: Ranking | None, explained: Explained) -> Usage:
    """Return the engine work of all stages; the label mass is that of ranking."""
    stages = usage_by_stage(ranking, explained)
    return summed(stages.values()).model_copy(update={"label_mass": stages["rank"].label_mass})
