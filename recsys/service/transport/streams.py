"""Server-sent events, made step by step in a thread of the gate."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import anyio
from fastapi.sse import format_sse_event

from recsys.service.transport.gate import Gate

SSE = "text/event-stream"

Steps = Generator[tuple[str, str]]
"""(event, data), one after the other."""


async def events(gate: Gate, steps: Steps) -> AsyncGenerator[bytes]:
    """Each step as an event, for somebody who has a place. What a step raises is raised here.

    Whoever goes away ends the work after the step that is made.
    """
    try:
        while step := await gate.thread(lambda: next(steps, None)):
            yield sse(*step)
    finally:
        with anyio.CancelScope(shield=True):  # nobody may be there: what the steps hold is let go
            await gate.thread(steps.close)


def sse(event: str, data: str) -> bytes:
    """One event; every line of the data is kept."""
    return format_sse_event(data_str=data, event=event)
