"""Server-sent events, computed step by step in a thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import anyio
from fastapi.sse import format_sse_event

from recsys.service.transport.concurrency import ConcurrencyLimiter

SSE = "text/event-stream"

Steps = Generator[tuple[str, str]]
"""Yields (event, data)."""


async def sse_events(limiter: ConcurrencyLimiter, steps: Steps) -> AsyncGenerator[bytes]:
    """Yield each step as an event, for a request that has a slot.

    What a step raises is raised here.

    When the client disconnects, the work ends after the current step.
    """
    try:
        while step := await limiter.run_in_thread(lambda: next(steps, None)):
            yield format_sse(*step)
    finally:
        with anyio.CancelScope(shield=True):  # the client may be gone; the steps are closed all the same
            await limiter.run_in_thread(steps.close)


def format_sse(event: str, data: str) -> bytes:
    """Format one event; every line of the data is kept."""
    return format_sse_event(data_str=data, event=event)
