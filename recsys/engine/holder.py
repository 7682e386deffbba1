"""The engine of a running program: started when first needed, replaced without dropping a request."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from recsys.engine.base import Engine
from recsys.errors import RecsysError

log = logging.getLogger(__name__)


class EngineHolder:
    """Holds one engine for many threads.

    `start` makes an engine with the adapter that is wanted now; `wanted` names that adapter
    (None: the base model), or raises RecsysError. When it changes, a new engine starts in the background while
    requests go on with the old one, which is closed when the last request that may use it
    has ended; for that time there are two in memory.
    """

    def __init__(
        self,
        start: Callable[[], Engine],
        wanted: Callable[[], str | None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._start = start
        self._wanted = wanted
        self._engine = engine
        self._lock = threading.RLock()
        self._generation = 0
        self._requests: Counter[int] = Counter()
        self._retired: dict[int, Engine] = {}
        self._replacing: threading.Thread | None = None
        self._refused: str | None = ""  # an adapter that did not start: not tried for ever
        self._closed = False

    def get(self) -> Engine:
        """The engine, started if need be. Raises EngineError, ModelError, MissingDependency."""
        with self._lock:
            if self._engine is None:
                self._closed = False
                self._engine = self._start()
            elif self._wanted is not None and self._replacing is None:
                self._look_for_another(self._engine)
            return self._engine

    @contextmanager
    def request(self) -> Iterator[None]:
        """While this lasts, no engine that `get` has returned in it is closed for another's sake."""
        with self._lock:
            generation = self._generation
            self._requests[generation] += 1
        try:
            yield
        finally:
            with self._lock:
                self._requests[generation] -= 1
                over = self._unused()
            for engine in over:
                engine.close()

    def let_go(self, engine: Engine) -> None:
        """Forget a dead engine, so that the next request starts a new one."""
        with self._lock:
            if self._engine is engine:
                self._engine = None
        engine.close()

    def close(self) -> None:
        """Close every engine. Safe to call twice; `get` starts a new one."""
        with self._lock:
            self._closed = True
            waiting = self._replacing
        if waiting is not None:
            waiting.join()
        with self._lock:
            engines = [*self._retired.values(), *([self._engine] if self._engine else [])]
            self._retired.clear()
            self._engine = None
        for engine in engines:
            engine.close()

    def _look_for_another(self, engine: Engine) -> None:
        assert self._wanted is not None
        try:
            wanted = self._wanted()
        except RecsysError as error:  # the registry is being written, or damaged: what runs, runs on
            log.warning("which adapter to serve is not known: %s", error.message)
            return
        if wanted in (engine.adapter, self._refused):
            return
        self._replacing = threading.Thread(
            target=self._replace, args=(wanted,), name="whyrec-engine-swap", daemon=True
        )
        self._replacing.start()

    def _replace(self, wanted: str | None) -> None:
        try:
            new = self._start()
        except Exception as error:  # whatever it is, the old engine goes on
            log.warning("adapter %s is not served: %s", wanted, error)
            with self._lock:
                self._refused, self._replacing = wanted, None
            return
        with self._lock:
            old, self._engine = self._engine, None if self._closed else new
            if old is not None:
                self._retired[self._generation] = old
            self._generation += 1
            self._refused, self._replacing = "", None
            over = self._unused() + ([new] if self._closed else [])
        for engine in over:
            engine.close()

    def _unused(self) -> list[Engine]:
        """Retired engines that no request can be using any more, taken off the list."""
        oldest = min((g for g, n in self._requests.items() if n > 0), default=self._generation)
        return [self._retired.pop(generation) for generation in list(self._retired) if generation < oldest]
