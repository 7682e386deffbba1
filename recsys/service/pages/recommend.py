"""The first page: a form, and the recommendations with their reasons."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Form as FormField
from fastapi import Query, Request, Response

from recsys.data.listing import user_ids_with_prefix
from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api.items import store_events
from recsys.service.api.recommendations import RecommendationJob
from recsys.service.api.schemas import Events, Name, RecommendationResponse, UserEvent
from recsys.service.pages.chips import chips_of
from recsys.service.pages.forms import (
    RequestForm,
    choices_for,
    parse_form,
    search_titles,
    to_request,
    with_item_names,
)
from recsys.service.pages.rendering import (
    RecommenderDep,
    html_response,
    page_router,
    provenance,
    render,
    render_page,
)
from recsys.service.pages.streams import stream_html
from recsys.service.security.auth import check_scope, principal_of, requires
from recsys.service.state import Service, ServiceDep
from recsys.service.transport.problems import request_id_of
from recsys.service.transport.streams import Steps
from recsys.types import Recommendations

router = page_router()
MAX_SUGGESTIONS = 8


@router.get("/", dependencies=requires("read"))
async def recommend_page(
    request: Request, recommender: RecommenderDep, service: ServiceDep, whole: bool = False
) -> Response:
    """Show the form and the answer, which the script streams unless `whole`."""
    form = parse_form(request.query_params)
    answer, problem = None, None
    try:
        body = to_request(form)
        if whole and form.is_filled:
            service.admit(request, recommender, body.work)
            job = RecommendationJob(service, recommender, body, request_id_of(request))
            answer = await service.run(request, lambda: job.answer(body.user))
    except RecsysError as error:
        problem = error
    return render_page(
        request,
        "recommend.html",
        recommender,
        form=form,
        choices=choices_for(recommender),
        answer=answer,
        chips=chips_of(form, answer, recommender.domain) if answer else [],
        problem=problem,
        streams=form.is_filled and answer is None,
        liked=with_item_names(recommender, form.liked),
        disliked=with_item_names(recommender, form.disliked),
        example_users=user_ids_with_prefix(recommender.store, recommender.domain.name, "", 1),
    )


@router.get("/recommend/stream", dependencies=requires("read"))
async def stream(request: Request, recommender: RecommenderDep, service: ServiceDep) -> Response:
    """Stream HTML: `ranked`, each `reason` (the first line is its rank), `done`."""
    return stream_html(service, lambda: _html_steps(service, recommender, request))


def _html_steps(service: Service, recommender: Recommender, request: Request) -> Steps:
    form = parse_form(request.query_params)
    job = RecommendationJob(service, recommender, to_request(form), request_id_of(request))
    service.admit(request, recommender, job.body.work)
    events = job.events(job.body.user)
    try:
        for event in events:
            if event.kind == "reason":
                html = render(
                    "_reason.html", explanation=event.explanation, rank=event.rank, show_details=False
                )
                yield "reason", f"{event.rank}\n{html}"
            elif event.answer is not None:
                done = event.kind == "done"
                answer = job.finish(job.body.user, event.answer) if done else event.answer
                yield event.kind, _render_answer(recommender, form, answer)
    finally:
        getattr(events, "close", lambda: None)()


def _render_answer(recommender: Recommender, form: RequestForm, answer: Recommendations) -> str:
    return render(
        "_answer.html",
        answer=answer,
        form=form,
        domain=recommender.domain,
        provenance=provenance(recommender),
        chips=chips_of(form, answer, recommender.domain),
        complete=isinstance(answer, RecommendationResponse),
    )


@router.get("/suggest/{kind}", dependencies=requires("read"))
def suggestions(
    request: Request,
    kind: Literal["items", "users"],
    recommender: RecommenderDep,
    field: Annotated[str, Query(pattern="^[a-z_]{1,20}$")],
) -> Response:
    """Suggest titles that contain what was typed, or users that begin with it."""
    typed = request.query_params.get(field, "").strip()[:200]
    if kind == "items":
        items = search_titles(recommender, typed, MAX_SUGGESTIONS)
        options = [(item.id, item.name) for item in items]
    else:
        users = user_ids_with_prefix(recommender.store, recommender.domain.name, typed, MAX_SUGGESTIONS)
        options = [(user, user) for user in users]
    return html_response(render("_options.html", options=options, field=field, typed=typed))


@router.post("/feedback", dependencies=requires("read"))
def feedback(
    request: Request,
    recommender: RecommenderDep,
    service: ServiceDep,
    item: Annotated[Name, FormField()],
    verdict: Annotated[Literal["liked", "disliked"], FormField()],
    recommendation: Annotated[Name, FormField()],
    user: Annotated[str, FormField(max_length=200)] = "",
) -> Response:
    """Store a thumb as an event of a user; without a user, add the title to the form."""
    rated = recommender.catalog.by_id(item)
    if user:
        check_scope(principal_of(request), ["write"])
        event = UserEvent(user_id=user, item_id=item, event=verdict, recommendation_id=recommendation)
        store_events(service, recommender, Events(events=[event]))
    return html_response(
        render(
            "_feedback.html",
            item=rated,
            verdict=verdict,
            user=user,
            recommendation_id=recommendation,
            domain=recommender.domain,
        )
    )
