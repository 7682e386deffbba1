"""How long each stage of a request takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from recsys.utils.tracing import traced


class Stopwatch:
    """Timer of a request's stages, which reports each to the tracer if any."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        begun = time.perf_counter()
        try:
            with traced(name):
                yield
        finally:
            self._seconds[name] = time.perf_counter() - begun

    @property
    def timings(self) -> Mapping[str, float]:
        """Stage -> seconds, in the order they ended."""
        return dict(self._seconds)
