"""The pages of traces: recent recommendations, and how long each stage took."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request, Response

from recsys.service.api.schemas import Trace
from recsys.service.api.traces import require_trace, traces_before
from recsys.service.pages.rendering import RecommenderDep, page_router, render_page
from recsys.service.security.auth import requires

router = page_router()
PAGE_SIZE = 30
STAGES = ("context", "retrieve", "engine start", "rank", "evidence", "reasons")  # in the order they run


@dataclass(frozen=True)
class StageBar:
    """A stage of one answer, as a bar of the timeline."""

    name: str
    start: float  # seconds after the first stage began
    seconds: float
    computed: int = 0  # prompt tokens that the model processed
    cached: int = 0  # prompt tokens that the cache held
    generated: int = 0  # tokens that the model wrote


@router.get("/traces", dependencies=requires("admin"))
def traces_page(request: Request, recommender: RecommenderDep, before: float | None = None) -> Response:
    """List traces, the newest first; `before` is the time from which to go back."""
    traces = traces_before(recommender.store, recommender.domain.name, before, PAGE_SIZE + 1)
    older = traces[PAGE_SIZE - 1].time if len(traces) > PAGE_SIZE else None
    traces = traces[:PAGE_SIZE]
    return render_page(
        request,
        "traces.html",
        recommender,
        traces=[(trace, stage_bars(trace)) for trace in traces],
        older=older,
        longest=max((trace.answer.timings.get("total", 0.0) for trace in traces), default=0.0),
        stage_order=list(STAGES),
    )


@router.get("/traces/{recommendation_id}", dependencies=requires("read"))
def trace_page(request: Request, recommender: RecommenderDep, recommendation_id: str) -> Response:
    """Show one trace, stage by stage."""
    trace = require_trace(recommender.store, recommender.domain.name, recommendation_id[:200])
    bars = stage_bars(trace)
    total = max(trace.answer.timings.get("total", 0.0), sum(bar.seconds for bar in bars))
    return render_page(
        request,
        "trace.html",
        recommender,
        trace=trace,
        answer=trace.answer,
        stages=bars,
        total=total or 1.0,
        exported=trace.model_dump(mode="json"),
        stage_order=list(STAGES),
    )


def stage_bars(trace: Trace) -> list[StageBar]:
    """Place the stages of a trace one after another."""
    timings = trace.answer.timings
    known = [name for name in STAGES if name in timings]
    others = [name for name in timings if name not in (*STAGES, "total")]
    bars, start = [], 0.0
    for name in [*known, *others]:
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
        bars.append(StageBar(name, start, timings[name], **tokens))
        start += timings[name]
    return bars
