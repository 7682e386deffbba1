"""The guard: a request is let in before a byte of its body is read, or refused.

It finds the route, checks the origin, recognises the key, checks the scope and the declared length, and only
then receives the body, within limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.errors import RecsysError
from recsys.service.options import ALWAYS_SERVED, ServiceOptions
from recsys.service.security import keys
from recsys.service.security.auth import Authenticator, Principal, check_scope, is_local, scopes_of
from recsys.service.security.limits import rate_headers
from recsys.service.security.origins import (
    SAFE_METHODS,
    CrossSite,
    is_anonymous,
    is_cross_site,
    is_plain_link,
)
from recsys.service.transport.bodies import Body, declared_length, declares_body, replay, too_long
from recsys.service.transport.problems import Overloaded, problem_of, request_id_of, response_of
from recsys.service.transport.shutdown import Draining, DrainState

METRICS = "/metrics"
IMPORT = "/v1/import"
PUBLIC_BODY = 16 << 10
"""Bytes of a body that comes without a key: the form that asks for one."""
KEY_THREADS = 8  # that look up keys


@dataclass(frozen=True, slots=True)
class Door:
    """What a route asks of a request."""

    scopes: frozenset[keys.Scope]  # one of them is needed; none if everybody may come in
    max_bytes: int
    streams: bool = False  # whether the route reads the body itself, part by part
    key_cookie: str = ""  # of a page: the cookie that may hold the key
    refuse: Callable[[Request, RecsysError], Response] | None = None  # how a page shows an error

    @property
    def is_page(self) -> bool:
        """Whether browsers are its only clients."""
        return bool(self.key_cookie)


class Guard:
    """Lets requests in; leaves the principal at `scope["state"]["caller"]`.

    Args:
        app: What is guarded.
        routes: Its routes.
        authenticator: Recognises keys.
        options: Limits.
        drain: Counts what was let in.
        on_shed: Called for each request that is refused because too many are here.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        authenticator: Authenticator,
        options: ServiceOptions,
        drain: DrainState,
        on_shed: Callable[[], None] = lambda: None,
    ) -> None:
        self._app, self._routes, self._authenticator = app, routes, authenticator
        self._options, self._drain, self._on_shed = options, drain, on_shed
        self._threads = anyio.CapacityLimiter(KEY_THREADS)
        self._receiving = {True: 0, False: 0}  # bodies that are awaited, by whether there is a key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, send = Request(scope), _with_rate(scope, send)
        door = self._door(scope)
        try:
            await self._admit(request, door)
            body = Body(receive, door.max_bytes, self._options, self._drain)
            bounded: Receive = body.receive
            if not door.streams:
                bounded = replay(await self._read(body, request, door), body.receive)
        except RecsysError as error:
            await _refuse(request, door, error)(scope, receive, send)
            return
        if not door.scopes:
            await self._app(scope, bounded, send)
            return
        self._drain.in_flight += 1
        try:
            await self._app(scope, bounded, send)
        finally:
            self._drain.in_flight -= 1

    def _door(self, scope: Scope) -> Door:
        """Find the route as the app does. What has none is answered with 404 or 405."""
        for route in self._routes:
            if route.matches(scope)[0] == Match.FULL:
                scope["route"] = route  # for the log, if the request is refused
                return self._door_of(route, scope["path"])
        return Door(frozenset(), self._options.import_mb << 20, streams=True)  # nothing reads the body

    def _door_of(self, route: BaseRoute, path: str) -> Door:
        scopes = scopes_of(route)
        if path == METRICS and not self._options.open_metrics:
            scopes = frozenset({"read"})
        kib = self._options.import_mb << 10 if path == IMPORT else self._options.body_kb
        return Door(
            scopes,
            kib << 10 if scopes else PUBLIC_BODY,
            streams=path == IMPORT,
            key_cookie=getattr(route, "key_cookie", ""),
            refuse=getattr(route, "error_response", None),
        )

    async def _admit(self, request: Request, door: Door) -> None:
        """Raise the error with which a request is refused."""
        headers, path = request.headers, request.url.path
        if self._drain.draining and path not in ALWAYS_SERVED:
            raise Draining
        self._check_origin(request, door)
        if door.scopes:
            principal = await self._principal(request, door)
            check_scope(principal, door.scopes)
            request.scope.setdefault("state", {}).update({"caller": principal, "principal": principal.key_id})
            request.scope.get("extensions", {}).get("whyrec.authenticated", lambda: None)()
            if self._drain.in_flight >= self._options.in_flight and path not in ALWAYS_SERVED:
                self._on_shed()
                raise Overloaded
        if declared_length(headers) > door.max_bytes:
            raise too_long(door.max_bytes)

    def _check_origin(self, request: Request, door: Door) -> None:
        headers, method = request.headers, request.method
        harmless = method in SAFE_METHODS and not door.scopes
        if harmless or (door.is_page and is_plain_link(method, headers, request.scope["query_string"])):
            return
        has_key = "authorization" in headers
        form_of_nobody = door.is_page and method not in SAFE_METHODS and is_anonymous(headers)
        if form_of_nobody or is_cross_site(headers, self._options.cors_origins, has_key=has_key):
            raise CrossSite

    async def _principal(self, request: Request, door: Door) -> Principal:
        """Recognise the key; a thread looks it up in the store."""
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        key = text.strip() if kind.lower() == "bearer" else ""
        key = key or request.cookies.get(door.key_cookie, "")
        local = is_local(request)
        if not key and local and request.url.path == METRICS:
            return Principal("metrics", frozenset({"read"}))
        recognise = partial(self._authenticator.principal, key or None, local=local)
        if not key and self._authenticator.has_keys:
            return recognise()
        return await to_thread.run_sync(recognise, limiter=self._threads)

    async def _read(self, body: Body, request: Request, door: Door) -> bytes:
        """Receive the whole body, if not too many others are awaited."""
        if not declares_body(request.headers):
            return await body.read()  # it is empty, and there already
        has_key = bool(door.scopes)
        most = self._options.in_flight if has_key else self._options.keyless_connections
        if self._receiving[has_key] >= most:
            self._on_shed()
            raise Overloaded
        self._receiving[has_key] += 1
        try:
            return await body.read()
        finally:
            self._receiving[has_key] -= 1


def _with_rate(scope: Scope, send: Send) -> Send:
    """Return a `send` that tells a client what is left of the rate of its key."""

    async def send_with_rate(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(rate_headers(scope.get("state", {})))
        await send(message)

    return send_with_rate


def _refuse(request: Request, door: Door, error: RecsysError) -> Response:
    if door.refuse:
        return door.refuse(request, error)
    return response_of(problem_of(error, request_id_of(request)), getattr(error, "headers", None))
