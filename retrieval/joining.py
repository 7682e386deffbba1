"""Fit the channels that a retriever misses, beside the requests it answers."""

from __future__ import annotations

import dataclasses
import threading

from retrieval.build import Progress, RetrieverBuilder
from retrieval.hybrid import HybridRetriever

STOP_S = 10.0
"""How long closing waits for a step of the fitting to end."""


class _Stopped(Exception):
    """The retriever is closed."""


class ChannelJoiner:
    """Fits what a retriever misses, and lets each channel join as it is ready.

    Args:
        builder: What built the retriever.
        retriever: What the channels join.
    """

    def __init__(self, builder: RetrieverBuilder, retriever: HybridRetriever) -> None:
        self._builder = builder
        self._retriever = retriever
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Fit in a thread of its own, if anything is missing."""
        if self._retriever.state.missing and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fit retrieval channels", daemon=True)
            self._thread.start()

    def finish(self, progress: Progress | None = None) -> None:
        """Fit in this thread; return when nothing more will join."""
        dataclasses.replace(self._builder, progress=progress).join_missing(self._retriever)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the thread; tell whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def close(self) -> bool:
        """Stop the thread after the step that it is at; tell whether it has ended.

        What is fitted stays on disk.
        """
        self._stopped.set()
        return self.wait(STOP_S)

    def abandon(self, why: str) -> bool:
        """Stop as `close` does; what is missing stays so, for this reason."""
        ended = self.close()
        for name in self._retriever.state.missing:
            self._retriever.stays_missing(name, why)
        return ended

    def _run(self) -> None:
        try:
            self.finish(self._check)
        except _Stopped:
            return

    def _check(self, _step: str, _done: int, _total: int) -> None:
        if self._stopped.is_set():
            raise _Stopped
