"""One engine for all systems of an evaluation, which caches label scores."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from recsys.engine import Engine
from recsys.engine.base import LabelScores, TokenIds


class CachedEngine:
    """An engine that caches the label scores of prompts.

    `llm` and `fused` send the same prompts to the same model and differ in how they use the
    scores. `close` does nothing: other systems still use the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self._cache: dict[bytes, LabelScores] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        """Score labels as the inner engine does; exact scores are never cached."""
        if exact:
            return self.inner.label_logprobs(prompts, label_ids, exact=True)
        keys = [_key(prompt, label_ids) for prompt in prompts]
        new = [index for index, key in enumerate(keys) if key not in self._cache]
        if new:
            scores = self.inner.label_logprobs([prompts[index] for index in new], label_ids)
            self._cache |= {keys[index]: score for index, score in zip(new, scores, strict=True)}
        return [self._cache[key] for key in keys]

    def close(self) -> None:
        """Do nothing: see `SharedEngines.close`."""


@dataclass
class SharedEngines:
    """The engines of one evaluation, by model or adapter."""

    _running: dict[str, CachedEngine] = field(default_factory=dict)

    def get(self, name: str, start: Callable[[], Engine]) -> Engine:
        """Return the engine of that name, starting it at its first use."""
        if name not in self._running:
            self._running[name] = CachedEngine(start())
        # The rest of the protocol is the inner engine's.
        return cast(Engine, self._running[name])

    def close(self) -> None:
        """Stop all engines."""
        for engine in self._running.values():
            engine.inner.close()
        self._running.clear()


def _key(prompt: TokenIds, label_ids: Sequence[int]) -> bytes:
    parts = (array("I", prompt).tobytes(), array("I", label_ids).tobytes())
    return hashlib.blake2b(b"|".join(parts), digest_size=16).digest()
