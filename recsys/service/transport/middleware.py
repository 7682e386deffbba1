"""Middleware for every request: id, bounds, ETag, metrics and a log line."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.service.observability import logs
from recsys.service.observability.metrics import Metrics
from recsys.service.options import ALWAYS_SERVED, PROBES, ServiceOptions
from recsys.service.transport.problems import Overloaded, ServiceError, problem_of, response_of
from recsys.service.transport.shutdown import Draining, DrainState

_ID = re.compile(r"[\w.:-]{1,64}")
HEADER = "X-Request-Id"
log = logging.getLogger("recsys.service.access")


class RequestMiddleware:
    """The outermost layer, in plain ASGI.

    A request id that the client sent is kept if it is short and plain.
    """

    def __init__(self, app: ASGIApp, options: ServiceOptions, metrics: Metrics, drain: DrainState) -> None:
        self._app = app
        self._options = options
        self._metrics = metrics
        self._drain = drain

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

        self._drain.in_flight += 1
        try:
            await self._admit(scope, headers, receive, send_with_headers)
        finally:
            self._drain.in_flight -= 1
            self._report(scope, status, time.perf_counter() - start)
            logs.request_id.reset(token)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        path, request_id = scope["path"], scope["state"]["request_id"]
        max_bytes = self._options.import_mb << 20 if path == "/v1/import" else self._options.body_kb << 10
        refused: ServiceError | None = None
        if self._drain.draining and path not in ALWAYS_SERVED:
            refused = Draining()
        elif self._drain.in_flight > self._options.in_flight and path not in PROBES:
            self._metrics.shed.inc()
            refused = Overloaded()
        elif (length := headers.get("content-length", "")).isdecimal() and int(length) > max_bytes:
            refused = ServiceError(
                413, f"the body has more than {max_bytes >> 10} KiB", hint="send less at once"
            )
        if refused:
            extra = {"Connection": "close"} if self._drain.draining else None
            await response_of(problem_of(refused, request_id), extra)(scope, receive, send)
        else:
            reads = scope["method"] in ("GET", "HEAD") and path.startswith("/v1/")
            limited = _limit_body(receive, max_bytes)
            await self._app(scope, limited, _add_etag(headers, send) if reads else send)

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


def _limit_body(receive: Receive, max_bytes: int) -> Receive:
    """Return a `receive` that raises 413 when a body is too long.

    It counts bytes, whatever Content-Length says.
    """
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise HTTPException(413, f"the body has more than {max_bytes >> 10} KiB")
        return message

    return bounded


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
