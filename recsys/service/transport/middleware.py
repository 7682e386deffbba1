"""What every request passes: an id, bounds on size and number, ETags, metrics and one log line. Plain ASGI."""

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
from recsys.service.options import ALIVE, QUIET, ServiceOptions
from recsys.service.transport.draining import Draining, Traffic
from recsys.service.transport.problems import Overloaded, ServiceError, problem_of, response_of

_ID = re.compile(r"[\w.:-]{1,64}")
HEADER = "X-Request-Id"
log = logging.getLogger("recsys.service.access")


class Envelope:
    """The outermost layer. An id that the client sent is kept if it is short and plain."""

    def __init__(self, app: ASGIApp, options: ServiceOptions, metrics: Metrics, traffic: Traffic) -> None:
        self._app = app
        self._options = options
        self._metrics = metrics
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get(HEADER, "")
        request_id = asked if _ID.fullmatch(asked) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        token = logs.request_id.set(request_id)
        begun, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent[HEADER] = request_id
                sent.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        self._traffic.in_flight += 1
        try:
            await self._bounded(scope, headers, receive, answer)
        finally:
            self._traffic.in_flight -= 1
            self._report(scope, status, time.perf_counter() - begun)
            logs.request_id.reset(token)

    async def _bounded(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        path, request_id = scope["path"], scope["state"]["request_id"]
        most = self._options.import_mb << 20 if path == "/v1/import" else self._options.body_kb << 10
        refused: ServiceError | None = None
        if self._traffic.draining and path not in ALIVE:
            refused = Draining()
        elif self._traffic.in_flight > self._options.in_flight and path not in QUIET:
            self._metrics.shed.inc()
            refused = Overloaded()
        elif (length := headers.get("content-length", "")).isdecimal() and int(length) > most:
            refused = ServiceError(413, f"the body has more than {most >> 10} KiB", hint="send less at once")
        if refused:
            headers_sent = {"Connection": "close"} if self._traffic.draining else None
            await response_of(problem_of(refused, request_id), headers_sent)(scope, receive, send)
        else:
            reads = scope["method"] in ("GET", "HEAD") and path.startswith("/v1/")
            await self._app(scope, _at_most(receive, most), _tagging(headers, send) if reads else send)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")  # the template: an id of a person is not logged
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        if scope["path"] not in QUIET:
            fields = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "principal": scope["state"].get("principal", ""),
            }
            log.info("request", extra={"fields": fields})


def _at_most(receive: Receive, most: int) -> Receive:
    """`receive` that raises 413 once more than `most` bytes came, whatever the headers said."""
    had = 0

    async def bounded() -> Message:
        nonlocal had
        message = await receive()
        had += len(message.get("body", b""))
        if had > most:
            raise HTTPException(413, f"the body has more than {most >> 10} KiB")
        return message

    return bounded


def _tagging(headers: Headers, send: Send) -> Send:
    """`send` that gives an answer 200 in JSON its ETag, and leaves it out where the client has it."""
    begun: Message | None = None
    body = b""
    known: Callable[[str], bool] = {
        tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")
    }.__contains__

    async def tagging(message: Message) -> None:
        nonlocal begun, body
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if message["status"] == 200 and kind.startswith("application/json"):
                begun = message
                return
        elif begun is not None and message["type"] == "http.response.body":
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            sent = MutableHeaders(scope=begun)
            sent["ETag"] = tag
            sent["Cache-Control"] = "private, no-cache"
            if known(tag) or known("*"):
                begun["status"], body = 304, b""
                del sent["content-length"], sent["content-type"]
            await send(begun)
            await send({"type": "http.response.body", "body": body})
            return
        await send(message)

    return tagging
