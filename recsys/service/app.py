"""The app: routes, errors, middleware and lifetime put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi

import recsys
from recsys.recommender.recommender import Recommender
from recsys.service import pages
from recsys.service.api import adapters, health, items, mcp, prompts, recommendations, users
from recsys.service.observability import telemetry
from recsys.service.options import ServiceOptions
from recsys.service.state import Service
from recsys.service.transport import problems
from recsys.service.transport.draining import Traffic
from recsys.service.transport.middleware import HEADER, Envelope

ROUTERS = (
    recommendations.router,
    users.router,
    items.router,
    prompts.router,
    adapters.router,
    health.router,
    pages.router,
)


def create_app(recommenders: Mapping[str, Recommender], options: ServiceOptions | None = None) -> FastAPI:
    """An app that serves these domains and closes them when it ends. `app.state.service` is what routes share."""
    options = options or ServiceOptions()
    service = Service(recommenders, options)
    traces = telemetry.exporting()
    tools = mcp.build(service)
    tools_app = mcp.http_app(tools)  # makes its session manager, which lives as long as the app

    @asynccontextmanager
    async def lifetime(app: FastAPI) -> AsyncIterator[None]:
        if options.warm:
            service.warm()
        async with tools.session_manager.run():
            yield
        service.close()
        if traces:
            await telemetry.finish(traces)  # SIGTERM leaves no later moment

    app = FastAPI(
        title="whyrec",
        version=recsys.__version__,
        summary="Recommendations whose reasons are true",
        lifespan=lifetime,
        docs_url=None,  # the pages have /docs: FastAPI's asks another host
        redoc_url=None,
        responses=_problems(),
        separate_input_output_schemas=False,
    )
    app.state.service = service
    app.state.authenticator = service.authenticator
    app.state.traffic = Traffic()
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/mcp", tools_app)
    problems.install(app)
    if options.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[HEADER, "ETag", "Retry-After"],
        )
    app.add_middleware(Envelope, options=options, metrics=service.metrics, traffic=app.state.traffic)
    if traces:
        app.add_middleware(telemetry.Traced, provider=traces)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _problems() -> dict[int | str, dict[str, Any]]:
    """Every route may answer with a problem."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {problems.MEDIA_TYPE: {"schema": schema}}
    said = {"422": "What was asked cannot be done", "default": "What went wrong, and what to do next"}
    return {status: {"description": text, "content": content} for status, text in said.items()}


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = found
    return app.openapi_schema
