"""What was recommended lately, and how long each stage of one answer took."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request, Response

from recsys.service.api import records
from recsys.service.api.schemas import Trace
from recsys.service.pages.rendering import TheRecommender, needs, page, views
from recsys.service.transport.problems import ServiceError

router = views()
SHOWN = 30
ORDER = ("context", "retrieve", "engine start", "rank", "evidence", "reasons")


@dataclass(frozen=True)
class StageBar:
    """A stage of one answer: seconds from its beginning, and tokens where the model was asked."""

    name: str
    start: float
    seconds: float
    computed: int = 0
    cached: int = 0
    generated: int = 0


@router.get("/traces", dependencies=needs("admin"))
def traces(request: Request, recommender: TheRecommender, before: float | None = None) -> Response:
    """The newest first."""
    found = records.traces_before(recommender.store, recommender.domain.name, before, SHOWN + 1)
    older = found[SHOWN - 1].time if len(found) > SHOWN else None
    shown = found[:SHOWN]
    longest = max((trace.answer.timings.get("total", 0.0) for trace in shown), default=0.0)
    return page(
        request,
        "traces.html",
        recommender,
        traces=[(trace, stages(trace)) for trace in shown],
        older=older,
        longest=longest,
        order=list(ORDER),
    )


@router.get("/traces/{recommendation_id}", dependencies=needs("read"))
def trace(request: Request, recommender: TheRecommender, recommendation_id: str) -> Response:
    """One of them, stage by stage."""
    found = records.trace(recommender.store, recommender.domain.name, recommendation_id[:200])
    if found is None:
        raise ServiceError(404, "no such recommendation is kept", hint="only the newest are")
    return page(
        request,
        "trace.html",
        recommender,
        trace=found,
        stages=stages(found),
        given=found.answer,
        total=max(found.answer.timings.get("total", 0.0), sum(one.seconds for one in stages(found))) or 1.0,
        exported=found.model_dump(mode="json"),
        order=list(ORDER),
    )


def stages(trace: Trace) -> list[StageBar]:
    """The stages one after another, in the order in which they run."""
    timings = trace.answer.timings
    names = [
        *(name for name in ORDER if name in timings),
        *(n for n in timings if n not in (*ORDER, "total")),
    ]
    found, start = [], 0.0
    for name in names:
        usage = trace.answer.usage_by_stage.get(name)
        tokens = (
            {
                "computed": usage.prompt_tokens - usage.cached_tokens,
                "cached": usage.cached_tokens,
                "generated": usage.generated_tokens,
            }
            if usage
            else {}
        )
        found.append(StageBar(name, start, timings[name], **tokens))
        start += timings[name]
    return found
