"""The engine of a program: started on demand, replaced without lost requests."""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from recsys.engine.base import Engine
from recsys.errors import EngineError, MissingDependency, ModelError, RecsysError

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0  # seconds between starts that fail; each is twice the one before


@dataclass(frozen=True, slots=True)
class _Failure:
    """A start that failed."""

    error: RecsysError
    wanted: str | None  # the adapter
    pause: float  # seconds
    until: float  # when another start is tried, by the manager's clock

    def repeated(self, now: float) -> RecsysError:
        """Copy the error for another caller, with the time of the next start in its hint."""
        error = copy.copy(self.error)
        seconds = math.ceil(self.until - now)
        when = f"it is tried again in {seconds} s" if seconds > 0 else "it is being tried again"
        error.hint = f"{error.hint}; {when}" if error.hint else when
        return error


class EngineManager:
    """Owns one engine for many threads.

    When another adapter is wanted, a new engine starts in the background while requests go on with
    the old one, which is closed when the last request that may use it has ended; for that time
    there are two in memory.

    A start that failed is not tried again for a while, unless another adapter is wanted meanwhile:
    callers get the same error at once. All callers wait for the first start; for a later one only
    the request that tries it waits, and the others get the error.

    Args:
        start: Starts an engine with the adapter that is wanted now.
        wanted: Names that adapter (None: the base model), or raises RecsysError.
        engine: One that runs already.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        start: Callable[[], Engine],
        wanted: Callable[[], str | None] | None = None,
        engine: Engine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._wanted = wanted
        self._engine = engine
        self._clock = clock
        self._lock = threading.RLock()
        self._starting = threading.RLock()  # taken before `_lock`, which is never held while an engine starts
        self._failure: _Failure | None = None
        self._generation = 0
        self._requests: Counter[int] = Counter()  # running, by the generation that they began in
        self._retired: dict[int, Engine] = {}  # by generation
        self._replacing: threading.Thread | None = None
        self._refused: str | None = ""  # an adapter that did not start, and is not tried again
        self._closed = False

    def get(self) -> Engine:
        """Return the engine; start it first if need be.

        Raises:
            EngineError, ModelError, MissingDependency: It does not start.
        """
        with self._lock:
            if self._engine is not None:
                if self._replacing is None:
                    self._replace_if_wanted(self._engine)
                return self._engine
            failure = self._failure
        if not self._starting.acquire(blocking=failure is None):
            assert failure is not None
            raise failure.repeated(self._clock()) from failure.error
        try:
            return self._started()
        finally:
            self._starting.release()

    def served(self, model: str) -> tuple[str, str | None]:
        """Return model and adapter in use; start only an engine that alone knows them.

        Args:
            model: The base model that would be started here.

        Raises as `get`.
        """
        with self._lock:
            engine = self._engine
        if engine is None and self._wanted is not None:
            return model, self._wanted()
        engine = engine or self.get()
        return engine.model, engine.adapter

    @contextmanager
    def request(self) -> Iterator[None]:
        """Keep every engine that `get` returns within open, even if another replaces it."""
        with self._lock:
            generation = self._generation
            self._requests[generation] += 1
        try:
            yield
        finally:
            with self._lock:
                self._requests[generation] -= 1
                unused = self._pop_unused()
            for engine in unused:
                engine.close()

    def discard(self, engine: Engine) -> None:
        """Close a dead engine, so that the next request starts a new one."""
        with self._lock:
            if self._engine is engine:
                self._engine = None
        engine.close()

    def close(self) -> None:
        """Close every engine. Safe to call twice; `get` starts a new one."""
        with self._lock:
            self._closed = True
            replacing = self._replacing
        if replacing is not None:
            replacing.join()
        with self._starting, self._lock:
            engines = [*self._retired.values(), *([self._engine] if self._engine else [])]
            self._retired.clear()
            self._engine = self._failure = None
        for engine in engines:
            engine.close()

    def _started(self) -> Engine:
        """Return an engine started meanwhile, or start one, with `_starting` held."""
        with self._lock:
            if self._engine is not None:
                return self._engine
            failure, self._closed = self._failure, False
            wanted = self._wanted_now(failure.wanted if failure else None)
            if failure and failure.wanted == wanted and self._clock() < failure.until:
                raise failure.repeated(self._clock()) from failure.error
        try:
            engine = self._start()
        except (EngineError, ModelError, MissingDependency) as error:
            pause = min(2 * failure.pause, LONGEST_PAUSE) if failure else FIRST_PAUSE
            with self._lock:
                self._failure = _Failure(error, wanted, pause, self._clock() + pause)
            raise
        with self._lock:
            self._engine, self._failure = engine, None
        return engine

    def _wanted_now(self, default: str | None) -> str | None:
        try:
            return self._wanted() if self._wanted else default
        except RecsysError as error:  # the registry is being written, or damaged: the engine runs on
            log.warning("which adapter to serve is not known: %s", error.message)
            return default

    def _replace_if_wanted(self, engine: Engine) -> None:
        wanted = self._wanted_now(engine.adapter)
        if wanted in (engine.adapter, self._refused):
            return
        self._replacing = threading.Thread(
            target=self._replace, args=(wanted,), name="whyrec-engine-swap", daemon=True
        )
        self._replacing.start()

    def _replace(self, wanted: str | None) -> None:
        with self._starting:
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
                unused = self._pop_unused() + ([new] if self._closed else [])
        for engine in unused:
            engine.close()

    def _pop_unused(self) -> list[Engine]:
        """Take the retired engines that no running request can use off the list."""
        oldest = min((g for g, n in self._requests.items() if n > 0), default=self._generation)
        return [self._retired.pop(generation) for generation in list(self._retired) if generation < oldest]
