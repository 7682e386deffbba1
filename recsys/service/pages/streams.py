"""Answers in pieces: server-sent events of HTML, each made in a thread that has a place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator

import anyio
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from recsys.errors import RecsysError
from recsys.service.pages.web import HEADERS, fragment
from recsys.service.state import Service

SSE = "text/event-stream"

Pieces = Generator[tuple[str, str]]  # (event, HTML)


def streamed(service: Service, pieces: Callable[[], Pieces]) -> StreamingResponse:
    """The pieces as they are made; a RecsysError among them becomes the event `failed`.

    `state` says what is waited for. Whoever goes away ends the work after the step that is made.
    """
    return StreamingResponse(_events(service, pieces), media_type=SSE, headers=HEADERS)


async def _events(service: Service, pieces: Callable[[], Pieces]) -> AsyncIterator[bytes]:
    gate = service.gate
    if waits := _waits_for(service):
        yield sse("state", waits)
    try:
        async with gate.place():
            made = pieces()
            try:
                while piece := await gate.thread(lambda: next(made, None)):
                    yield sse(*piece)
            finally:
                with anyio.CancelScope(shield=True):  # nobody may be there: what the steps hold is let go
                    await gate.thread(made.close)
    except RecsysError as error:
        yield sse("failed", fragment("_failure.html", error=error))


def _waits_for(service: Service) -> str:
    if not service.is_warm:
        return "The model is starting; the first answer waits for it."
    if service.gate.running >= service.options.concurrency:
        return f"The model is busy; {service.gate.waiting} are waiting before you."
    return ""


def sse(event: str, data: str) -> bytes:
    """One event; every line of the data is kept."""
    return format_sse_event(data_str=data, event=event)
