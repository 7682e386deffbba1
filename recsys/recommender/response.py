"""A ranking and its reasons, put into the objects that callers get."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from recsys.config import Domain
from recsys.engine import Engine
from recsys.explain.explainer import Explained
from recsys.knowledge.rules import RerankedList
from recsys.ranking import Ranking
from recsys.ranking.base import summed
from recsys.ranking.reranking import rerank
from recsys.recommender.request import Prepared, retriever_order
from recsys.types import (
    Candidate,
    Explanation,
    ModelInfo,
    PromptInfo,
    Recommendation,
    Recommendations,
    StreamEvent,
    Usage,
    Why,
)
from recsys.utils.tracing import watched


@dataclass(frozen=True)
class Served:
    """A request once it is ranked, by `strategy` on `engine`, or in the retriever's order where `ranking` is None."""

    domain: Domain
    prepared: Prepared
    strategy: str
    engine: Engine | None
    ranking: Ranking | None
    degraded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arms: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def reranked(self) -> RerankedList:
        """The order of the candidates as it is shown, and which of the domain's rules made it."""
        candidates, ranking = self.prepared.request.candidates, self.ranking
        order = ranking.order() if ranking else retriever_order(candidates)
        return rerank(candidates, order, ranking.scores if ranking else None, self.domain)

    def order(self) -> list[int]:
        """Positions of the candidates, best first; what a rule hides is not there."""
        return self.reranked.order

    def recommendations(self, top: Sequence[int], explained: Explained) -> Recommendations:
        """The candidates at positions `top`, in that order, with what is explained of them."""
        ranking, prepared = self.ranking, self.prepared
        return Recommendations(
            domain=self.domain.name,
            user=prepared.user_id,
            recommendations=answer_lines(
                prepared.request.candidates, ranking, top, explained, rules=self.reranked.rules
            ),
            context=prepared.request.context,
            model=model_info(self.engine) if ranking and self.engine else None,
            strategy=self.strategy if ranking else "retriever",
            prompt=prompt_info(ranking) if ranking else None,
            parse=ranking.report if ranking else None,
            usage=total_usage(ranking, explained),
            usage_by_stage=usage_by_stage(ranking, explained),
            timings={stage: round(seconds, 4) for stage, seconds in prepared.timings.items()},
            degraded=(*self.degraded, *explained.degraded),
            notes=self.notes + prepared.notes,
            arms=self.arms,
        )

    def why(self, top: Sequence[int], explained: Explained) -> Why:
        """Why the first of `top` ranks where it does among all candidates, and the second if there is one."""
        ranking, prepared = self.ranking, self.prepared
        lines = answer_lines(
            prepared.request.candidates, ranking, top, explained, self.order(), self.reranked.rules
        )
        return Why(
            domain=self.domain.name,
            user=prepared.user_id,
            item=lines[0],
            other=lines[1] if len(lines) > 1 else None,
            candidates=len(prepared.request.candidates),
            effects=explained.effects,
            context=prepared.request.context,
            model=model_info(self.engine) if ranking and self.engine else None,
            strategy=self.strategy if ranking else "retriever",
            usage=total_usage(ranking, explained),
            degraded=(*self.degraded, *explained.degraded),
            notes=self.notes + prepared.notes,
            arms=self.arms,
        )


def reason_events(
    steps: Generator[tuple[int, Explanation], None, Explained],
) -> Generator[StreamEvent, None, Explained]:
    """Each (number, explanation) as an event of its rank; returns what the steps return."""
    while True:
        try:
            number, explanation = next(steps)
        except StopIteration as end:
            explained: Explained = end.value
            return explained
        yield StreamEvent(kind="reason", rank=number + 1, explanation=explanation)


def last_answer(events: Iterable[StreamEvent]) -> Recommendations:
    """The complete answer, with which a stream ends."""
    *_, last = events
    assert last.answer is not None
    return last.answer


def model_info(engine: Engine) -> ModelInfo:
    """Which model ranked."""
    return ModelInfo(model=engine.model, engine=engine.kind, adapter=engine.adapter)


def prompt_info(ranking: Ranking) -> PromptInfo:
    """Which prompt ranked, and what its budget cost."""
    template = ranking.prompt.template
    return PromptInfo(
        name=template.name,
        version=template.meta.version,
        hash=template.hash,
        tokens=ranking.prompt.tokens,
        dropped_history=ranking.prompt.dropped,
    )


def answer_lines(
    candidates: Sequence[Candidate],
    ranking: Ranking | None,
    top: Sequence[int],
    explained: Explained,
    order: Sequence[int] | None = None,
    rules: Mapping[int, tuple[str, ...]] | None = None,
) -> tuple[Recommendation, ...]:
    """The candidates at positions `top` with a reason each where there are any.

    They rank as in `order`, or as they come; what is not in it, because a rule hides it, ranks last.
    """
    order = top if order is None else order
    total = sum(candidate.score for candidate in candidates) or 1.0
    return tuple(
        Recommendation(
            item=candidates[position].item,
            rank=order.index(position) + 1 if position in order else len(candidates),
            score=ranking.scores[position] if ranking else candidates[position].score / total,
            log_odds=ranking.log_odds[position] if ranking else None,
            retriever_score=candidates[position].score,
            source=candidates[position].source,
            explanation=explained.explanations[number] if explained.explanations else None,
            rules=(rules or {}).get(position, ()),
        )
        for number, position in enumerate(top)
    )


def usage_by_stage(ranking: Ranking | None, explained: Explained) -> dict[str, Usage]:
    """Engine work of ranking, evidence and reasons, each by itself."""
    return {
        "rank": ranking.usage if ranking else Usage(),
        "evidence": explained.ablated,
        "reasons": summed(explained.generations),
    }


def total_usage(ranking: Ranking | None, explained: Explained) -> Usage:
    """Engine work of ranking, evidence and reasons together."""
    stages = usage_by_stage(ranking, explained)
    return summed(stages.values()).model_copy(update={"label_mass": stages["rank"].label_mass})


@contextmanager
def timed(clock: dict[str, float], stage: str) -> Iterator[None]:
    """Note the seconds of a stage in `clock`, and tell who watches the request."""
    begun = time.perf_counter()
    try:
        with watched(stage):
            yield
    finally:
        clock[stage] = time.perf_counter() - begun
