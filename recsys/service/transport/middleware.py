"""Middleware for every request: id, ETag, metrics and a log line."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.service.observability import logs
from recsys.service.observability.metrics import Metrics
from recsys.service.options import PROBES
from recsys.service.transport.bodies import close_if_unread

_ID = re.compile(r"[\w.:-]{1,64}")
HEADER = "X-Request-Id"
log = logging.getLogger("recsys.service.access")


class RequestMiddleware:
    """The outermost layer, in plain ASGI.

    A request id that the client sent is kept if it is short and plain.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client_id = headers.get(HEADER, "")
        request_id = client_id if _ID.fullmatch(client_id) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        token = logs.request_id.set(request_id)
        start, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response_headers = MutableHeaders(scope=message)
                response_headers[HEADER] = request_id
                response_headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            reads = scope["method"] in ("GET", "HEAD") and scope["path"].startswith("/v1/")
            receive, closing = close_if_unread(headers, receive, send_with_headers)
            await self._app(scope, receive, _add_etag(headers, closing) if reads else closing)
        finally:
            self._report(scope, status, time.perf_counter() - start)
            logs.request_id.reset(token)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")  # the template: ids are not logged
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        if scope["path"] not in PROBES:
            fields = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "principal": scope["state"].get("principal", ""),
            }
            log.info("request", extra={"fields": fields})


def _add_etag(headers: Headers, send: Send) -> Send:
    """Return a `send` that adds an ETag to JSON, and sends 304 if the client has it."""
    start: Message | None = None
    body = b""
    cached: Callable[[str], bool] = {
        tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")
    }.__contains__

    async def send_with_etag(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if message["status"] == 200 and kind.startswith("application/json"):
                start = message
                return
        elif start is not None and message["type"] == "http.response.body":
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            response_headers = MutableHeaders(scope=start)
            response_headers["ETag"] = tag
            response_headers["Cache-Control"] = "private, no-cache"
            if cached(tag) or cached("*"):
                start["status"], body = 304, b""
                del response_headers["content-length"], response_headers["content-type"]
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        await send(message)

    return send_with_etag
