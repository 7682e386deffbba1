"""`/v1/prompts`: the templates, and what exactly a request would show the model."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from recsys.prompting.library import PromptTemplate
from recsys.recommender.inspection import difference, listing, rendered, tokens_engine
from recsys.recommender.recommender import Recommender
from recsys.service.api.recommendations import filled
from recsys.service.api.schemas import (
    Name,
    PromptDiff,
    PromptRequest,
    PromptSource,
    RenderedPrompts,
    TemplateInfo,
)
from recsys.service.security.guard import needs
from recsys.service.state import Service, TheRecommender, TheService
from recsys.service.transport.problems import ServiceError

router = APIRouter(prefix="/v1/prompts", dependencies=needs("read"), tags=["prompts"])


@router.get("")
def list_prompts(recommender: TheRecommender) -> list[TemplateInfo]:
    """Every template with its task, version and hash."""
    return [TemplateInfo.model_validate(one) for one in listing(recommender.prompts)]


@router.get("/diff")
def diff_prompts(
    a: Annotated[Name, Query()], b: Annotated[Name, Query()], recommender: TheRecommender
) -> PromptDiff:
    """What differs between two templates, as the lines of a unified diff."""
    one, other = _template(recommender, a), _template(recommender, b)
    return PromptDiff(a=a, b=b, diff=difference(one.source, other.source, a, b))


@router.post("/render")
async def render_prompt(
    body: PromptRequest, request: Request, recommender: TheRecommender, service: TheService
) -> RenderedPrompts:
    """The text and tokens that a request would send. Nothing is sent."""
    return await _rendered(service, request, recommender, body, run=False)


@router.post("/run")
async def run_prompt(
    body: PromptRequest, request: Request, recommender: TheRecommender, service: TheService
) -> RenderedPrompts:
    """The same, and what the model answered: raw, and as it was read. 503 where there is no model."""
    return await _rendered(service, request, recommender, body, run=True)


@router.get("/{name:path}")
def get_prompt(name: Annotated[Name, Path()], recommender: TheRecommender) -> PromptSource:
    """The source of one template."""
    template = _template(recommender, name)
    return PromptSource(name=name, hash=template.hash, source=template.source, **template.meta.model_dump())


async def _rendered(
    service: Service, request: Request, recommender: Recommender, body: PromptRequest, *, run: bool
) -> RenderedPrompts:
    def work() -> RenderedPrompts:
        _template(recommender, body.name)
        prepared = recommender.prepare(body.user, k=1, **filled(recommender, body).asked())
        engine = recommender.engine() if run else tokens_engine(recommender)
        prompts = recommender.render(body.name, prepared, engine)
        found: dict[str, Any] = rendered(recommender, prompts, prepared, run=run)
        return RenderedPrompts.model_validate(found)

    return await service.run(request, work)


def _template(recommender: Recommender, name: str) -> PromptTemplate:
    if name not in (names := recommender.prompts.names()):
        raise ServiceError(404, f"no template '{name[:60]}'", hint=f"there are: {', '.join(names)}")
    return recommender.prompts.get(name)
