"""A ranking and its reasons, put into the objects that callers get."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from recsys.engine import Engine
from recsys.explain import Reasons
from recsys.ranking import Ranking
from recsys.types import Candidate, ModelInfo, PromptInfo, Recommendation, Usage


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
    candidates: Sequence[Candidate], ranking: Ranking | None, top: Sequence[int], explained: Reasons
) -> tuple[Recommendation, ...]:
    """The candidates at positions `top`, ranked, with a reason each where there are any."""
    total = sum(candidate.score for candidate in candidates) or 1.0
    return tuple(
        Recommendation(
            item=candidates[position].item,
            rank=rank,
            score=ranking.scores[position] if ranking else candidates[position].score / total,
            log_odds=ranking.log_odds[position] if ranking else None,
            retriever_score=candidates[position].score,
            source=candidates[position].source,
            explanation=explained.explanations[rank - 1] if explained.explanations else None,
        )
        for rank, position in enumerate(top, start=1)
    )


def total_usage(ranking: Ranking | None, explained: Reasons) -> Usage:
    """Engine work of ranking and reasons together."""
    ranked = ranking.usage if ranking else Usage()
    written = explained.generations
    return Usage(
        prompt_tokens=ranked.prompt_tokens + sum(g.prompt_tokens for g in written),
        cached_tokens=ranked.cached_tokens + sum(g.cached_tokens for g in written),
        generated_tokens=ranked.generated_tokens + sum(g.generated_tokens for g in written),
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
