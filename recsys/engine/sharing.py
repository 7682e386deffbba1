"""One engine for several domains that use the same model and adapter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from recsys.config import Settings
from recsys.engine.base import (
    ContinuationScores,
    Engine,
    Generation,
    GenerationRequest,
    LabelScores,
    TokenIds,
    Tokenizer,
)
from recsys.errors import EngineDead

_Answer = TypeVar("_Answer")
EngineKey = tuple[Settings, str]
"""Settings without their adapter, and the adapter that is used, "" for the base model alone."""


def engine_key(settings: Settings, adapter: str | None) -> EngineKey:
    """Return what engines have in common that may be shared.

    Args:
        settings: Of a recommender.
        adapter: The adapter's name as `resolve_adapter` finds it; a server knows it by that of the settings.
    """
    name = settings.adapter if settings.is_remote else adapter
    return settings.model_copy(update={"adapter": ""}), "" if name in (None, "none") else name


class EnginePool:
    """Thread-safe pool: opens each engine once; its last borrower closes it."""

    def __init__(self) -> None:
        self._starting = threading.Lock()  # taken before `_lock`, which is never held while an engine starts
        self._lock = threading.Lock()
        self._engines: dict[EngineKey, Engine] = {}
        self._lent: dict[int, int] = {}  # how often, by id of the engine

    def lend(self, key: EngineKey, start: Callable[[], Engine]) -> SharedEngine:
        """Return the engine of a key, started now if there is none. Raises as `start`."""
        with self._starting:
            with self._lock:
                engine = self._engines.get(key)
                if engine is not None:
                    self._lent[id(engine)] += 1
            if engine is None:
                engine = start()
                with self._lock:
                    self._engines[key], self._lent[id(engine)] = engine, 1
        return SharedEngine(engine, lambda: self._give_back(engine), lambda: self._forget(engine))

    def _give_back(self, engine: Engine) -> None:
        with self._lock:
            self._lent[id(engine)] -= 1
            last = not self._lent[id(engine)]
            if last:
                del self._lent[id(engine)]
                self._drop(engine)
        if last:
            engine.close()

    def _forget(self, engine: Engine) -> None:
        """Lend a dead engine no more."""
        with self._lock:
            self._drop(engine)

    def _drop(self, engine: Engine) -> None:
        for key in [key for key, known in self._engines.items() if known is engine]:
            del self._engines[key]


class SharedEngine:
    """An engine on loan: closing it gives it back."""

    def __init__(self, engine: Engine, give_back: Callable[[], None], forget: Callable[[], None]) -> None:
        self._engine, self._give_back, self._forget = engine, give_back, forget
        self._closing = threading.Lock()
        self._closed = False

    @property
    def model(self) -> str:
        return self._engine.model

    @property
    def adapter(self) -> str | None:
        return self._engine.adapter

    @property
    def kind(self) -> str:
        return self._engine.kind

    @property
    def max_model_len(self) -> int:
        return self._engine.max_model_len

    @property
    def tokenizer(self) -> Tokenizer:
        return self._engine.tokenizer

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        return self._call(lambda: self._engine.label_logprobs(prompts, label_ids, exact=exact))

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        return self._call(lambda: self._engine.continuation_logprobs(prompts, continuations))

    def generate(self, request: GenerationRequest) -> list[Generation]:
        return self._call(lambda: self._engine.generate(request))

    def stream(self, request: GenerationRequest) -> Iterator[tuple[int, Generation]]:
        answers = self._call(lambda: self._engine.stream(request))
        while (answer := self._call(lambda: next(answers, None))) is not None:
            yield answer

    def close(self) -> None:
        with self._closing:
            closed, self._closed = self._closed, True
        if not closed:
            self._give_back()

    def _call(self, call: Callable[[], _Answer]) -> _Answer:
        """Make a call; of an engine that turns out dead nobody else gets a loan."""
        if self._closed:
            raise EngineDead("the engine was closed", hint="open a new one: recsys.engine.open_engine")
        try:
            return call()
        except EngineDead:
            self._forget()
            raise
