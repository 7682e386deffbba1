"""A limit on concurrent requests to the engine, with a bounded queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import to_thread
from starlette.types import Receive

from recsys.service.transport.problems import ClientGone, Overloaded
from recsys.utils.tracing import traced

T = TypeVar("T")


class ConcurrencyLimiter:
    """Slots for requests. It runs in one event loop; the work runs in threads.

    A client that disconnects while it waits leaves the queue. Running work cannot be interrupted in
    an engine call: its slot is free when the call ends.

    Args:
        slots: Requests that run at once.
        queue: Requests that wait for a slot; more are refused.
        on_refusal: Called for each request that is refused.
    """

    def __init__(self, slots: int, queue: int, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._slots = anyio.CapacityLimiter(slots)
        self._threads = anyio.CapacityLimiter(slots)
        self._queue = queue
        self._on_refusal = on_refusal

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._slots.statistics().tasks_waiting

    @property
    def running(self) -> int:
        """Requests that have a slot."""
        return int(self._slots.borrowed_tokens)

    @asynccontextmanager
    async def slot(self, receive: Receive | None = None) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        Raises:
            Overloaded: The queue is full.
            ClientGone: `receive` reported a disconnect while the request waited.
        """
        if self._slots.available_tokens <= 0 and self.waiting >= self._queue:
            self._on_refusal()
            raise Overloaded
        borrower = object()
        waiting = anyio.CancelScope()
        watcher = asyncio.create_task(_cancel_on_disconnect(receive, waiting)) if receive else None
        acquired = False
        try:
            with traced("queue"), waiting:
                await self._slots.acquire_on_behalf_of(borrower)
                acquired = True
        finally:
            if watcher:
                watcher.cancel()
        if not acquired:
            raise ClientGone
        try:
            yield
        finally:
            self._slots.release_on_behalf_of(borrower)

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        """Run work for a request that has a slot; return only when it has ended."""
        return await to_thread.run_sync(work, limiter=self._threads)

    async def run(self, work: Callable[[], T], receive: Receive | None = None) -> T:
        """Wait for a slot and run work in a thread. Raises as `slot` does."""
        async with self.slot(receive):
            return await self.run_in_thread(work)


@asynccontextmanager
async def watch_client(receive: Receive) -> AsyncIterator[threading.Event]:
    """Give an event that is set once the client has disconnected, for work in threads."""
    gone = threading.Event()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    watcher = asyncio.create_task(watch())
    try:
        yield gone
    finally:
        watcher.cancel()


async def _cancel_on_disconnect(receive: Receive, waiting: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()
