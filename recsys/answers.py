"""A ranking and its reasons, put into the objects that callers get."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from recsys.engine import Engine
from recsys.engine.base import Generation
from recsys.ranking import Ranking
from recsys.types import Candidate, Effect, Explanation, ModelInfo, PromptInfo, Recommendation, Usage


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
) -> tuple[Recommendation, ...]:
    """The candidates at positions `top` with a reason each where there are any; they rank as in `order`, or as they come."""
    order = top if order is None else order
    total = sum(candidate.score for candidate in candidates) or 1.0
    return tuple(
        Recommendation(
            item=candidates[position].item,
            rank=order.index(position) + 1,
            score=ranking.scores[position] if ranking else candidates[position].score / total,
            log_odds=ranking.log_odds[position] if ranking else None,
            retriever_score=candidates[position].score,
            source=candidates[position].source,
            explanation=explained.explanations[number] if explained.explanations else None,
        )
        for number, position in enumerate(top)
    )


def total_usage(ranking: Ranking | None, explained: Explained) -> Usage:
    """Engine work of ranking, evidence and reasons together."""
    ranked = ranking.usage if ranking else Usage()
    work: tuple[Usage | Generation, ...] = (ranked, explained.ablated, *explained.generations)
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in work),
        cached_tokens=sum(one.cached_tokens for one in work),
        generated_tokens=sum(one.generated_tokens for one in work),
        label_mass=ranked.label_mass,
    )


@contextmanager
def timed(clock: dict[str, float], stage: str) -> Iterator[None]:
    """Note the seconds of a stage in `clock`."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        clock[stage] = time.perf_counter() - begun
