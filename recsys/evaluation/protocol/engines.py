"""One engine for all systems of an evaluation: what one of them asked, the next need not ask again."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys.engine import Engine
from recsys.engine.base import LabelScores, TokenIds


class Remembering:
    """An engine that answers a prompt of labels it has answered before from memory.

    `llm` and `fused` put the same questions to the same model, and differ in what they make of
    the answers. `close` does nothing: others may ask after this one.
    """

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self._known: dict[bytes, LabelScores] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        """As the engine's own; what is `exact` is always asked."""
        if exact:
            return self.inner.label_logprobs(prompts, label_ids, exact=True)
        keys = [_key(prompt, label_ids) for prompt in prompts]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            found = self.inner.label_logprobs([prompts[place] for place in new], label_ids)
            self._known |= {keys[place]: one for place, one in zip(new, found, strict=True)}
        return [self._known[key] for key in keys]

    def close(self) -> None:
        """Nothing yet: see `SharedEngines.close`."""


@dataclass
class SharedEngines:
    """The engines of one evaluation, by what they serve."""

    _running: dict[str, Remembering] = field(default_factory=dict)

    def get(self, name: str, start: Callable[[], Engine]) -> Engine:
        """The engine of that name, started at its first use."""
        if name not in self._running:
            self._running[name] = Remembering(start())
        shared: Any = self._running[name]
        return shared  # type: ignore[no-any-return]  # the rest of the protocol is the inner engine's

    def close(self) -> None:
        """End them all."""
        for engine in self._running.values():
            engine.inner.close()
        self._running.clear()


def _key(prompt: TokenIds, label_ids: Sequence[int]) -> bytes:
    parts = (array("I", prompt).tobytes(), array("I", label_ids).tobytes())
    return hashlib.blake2b(b"|".join(parts), digest_size=16).digest()
