"""The service's verbs as tools of the Model Context Protocol: over stdio (`recsys mcp`), and over HTTP at /mcp.

Tools take and return what the HTTP routes take and return. Over HTTP each call is checked for a key as a route is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from anyio import to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.applications import Starlette

import recsys
from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api.health import domain_info
from recsys.service.api.items import keep_events
from recsys.service.api.recommendations import Job, explanation, similar_items
from recsys.service.api.schemas import (
    DomainInfo,
    Events,
    ExplanationRequest,
    Name,
    RecommendationRequest,
    RecommendationResponse,
    SimilarRequest,
    Stored,
)
from recsys.service.security.auth import admitted
from recsys.service.security.keys import Scope
from recsys.service.state import Service
from recsys.service.transport.problems import ServiceError
from recsys.types import Candidate, Item, User, Why

T = TypeVar("T")
InDomain = Annotated[str | None, Field(description="by default the first that is served")]
INSTRUCTIONS = "Explained recommendations. `domains` says what there is; an item is named by id or title."


def build(service: Service) -> MCPServer:
    """A server whose tools use `service`, its gate and its keys."""
    server = MCPServer("whyrec", version=recsys.__version__, instructions=INSTRUCTIONS)

    async def run(context: Context, scope: Scope, domain: str | None, work: Callable[[Recommender], T]) -> T:
        try:
            await to_thread.run_sync(_allow, service, context, scope)
            recommender = service.recommender(domain)
            return await service.gate.run(lambda: work(recommender))
        except RecsysError as error:
            raise ToolError(str(error)) from error

    @server.tool()
    async def domains(context: Context) -> list[DomainInfo]:
        """What can be recommended here, and which attributes its items have."""
        return await run(
            context, "read", None, lambda _: [domain_info(service, name) for name in service.recommenders]
        )

    @server.tool()
    async def recommend(
        request: RecommendationRequest, context: Context, domain: InDomain = None
    ) -> RecommendationResponse:
        """The best items for a known user, or for anybody described by what they like or wish for, with true reasons."""

        def work(recommender: Recommender) -> RecommendationResponse:
            if request.users is not None:
                raise ServiceError(422, "one user at a time", hint="call once for each")
            return Job(service, recommender, request, "mcp").answer(request.user)

        return await run(context, "read", domain, work)

    @server.tool()
    async def explain(request: ExplanationRequest, context: Context, domain: InDomain = None) -> Why:
        """Why an item comes where it does for somebody, what would change it, and why not another."""
        return await run(context, "read", domain, lambda r: explanation(service, r, request))

    @server.tool()
    async def similar(request: SimilarRequest, context: Context, domain: InDomain = None) -> list[Candidate]:
        """What is like an item."""
        return await run(context, "read", domain, lambda r: similar_items(r, request))

    @server.tool()
    async def item(name: Name, context: Context, domain: InDomain = None) -> Item:
        """One item by its id or title."""
        return await run(context, "read", domain, lambda r: r.catalog.find_any(name))

    @server.tool()
    async def user(user_id: Name, context: Context, domain: InDomain = None) -> User:
        """One known user."""
        return await run(context, "read", domain, lambda r: r.store.user(r.domain.name, user_id))

    @server.tool()
    async def add_events(events: Events, context: Context, domain: InDomain = None) -> Stored:
        """Keep what people did, and feedback on a recommendation_id. The next answer knows it."""
        return await run(context, "write", domain, lambda r: keep_events(service, r, events))

    return server


def http_app(server: MCPServer) -> Starlette:
    """The server over streamable HTTP, to be mounted. Names of hosts are checked with the keys, see `_allow`."""
    return server.streamable_http_app(
        streamable_http_path="/",
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


def _allow(service: Service, context: Context, scope: Scope) -> None:
    """Raise as `auth.require` does, for a call that came over HTTP; stdio is this machine's own user."""
    request: Any = context.request_context.request
    if request is None:
        return
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    sent = key.strip() if kind.lower() == "bearer" else None
    admitted(service.authenticator, request, sent, scope, f"it lacks '{scope}'")
