"""Bodies of requests: received within limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Send

from recsys.service.options import ServiceOptions
from recsys.service.transport.problems import ClientGone, ServiceError
from recsys.service.transport.shutdown import Draining, DrainState

LINGER_S = 1.0
LINGER_BYTES = 4 << 20


class Body:
    """The body of a request that was let in.

    It ends with an error as soon as it is too long, or too slow, or the process ends.
    """

    def __init__(self, receive: Receive, max_bytes: int, options: ServiceOptions, drain: DrainState) -> None:
        self._receive, self._max_bytes, self._options, self._drain = receive, max_bytes, options, drain
        self._start = self._last = asyncio.get_running_loop().time()
        self._received = 0
        self._complete = False

    async def receive(self) -> Message:
        """Return the next message of ASGI.

        Raises:
            ServiceError: 413, the body is too long; 408, it is too slow.
            Draining: The process ends.
        """
        if self._complete:  # what comes next is the disconnect
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline()) as timeout:
                with self._drain.receiving(timeout):
                    message = await self._receive()
        except TimeoutError as error:
            if self._drain.draining:
                raise Draining from error
            raise ServiceError(408, "the body came too slowly", hint="send it faster, or in parts") from error
        self._last = asyncio.get_running_loop().time()
        self._received += len(message.get("body", b""))
        if self._received > self._max_bytes:
            raise too_long(self._max_bytes)
        self._complete = not message.get("more_body", False)
        return message

    async def read(self) -> bytes:
        """Return the whole body. Raises as `receive` does, and ClientGone."""
        data = bytearray()
        while not self._complete:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            data += message.get("body", b"")
        return bytes(data)

    def _deadline(self) -> float:
        """Return when the next part must have come, by the clock of the loop."""
        options = self._options
        by_rate = self._start + options.body_wait_s + self._received / (options.body_rate_kb << 10)
        return min(self._start + options.body_s, self._last + options.body_wait_s, by_rate)


def too_long(max_bytes: int) -> ServiceError:
    """Return the error for a body of more bytes."""
    return ServiceError(413, f"the body has more than {max_bytes >> 10} KiB", hint="send less at once")


def declared_length(headers: Headers) -> int:
    """Return the Content-Length, 0 if there is none."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def declares_body(headers: Headers) -> bool:
    """Return whether a body follows the headers."""
    return declared_length(headers) > 0 or "transfer-encoding" in headers


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives this body, and then what `receive` gives."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def close_if_unread(headers: Headers, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Let the connection close after an answer whose request was not read to its end."""
    unread = declares_body(headers)

    async def noting() -> Message:
        nonlocal unread
        message = await receive()
        unread = unread and bool(message.get("more_body"))
        return message

    async def closing(message: Message) -> None:
        if unread and message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        ends = message["type"] == "http.response.body" and not message.get("more_body")
        if unread and ends:
            await send({**message, "more_body": True})
            await _discard(noting)
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return noting, closing


async def _discard(receive: Receive) -> None:
    """Receive what a client still sends after its answer, for a moment.

    Closing a connection with unread bytes would reset it, and the client could lose the answer.
    """
    received = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while received < LINGER_BYTES:
                message = await receive()
                received += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return
