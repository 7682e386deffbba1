"""The page that explains why an item was recommended and another was not."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import ValidationError

from recsys.errors import RecsysError
from recsys.service.api.recommendations import explanation
from recsys.service.api.schemas import ExplanationRequest, ReasonRequestBase
from recsys.service.pages.forms import (
    RequestForm,
    parse_form,
    query_string,
    to_request,
    to_request_error,
    with_item_names,
)
from recsys.service.pages.rendering import RecommenderDep, json_download, page_router, render_page
from recsys.service.security.auth import requires
from recsys.service.state import ServiceDep

router = page_router()
HIDDEN_FIELDS = (
    "language",
    "style",
    "n_candidates",
    "year_from",
    "year_to",
    "disliked",
    "where",
    "without",
)


@router.get("/why", dependencies=requires("read"))
async def why_page(
    request: Request, recommender: RecommenderDep, service: ServiceDep, item: str = "", instead_of: str = ""
) -> Response:
    """Show the form, and what affects the rank of an item and of `instead_of`."""
    form, why, problem = parse_form(request.query_params), None, None
    item, instead_of = item.strip(), instead_of.strip()
    try:
        if item:
            body = _body(form, item, instead_of)
            service.admit(request, recommender, body.work)
            why = await service.run(request, lambda: explanation(service, recommender, body))
    except RecsysError as error:
        problem = error
    (_, item_name), (_, other_name) = with_item_names(recommender, [item, instead_of])
    effects = why.effects if why else ()
    sizes = [abs(size) for effect in effects for size in (effect.contribution, effect.other or 0.0)]
    return render_page(
        request,
        "why.html",
        recommender,
        form=form,
        why=why,
        problem=problem,
        item=item_name,
        instead_of=other_name,
        longest=max(sizes, default=0.0),
        liked=with_item_names(recommender, form.liked),
        hidden_inputs=form.hidden_inputs(HIDDEN_FIELDS),
        export=f"/why/export.json?{query_string(item=item, instead_of=instead_of)}&{form.query}",
    )


@router.get("/why/export.json", dependencies=requires("read"))
async def export(
    request: Request, recommender: RecommenderDep, service: ServiceDep, item: str, instead_of: str = ""
) -> Response:
    """Send the explanation as a file."""
    body = _body(parse_form(request.query_params), item.strip(), instead_of.strip())
    service.admit(request, recommender, body.work)
    why = await service.run(request, lambda: explanation(service, recommender, body))
    return json_download(why.to_json(), "why.json")


def _body(form: RequestForm, item: str, instead_of: str) -> ExplanationRequest:
    options = to_request(form).model_dump(include=set(ReasonRequestBase.model_fields), exclude_none=True)
    try:
        return ExplanationRequest(item=item, instead_of=instead_of or None, **options)
    except ValidationError as error:
        raise to_request_error(error, "name the item by its title or id") from None
