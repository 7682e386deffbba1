"""SIGTERM: what runs ends whole, what comes meanwhile is told to come back, to another process or this one's successor."""

from __future__ import annotations

import time
from types import FrameType

import uvicorn

from recsys.service.transport.problems import ServiceError


class Traffic:
    """How many requests are under way, and whether the process is ending."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.draining = False


class Draining(ServiceError):
    """The process is ending."""

    def __init__(self) -> None:
        super().__init__(
            503, "the service is shutting down", hint="try again after the seconds of Retry-After"
        )


class Server(uvicorn.Server):
    """Uvicorn, which at a signal would close its door at once: this one goes on answering until what runs has ended.

    That takes `drain_s` seconds at most; what runs then is cut off. A second signal does so at once.
    """

    def __init__(self, config: uvicorn.Config, traffic: Traffic, drain_s: float) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._drain_s = drain_s
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self._traffic.draining:
            self._traffic.draining = True
            self._until = time.monotonic() + self._drain_s
            self.should_exit = False  # `on_tick` says when

    async def on_tick(self, counter: int) -> bool:
        if self._until is not None and (not self._traffic.in_flight or time.monotonic() > self._until):
            self.should_exit = True
        return await super().on_tick(counter)
