"""The stages of a request, reported to an observer if a surface sets one.

A stage is reported once it has ended, with its times: the reasons of a stream are written over many
calls, each in its own thread and context, so that a span cannot be opened in one and closed in another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """Work that has ended."""

    name: str
    start_ns: int  # since 1970
    end_ns: int
    error: BaseException | None = None  # that it raised
    writes: bool = False  # to the store


observer: ContextVar[Callable[[Stage], None] | None] = ContextVar("observer", default=None)
"""Called with each stage of this context, and of the threads that start with a copy of it."""


@contextmanager
def traced(name: str, *, writes: bool = False) -> Iterator[None]:
    """Report the work within to the observer of this context, if it has one."""
    report = observer.get()
    if report is None:
        yield
        return
    start, clock, failure = time.time_ns(), time.perf_counter_ns(), None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        report(Stage(name, start, start + time.perf_counter_ns() - clock, failure, writes))
