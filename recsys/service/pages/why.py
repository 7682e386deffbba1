"""Why this item, and why not that: the object of `recsys explain`."""

from __future__ import annotations

from fastapi import Request, Response

from recsys.errors import RecsysError
from recsys.service.pages.asking import SINGLE, form_of, named, request_of
from recsys.service.pages.web import TheRecommender, needs, page, views
from recsys.service.recommendations import filled
from recsys.service.state import TheService

router = views()


@router.get("/why", dependencies=needs("read"))
async def why_page(
    request: Request, recommender: TheRecommender, service: TheService, item: str = "", instead_of: str = ""
) -> Response:
    """The form, and what moved the item of its request up and down; beside it the other one."""
    form, why, problem = form_of(request.query_params), None, None
    item, instead_of = item.strip()[:200], instead_of.strip()[:200]
    try:
        if item:
            body = request_of(form)
            asked = filled(recommender, body).asked()
            why = await service.run(
                request,
                lambda: recommender.explain(
                    body.user,
                    item,
                    instead_of=instead_of or None,
                    language=body.language,
                    style=body.style,
                    **asked,
                ),
            )
            service.metrics.explained(why)
    except RecsysError as error:
        problem = error
    longest = (
        max((max(abs(one.contribution), abs(one.other or 0.0)) for one in why.effects), default=0.0)
        if why
        else 0.0
    )
    (_, item_name), (_, other_name) = named(recommender, [item, instead_of])
    return page(
        request, "why.html", recommender,
        form=form, why=why, problem=problem, item=item_name, instead_of=other_name, longest=longest,
        liked=named(recommender, form.liked), disliked=named(recommender, form.disliked),
        hidden=[(name, getattr(form, name)) for name in SINGLE if name in ("language", "style")],
    )  # fmt: skip
