"""Shutdown at SIGTERM: running requests end, new ones are refused with 503."""

from __future__ import annotations

import time
from types import FrameType

import uvicorn

from recsys.service.transport.problems import ServiceError


class DrainState:
    """What the server and the middleware share."""

    def __init__(self) -> None:
        self.in_flight = 0  # requests that have begun and not ended
        self.draining = False  # whether the process is ending


class Draining(ServiceError):
    """The process is ending."""

    def __init__(self) -> None:
        super().__init__(
            503, "the service is shutting down", hint="try again after the seconds of Retry-After"
        )


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
        if self._deadline is not None and (not self._state.in_flight or time.monotonic() > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)
