"""Shutdown at SIGTERM: running requests end, new and unfinished ones get 503."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from recsys.service.transport.problems import ServiceError


class DrainState:
    """What the server and the guard share."""

    def __init__(self) -> None:
        self.in_flight = 0  # requests that were let in with their whole body and have not ended
        self.draining = False  # whether the process is ending
        self._bodies: set[asyncio.Timeout] = set()  # of bodies that are awaited

    @contextmanager
    def receiving(self, timeout: asyncio.Timeout) -> Iterator[None]:
        """Let this timeout pass at once when the process begins to end."""
        if self.draining:
            timeout.reschedule(0)
        self._bodies.add(timeout)
        try:
            yield
        finally:
            self._bodies.discard(timeout)

    def end_bodies(self) -> None:
        """End the bodies that are awaited; their requests are answered with 503."""
        for timeout in self._bodies:
            if not timeout.expired():
                timeout.reschedule(0)


class Draining(ServiceError):
    """The process is ending."""

    def __init__(self) -> None:
        super().__init__(
            503, "the service is shutting down", hint="try again after the seconds of Retry-After"
        )
        self.headers = {"Connection": "close"}


class DrainingServer(uvicorn.Server):
    """A uvicorn server that answers after a signal until running requests have ended.

    It waits for `drain_s` seconds at most and then cuts them off; a second signal does so at once.
    (uvicorn itself would close its socket at the first signal.)
    """

    def __init__(self, config: uvicorn.Config, state: DrainState, drain_s: float) -> None:
        super().__init__(config)
        self._state = state
        self._drain_s = drain_s
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal, exit at the second."""
        super().handle_exit(sig, frame)
        if not self._state.draining:
            self._state.draining = True
            self._deadline = time.monotonic() + self._drain_s
            self.should_exit = False  # `on_tick` sets it

    async def on_tick(self, counter: int) -> bool:
        """Exit once nothing is in flight, or at the deadline."""
        if self._deadline is not None:
            self._state.end_bodies()
            if not self._state.in_flight or time.monotonic() > self._deadline:
                self.should_exit = True
        return await super().on_tick(counter)
