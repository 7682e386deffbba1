"""The service as tools of the Model Context Protocol, over stdio and HTTP.

Tools take and return what the HTTP routes do. Over HTTP every request passes the guard, and each call needs
the scope of its route.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.applications import Starlette

import recsys
from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api.health import domain_info
from recsys.service.api.items import store_events
from recsys.service.api.recommendations import RecommendationJob, explanation, similar_items
from recsys.service.api.schemas import (
    DomainInfo,
    Events,
    EventsStored,
    ExplanationRequest,
    Name,
    RecommendationRequest,
    RecommendationResponse,
    RequestBase,
    SimilarRequest,
)
from recsys.service.security.auth import check_scope, principal_of
from recsys.service.security.keys import Scope
from recsys.service.state import Service
from recsys.service.transport.problems import ServiceError, without_paths
from recsys.types import Item, Recommendation, User, Why

T = TypeVar("T")
InDomain = Annotated[str | None, Field(description="by default the first that is served", max_length=60)]
INSTRUCTIONS = "Explained recommendations. `domains` says what there is; an item is named by id or title."


class Tools:
    """The tools of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def domains(self, context: Context) -> list[DomainInfo]:
        """List what can be recommended here, and the attributes that items have."""
        names = self._service.recommenders
        return await self._run(
            context, "read", None, lambda _: [domain_info(self._service, name) for name in names]
        )

    async def recommend(
        self, request: RecommendationRequest, context: Context, domain: InDomain = None
    ) -> RecommendationResponse:
        """Recommend items with true reasons.

        For a known user, or for anybody described by likes and a wish.
        """

        def work(recommender: Recommender) -> RecommendationResponse:
            if request.users is not None:
                raise ServiceError(422, "one user at a time", hint="call once for each")
            return RecommendationJob(self._service, recommender, request, "mcp").answer(request.user)

        return await self._run(context, "read", domain, work, request)

    async def explain(self, request: ExplanationRequest, context: Context, domain: InDomain = None) -> Why:
        """Explain the rank of an item, what would change it, and why not another item."""
        return await self._run(
            context, "read", domain, lambda r: explanation(self._service, r, request), request
        )

    async def similar(
        self, request: SimilarRequest, context: Context, domain: InDomain = None
    ) -> tuple[Recommendation, ...]:
        """Return items similar to an item."""
        return await self._run(context, "read", domain, lambda r: similar_items(r, request), request)

    async def item(self, name: Name, context: Context, domain: InDomain = None) -> Item:
        """Return one item by its id or title."""
        return await self._run(context, "read", domain, lambda r: r.catalog.find_any(name))

    async def user(self, user_id: Name, context: Context, domain: InDomain = None) -> User:
        """Return one known user."""
        return await self._run(context, "read", domain, lambda r: r.store.user(r.domain.name, user_id))

    async def add_events(self, events: Events, context: Context, domain: InDomain = None) -> EventsStored:
        """Store what people did, and feedback on a recommendation_id.

        The next answer uses it.
        """
        return await self._run(context, "write", domain, lambda r: store_events(self._service, r, events))

    async def _run(
        self,
        context: Context,
        scope: Scope,
        domain: str | None,
        work: Callable[[Recommender], T],
        request: RequestBase | None = None,
    ) -> T:
        try:
            _authorize(context, scope)
            recommender = self._service.recommender(domain)
            if request is not None:
                self._service.admit(context.request_context.request, recommender, request.work)
            return await self._service.limiter.run(lambda: work(recommender))
        except RecsysError as error:
            raise ToolError(without_paths(str(error))) from error


def build_server(service: Service) -> MCPServer:
    """Return a server with the tools of a service."""
    server = MCPServer("whyrec", version=recsys.__version__, instructions=INSTRUCTIONS)
    tools = Tools(service)
    for tool in (
        tools.domains,
        tools.recommend,
        tools.explain,
        tools.similar,
        tools.item,
        tools.user,
        tools.add_events,
    ):
        server.add_tool(tool)
    return server


def http_app(server: MCPServer) -> Starlette:
    """Return an app that serves the tools over streamable HTTP, to be mounted.

    Host names and origins are checked together with the keys, see `recsys.service.security.guard`.
    """
    return server.streamable_http_app(
        streamable_http_path="/",
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


def _authorize(context: Context, scope: Scope) -> None:
    """Authorize a call over HTTP; a call over stdio comes from this machine's user."""
    request: Any = context.request_context.request
    if request is not None:
        check_scope(principal_of(request), [scope])
