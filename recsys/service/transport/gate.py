"""A bound on the work that uses the engine: so many at once, so many waiting, the rest are told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import to_thread
from starlette.types import Receive

from recsys.service.transport.problems import ClientGone, Overloaded
from recsys.utils.tracing import watched

T = TypeVar("T")


class Gate:
    """Places for requests. All of it runs in one event loop; the work itself in threads.

    A client that goes away while it waits frees its place in the queue. What runs cannot be
    stopped in the middle of an engine call: its place is free when that call ends.
    """

    def __init__(self, places: int, queue: int, on_shed: Callable[[], None] = lambda: None) -> None:
        self._places = anyio.CapacityLimiter(places)
        self._threads = anyio.CapacityLimiter(places)
        self._queue = queue
        self._on_shed = on_shed

    @property
    def waiting(self) -> int:
        return self._places.statistics().tasks_waiting

    @property
    def running(self) -> int:
        return int(self._places.borrowed_tokens)

    @asynccontextmanager
    async def place(self, receive: Receive | None = None) -> AsyncIterator[None]:
        """A place for as long as this lasts. Raises Overloaded, and ClientGone if `receive` says so meanwhile."""
        if self._places.available_tokens <= 0 and self.waiting >= self._queue:
            self._on_shed()
            raise Overloaded
        mine = object()
        waiting = anyio.CancelScope()
        watcher = asyncio.create_task(_watch(receive, waiting)) if receive else None
        taken = False
        try:
            with watched("queue"), waiting:
                await self._places.acquire_on_behalf_of(mine)
                taken = True
        finally:
            if watcher:
                watcher.cancel()
        if not taken:
            raise ClientGone
        try:
            yield
        finally:
            self._places.release_on_behalf_of(mine)

    async def thread(self, work: Callable[[], T]) -> T:
        """Do work of somebody who has a place; not left before it has ended."""
        return await to_thread.run_sync(work, limiter=self._threads)

    async def run(self, work: Callable[[], T], receive: Receive | None = None) -> T:
        """Wait for a place and do it. Raises as `place`, and what the work raises."""
        async with self.place(receive):
            return await self.thread(work)


async def _watch(receive: Receive, waiting: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()
