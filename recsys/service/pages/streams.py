"""Pages that arrive in parts: server-sent events of HTML."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from fastapi.responses import StreamingResponse

from recsys.errors import RecsysError
from recsys.service.pages.rendering import HEADERS, render
from recsys.service.state import Service
from recsys.service.transport.streams import SSE, Steps, format_sse, sse_events


def stream_html(service: Service, steps: Callable[[], Steps]) -> StreamingResponse:
    """Send (event, HTML) pairs as computed, in a thread that the limiter admits.

    A first event `state` says why the client has to wait; a RecsysError becomes the event `failed`.
    When the client disconnects, the work ends after the current step.
    """
    return StreamingResponse(_events(service, steps), media_type=SSE, headers=HEADERS)


async def _events(service: Service, steps: Callable[[], Steps]) -> AsyncIterator[bytes]:
    if reason := _reason_to_wait(service):
        yield format_sse("state", reason)
    try:
        async with service.limiter.slot(), aclosing(sse_events(service.limiter, steps())) as stream:
            async for event in stream:
                yield event
    except RecsysError as error:
        yield format_sse("failed", render("_failure.html", error=error))


def _reason_to_wait(service: Service) -> str:
    if not service.is_warm:
        return "The model is starting; the first answer has to wait for it."
    if service.limiter.running >= service.options.concurrency:
        return f"The model is busy; {service.limiter.waiting} requests are waiting before yours."
    return ""
