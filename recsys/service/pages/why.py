"""Why this item, and why not that: the object of `recsys explain`."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import ValidationError

from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api.recommendations import explanation
from recsys.service.api.schemas import ExplanationRequest, Worded
from recsys.service.pages.forms import Form, fault_of, form_of, link, named, request_of
from recsys.service.pages.rendering import TheRecommender, download, needs, page, views
from recsys.service.state import Service, TheService
from recsys.types import Why

router = views()
UNSEEN = ("language", "style", "n_candidates", "year_from", "year_to", "disliked", "where", "without")


@router.get("/why", dependencies=needs("read"))
async def why_page(
    request: Request, recommender: TheRecommender, service: TheService, item: str = "", instead_of: str = ""
) -> Response:
    """The form, and what moved the item of its request up and down; beside it the other one."""
    form, why, problem = form_of(request.query_params), None, None
    item, instead_of = item.strip(), instead_of.strip()
    try:
        if item:
            why = await service.run(request, lambda: _why(service, recommender, form, item, instead_of))
    except RecsysError as error:
        problem = error
    effects = why.effects if why else ()
    (_, item_name), (_, other_name) = named(recommender, [item, instead_of])
    return page(
        request,
        "why.html",
        recommender,
        form=form,
        why=why,
        problem=problem,
        item=item_name,
        instead_of=other_name,
        longest=max(
            (abs(size) for one in effects for size in (one.contribution, one.other or 0.0)), default=0.0
        ),
        liked=named(recommender, form.liked),
        hidden=form.pairs(UNSEEN),
        export=f"/why/export.json?{link(item=item, instead_of=instead_of)}&{form.link}",
    )


@router.get("/why/export.json", dependencies=needs("read"))
async def export(
    request: Request, recommender: TheRecommender, service: TheService, item: str, instead_of: str = ""
) -> Response:
    """The object itself, as a file."""
    form = form_of(request.query_params)
    why = await service.run(
        request, lambda: _why(service, recommender, form, item.strip(), instead_of.strip())
    )
    return download(why.to_json(), "why.json")


def _why(service: Service, recommender: Recommender, form: Form, item: str, instead_of: str) -> Why:
    asked = request_of(form).model_dump(include=set(Worded.model_fields), exclude_none=True)
    try:
        body = ExplanationRequest(item=item, instead_of=instead_of or None, **asked)
    except ValidationError as error:
        raise fault_of(error, "name one by title or id") from None
    return explanation(service, recommender, body)
