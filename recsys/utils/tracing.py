"""The stages of a request, told to whoever watches it: nobody, unless a surface asks.

A stage is told once it has ended, with its times: reasons of a stream are written over many calls,
each in a thread and a context of its own, so that nothing can be opened in one and closed in another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """Work that ended: `begun` and `ended` in ns since 1970, `error` if it raised, whether it `writes` to the store."""

    name: str
    begun: int
    ended: int
    error: BaseException | None = None
    writes: bool = False


watcher: ContextVar[Callable[[Stage], None] | None] = ContextVar("watcher", default=None)
"""Who is told in this context, and in the threads that start with a copy of it."""


@contextmanager
def watched(name: str, *, writes: bool = False) -> Iterator[None]:
    """Tell the watcher of this context, if it has one, of the work within."""
    tell = watcher.get()
    if tell is None:
        yield
        return
    begun, clock, failed = time.time_ns(), time.perf_counter_ns(), None
    try:
        yield
    except BaseException as error:
        failed = error
        raise
    finally:
        tell(Stage(name, begun, begun + time.perf_counter_ns() - clock, failed, writes))
