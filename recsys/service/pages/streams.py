"""Answers in pieces: server-sent events of HTML, each made in a thread that has a place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from fastapi.responses import StreamingResponse

from recsys.errors import RecsysError
from recsys.service.pages.rendering import HEADERS, fragment
from recsys.service.state import Service
from recsys.service.transport.streams import SSE, Steps, events, sse


def streamed(service: Service, pieces: Callable[[], Steps]) -> StreamingResponse:
    """The pieces, (event, HTML), as they are made; a RecsysError among them becomes the event `failed`.

    `state` says what is waited for. Whoever goes away ends the work after the step that is made.
    """
    return StreamingResponse(_events(service, pieces), media_type=SSE, headers=HEADERS)


async def _events(service: Service, pieces: Callable[[], Steps]) -> AsyncIterator[bytes]:
    if waits := _waits_for(service):
        yield sse("state", waits)
    try:
        async with service.gate.place(), aclosing(events(service.gate, pieces())) as made:
            async for event in made:
                yield event
    except RecsysError as error:
        yield sse("failed", fragment("_failure.html", error=error))


def _waits_for(service: Service) -> str:
    if not service.is_warm:
        return "The model is starting; the first answer waits for it."
    if service.gate.running >= service.options.concurrency:
        return f"The model is busy; {service.gate.waiting} are waiting before you."
    return ""
