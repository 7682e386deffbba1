"""The first page: say who asks, when and where; see the list, and the reasons as they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Annotated, Any, Literal

import anyio
import sqlalchemy as sa
from fastapi import Form as Field
from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from recsys.database import USERS
from recsys.errors import RecsysError
from recsys.pipeline import Recommender
from recsys.service import records
from recsys.service.bodies import Answer, Name, UserEvent
from recsys.service.pages.asking import choices, form_of, matching, named, request_of
from recsys.service.pages.web import (
    FROM_HERE,
    HEADERS,
    TheRecommender,
    allowed,
    answer,
    fragment,
    needs,
    page,
    provenance,
    views,
)
from recsys.service.problems import request_id_of
from recsys.service.recommendations import Job
from recsys.service.state import TheService
from recsys.store import Store
from recsys.types import Event, Recommendations

router = views()
SUGGESTED = 8
SSE = "text/event-stream"


@router.get("/", dependencies=needs("read"))
async def recommend_page(
    request: Request, recommender: TheRecommender, service: TheService, whole: bool = False
) -> Response:
    """The form, and below it the answer: streamed by the script, or `whole` for who has none."""
    form = form_of(request.query_params)
    given, problem = None, None
    try:
        body = request_of(form)
        if whole and form.said:
            job = Job(service, recommender, body, request_id_of(request))
            given = await service.run(request, lambda: job.answer(body.user))
    except RecsysError as error:
        problem = error
    return page(
        request, "recommend.html", recommender,
        form=form, choices=choices(recommender), given=given, problem=problem, streamed=form.said and not given,
        liked=named(recommender, form.liked), disliked=named(recommender, form.disliked),
        users=_some_users(recommender.store, recommender.domain.name, "", 1),
    )  # fmt: skip


@router.get("/recommend/stream", dependencies=needs("read"))
async def stream(request: Request, recommender: TheRecommender, service: TheService) -> Response:
    """The answer as pieces of HTML: the list, each reason, the whole with its figures."""
    return HtmlStream(request, recommender, service)


class HtmlStream(Response):
    """Server-sent events `ranked`, `reason` (its first line the rank), `done` or `failed`, each with HTML."""

    def __init__(self, request: Request, recommender: Recommender, service: TheService) -> None:
        super().__init__(media_type=SSE)
        self._request, self._recommender, self._service = request, recommender, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = StreamingResponse(self._written(), media_type=SSE, headers=HEADERS)
        await stream(scope, receive, send)

    async def _written(self) -> AsyncIterator[bytes]:
        gate = self._service.gate
        try:
            body = request_of(form_of(self._request.query_params))
            job = Job(self._service, self._recommender, body, request_id_of(self._request))
            async with gate.place():
                steps = await gate.thread(lambda: job.events(body.user))
                try:
                    while event := await gate.thread(lambda: next(steps, None)):
                        yield await gate.thread(partial(self._piece, job, event))
                finally:
                    with anyio.CancelScope(shield=True):
                        await gate.thread(_closing(steps))
        except RecsysError as error:
            yield sse("failed", fragment("_failure.html", error=error, status=0))

    def _piece(self, job: Job, event: Event) -> bytes:
        if event.kind == "reason":
            text = fragment("_reason.html", explanation=event.explanation, rank=event.rank, figures=False)
            return sse("reason", f"{event.rank}\n{text}")
        whole = event.answer
        assert whole is not None
        if event.kind == "done":
            whole = job.finish(job.body.user, whole)
        return sse(event.kind, rendered(self._recommender, whole))


def _closing(steps: Iterator[Event]) -> Any:
    return getattr(steps, "close", lambda: None)


def sse(event: str, data: str) -> bytes:
    """One event; every line of the data is kept."""
    return format_sse_event(data_str=data, event=event)


def rendered(recommender: Recommender, given: Recommendations) -> str:
    """An answer as cards."""
    return fragment(
        "_answer.html", given=given, domain=recommender.domain, provenance=provenance(recommender),
        feedback=isinstance(given, Answer), complete=isinstance(given, Answer),
    )  # fmt: skip


@router.get("/suggest/{kind}", dependencies=needs("read"))
def suggest(
    request: Request,
    kind: Literal["items", "users"],
    recommender: TheRecommender,
    field: Annotated[str, Query(pattern="^[a-z_]{1,20}$")],
) -> Response:
    """Options of a combobox: titles that hold what was typed into `field`, or users that begin so."""
    typed = request.query_params.get(field, "").strip()[:200]
    if kind == "items":
        options = [(item.id, item.name) for item in matching(recommender, typed, SUGGESTED)]
    else:
        found = _some_users(recommender.store, recommender.domain.name, typed, SUGGESTED)
        options = [(one, one) for one in found]
    return answer(fragment("_options.html", options=options, field=field, typed=typed))


def _some_users(store: Store, domain: str, begin: str, limit: int) -> list[str]:
    query = sa.select(USERS.c.id).where(USERS.c.domain == domain)
    if begin:
        query = query.where(USERS.c.id.startswith(begin, autoescape=True))
    query = query.order_by(sa.func.length(USERS.c.id), USERS.c.id).limit(limit)
    with store.transaction() as connection:
        return list(connection.scalars(query))


@router.post("/feedback", dependencies=[*needs("read"), *FROM_HERE])
def feedback(
    request: Request,
    recommender: TheRecommender,
    service: TheService,
    item: Annotated[Name, Field()],
    verdict: Annotated[Literal["liked", "disliked"], Field()],
    recommendation: Annotated[Name, Field()],
    user: Annotated[str, Field(max_length=200)] = "",
) -> Response:
    """Thumbs up or down: an event of a known user, or one more title that a described person (dis)likes."""
    found = recommender.catalog.by_id(item)
    if user:
        allowed("write")(request)
        event = UserEvent(user_id=user, item_id=item, event=verdict, recommendation_id=recommendation)
        records.add_events(recommender.store, recommender.domain.name, [event], recommender.domain.feedback)
        service.metrics.feedback.labels(recommender.domain.name, verdict).inc()
    return answer(
        fragment(
            "_feedback.html", item=found, verdict=verdict, user=user, recommendation=recommendation,
            domain=recommender.domain,
        )
    )  # fmt: skip
