"""`GET /v1/recommendations`: recommendations that were given, and their requests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import ValidationError

from recsys.data import traces
from recsys.data.store import Store
from recsys.data.traces import StoredTrace
from recsys.service.api.paging import Cursor, Limit, number_after, page_of
from recsys.service.api.schemas import Name, Page, RecommendationResponse, Trace
from recsys.service.security.auth import requires
from recsys.service.state import DomainDep, StoreDep
from recsys.service.transport.problems import ServiceError

router = APIRouter(prefix="/v1/recommendations", tags=["recommendations"])


@router.get("", dependencies=requires("admin"))
def list_traces(store: StoreDep, domain: DomainDep, limit: Limit = 20, cursor: Cursor = None) -> Page[Trace]:
    """List the recommendations that were given, the newest first."""
    rows = traces_before(store, domain.name, number_after(cursor, float), limit + 1)
    return page_of(rows, limit, lambda trace: trace.time)


@router.get("/{recommendation_id}", dependencies=requires("read"))
def get_trace(
    recommendation_id: Annotated[Name, Path(description="of an answer")], store: StoreDep, domain: DomainDep
) -> Trace:
    """Return one recommendation that was given, and its request."""
    return require_trace(store, domain.name, recommendation_id)


def traces_before(store: Store, domain: str, before: float | None, limit: int) -> list[Trace]:
    """Return traces older than a time (seconds since 1970), the newest first."""
    return [_trace(store, stored) for stored in traces.traces_before(store, domain, before, limit)]


def find_trace(store: Store, domain: str, recommendation_id: str) -> Trace | None:
    """Return the trace of a recommendation, None if it is not stored."""
    stored = traces.find_trace(store, domain, recommendation_id)
    return _trace(store, stored) if stored else None


def require_trace(store: Store, domain: str, recommendation_id: str) -> Trace:
    """Return the trace of a recommendation. Raises ServiceError 404."""
    trace = find_trace(store, domain, recommendation_id)
    if trace is None:
        raise ServiceError(404, "no such recommendation is kept", hint="only the newest are")
    return trace


def _trace(store: Store, stored: StoredTrace) -> Trace:
    try:
        answer = RecommendationResponse.model_validate(stored.answer)
    except ValidationError as error:
        raise store.unreadable_row() from error
    return Trace(
        recommendation_id=stored.id,
        user=stored.user_id,
        time=stored.time,
        request_id=stored.request_id,
        request=stored.request,
        answer=answer,
    )
