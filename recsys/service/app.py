"""The FastAPI app: routes, errors, middleware and lifespan."""

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
from recsys.service.api import adapters, health, items, mcp, prompts, recommendations, sessions, traces, users
from recsys.service.observability import telemetry
from recsys.service.options import ServiceOptions
from recsys.service.security.guard import Guard
from recsys.service.state import Service
from recsys.service.transport import problems
from recsys.service.transport.middleware import HEADER, RequestMiddleware
from recsys.service.transport.shutdown import DrainState

ROUTERS = (
    recommendations.router,
    traces.router,
    users.router,
    sessions.router,
    items.router,
    prompts.router,
    adapters.router,
    health.router,
    pages.router,
)


def create_app(recommenders: Mapping[str, Recommender], options: ServiceOptions | None = None) -> FastAPI:
    """Create an app that serves these domains, and closes them when it ends.

    `app.state` has `service`, `authenticator` and `drain`.
    """
    options = options or ServiceOptions()
    service = Service(recommenders, options)
    tracer_provider = telemetry.create_provider()
    mcp_server = mcp.build_server(service)
    mcp_app = mcp.http_app(mcp_server)  # creates the session manager, which lives as long as the app

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if options.warm:
            service.warm()
        async with mcp_server.session_manager.run():
            yield
        service.close()
        if tracer_provider:
            await telemetry.shut_down(tracer_provider)  # after SIGTERM there is no later moment

    app = FastAPI(
        title="whyrec",
        version=recsys.__version__,
        summary="Recommendations whose reasons are true",
        lifespan=lifespan,
        docs_url=None,  # the pages have /docs: FastAPI's loads scripts from another host
        redoc_url=None,
        responses=_problem_responses(),
        separate_input_output_schemas=False,
    )
    app.state.service = service
    app.state.authenticator = service.authenticator
    app.state.drain = DrainState()
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/mcp", mcp_app)
    problems.install(app)
    app.add_middleware(
        Guard,
        routes=app.routes,
        authenticator=service.authenticator,
        options=options,
        drain=app.state.drain,
        on_shed=service.metrics.shed.inc,
    )
    if options.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[HEADER, "ETag", "Retry-After"],
        )
    app.add_middleware(RequestMiddleware, metrics=service.metrics)
    if tracer_provider:
        app.add_middleware(telemetry.TracingMiddleware, provider=tracer_provider)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _problem_responses() -> dict[int | str, dict[str, Any]]:
    """Describe the problems that every route may answer."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {problems.MEDIA_TYPE: {"schema": schema}}
    descriptions = {
        "422": "The request is invalid or cannot be fulfilled",
        "default": "What went wrong, and what to do next",
    }
    return {status: {"description": text, "content": content} for status, text in descriptions.items()}


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
