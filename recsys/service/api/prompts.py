"""`/v1/prompts`: the templates, and the prompts that a request sends to the model."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from recsys.prompting.inspection import list_templates, unified_diff
from recsys.prompting.library import PromptTemplate
from recsys.recommender.inspection import rendered, tokens_engine
from recsys.recommender.recommender import Recommender
from recsys.service.api.recommendations import with_session_preferences
from recsys.service.api.schemas import (
    Name,
    PromptDiff,
    PromptRequest,
    PromptSource,
    RenderedPrompts,
    TemplateInfo,
)
from recsys.service.security.auth import requires
from recsys.service.state import RecommenderDep, Service, ServiceDep
from recsys.service.transport.problems import ServiceError

router = APIRouter(prefix="/v1/prompts", dependencies=requires("read"), tags=["prompts"])


@router.get("")
def list_prompts(recommender: RecommenderDep) -> list[TemplateInfo]:
    """List the templates with task, version and hash."""
    return [TemplateInfo.model_validate(info) for info in list_templates(recommender.prompts)]


@router.get("/diff")
def diff_prompts(
    a: Annotated[Name, Query()], b: Annotated[Name, Query()], recommender: RecommenderDep
) -> PromptDiff:
    """Compare two templates by a unified diff."""
    old, new = _template(recommender, a), _template(recommender, b)
    return PromptDiff(a=a, b=b, diff=unified_diff(old.source, new.source, a, b))


@router.post("/render")
async def render_prompt(
    body: PromptRequest, request: Request, recommender: RecommenderDep, service: ServiceDep
) -> RenderedPrompts:
    """Render the prompts of a request, without sending them to the model."""
    return await _render(service, request, recommender, body, run=False)


@router.post("/run")
async def run_prompt(
    body: PromptRequest, request: Request, recommender: RecommenderDep, service: ServiceDep
) -> RenderedPrompts:
    """Render the prompts of a request and return the model's raw and parsed output.

    503 if there is no model.
    """
    return await _render(service, request, recommender, body, run=True)


@router.get("/{name:path}")
def get_prompt(name: Annotated[Name, Path()], recommender: RecommenderDep) -> PromptSource:
    """Return the source of a template."""
    template = _template(recommender, name)
    return PromptSource(name=name, hash=template.hash, source=template.source, **template.meta.model_dump())


async def _render(
    service: Service, request: Request, recommender: Recommender, body: PromptRequest, *, run: bool
) -> RenderedPrompts:
    service.admit(request, recommender, body.work)

    def work() -> RenderedPrompts:
        _template(recommender, body.name)
        options = with_session_preferences(recommender, body).recommender_options()
        prepared = recommender.prepare(body.user, k=1, **options)
        engine = recommender.engine() if run else tokens_engine(recommender)
        prompts = recommender.render(body.name, prepared, engine)
        report: dict[str, Any] = rendered(recommender, prompts, prepared, run=run)
        return RenderedPrompts.model_validate(report)

    return await service.run(request, work)


def _template(recommender: Recommender, name: str) -> PromptTemplate:
    if name not in (names := recommender.prompts.names()):
        raise ServiceError(404, f"no template '{name[:60]}'", hint=f"there are: {', '.join(names)}")
    return recommender.prompts.get(name)
