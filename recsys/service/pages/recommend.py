"""The first page: say who asks, when and where; see the list, and the reasons as they are written."""

from __future__ import annotations

from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import Form as Field
from fastapi import Query, Request, Response

from recsys.data.database import USERS
from recsys.data.store import Store
from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api.items import keep_events
from recsys.service.api.recommendations import Job
from recsys.service.api.schemas import Events, Name, RecommendationResponse, UserEvent
from recsys.service.pages.forms import Form, choices, form_of, matching, named, request_of
from recsys.service.pages.rendering import (
    FROM_HERE,
    TheRecommender,
    allowed,
    answer,
    fragment,
    needs,
    page,
    provenance,
    views,
)
from recsys.service.pages.streams import streamed
from recsys.service.state import Service, TheService
from recsys.service.transport.problems import request_id_of
from recsys.service.transport.streams import Steps
from recsys.types import Recommendations

router = views()
SUGGESTED = 8


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
        request,
        "recommend.html",
        recommender,
        form=form,
        choices=choices(recommender),
        given=given,
        problem=problem,
        streamed=form.said and not given,
        liked=named(recommender, form.liked),
        disliked=named(recommender, form.disliked),
        users=_some_users(recommender.store, recommender.domain.name, "", 1),
    )


@router.get("/recommend/stream", dependencies=needs("read"))
async def stream(request: Request, recommender: TheRecommender, service: TheService) -> Response:
    """The answer in pieces of HTML: `ranked`, each `reason` (its first line the rank), `done`."""
    form, request_id = form_of(request.query_params), request_id_of(request)
    return streamed(service, lambda: _pieces(service, recommender, form, request_id))


def _pieces(service: Service, recommender: Recommender, form: Form, request_id: str) -> Steps:
    job = Job(service, recommender, request_of(form), request_id)
    events = job.events(job.body.user)
    try:
        for event in events:
            if event.kind == "reason":
                text = fragment("_reason.html", explanation=event.explanation, rank=event.rank, figures=False)
                yield "reason", f"{event.rank}\n{text}"
            elif event.answer is not None:
                done = event.kind == "done"
                given = job.finish(job.body.user, event.answer) if done else event.answer
                yield event.kind, _rendered(recommender, form, given)
    finally:
        getattr(events, "close", lambda: None)()


def _rendered(recommender: Recommender, form: Form, given: Recommendations) -> str:
    """An answer as cards."""
    return fragment(
        "_answer.html",
        given=given,
        form=form,
        domain=recommender.domain,
        provenance=provenance(recommender),
        complete=isinstance(given, RecommendationResponse),
    )


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
        keep_events(service, recommender, Events(events=[event]))
    return answer(
        fragment(
            "_feedback.html",
            item=found,
            verdict=verdict,
            user=user,
            recommendation=recommendation,
            domain=recommender.domain,
        )
    )
