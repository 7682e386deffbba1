"""An engine without a model: it can count tokens and render prompts, not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from recsys.config import Settings
from recsys.engine.base import ContinuationScores, Generation, LabelScores, TokenIds, Tokenizer
from recsys.errors import EngineError


@dataclass(frozen=True)
class TokenizerEngine:
    """Stands in where only the prompt is wanted, and saves the start of a model."""

    model: str
    tokenizer: Tokenizer
    max_model_len: int
    adapter: str | None = None
    kind: str = "none"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Of the configured model. Raises ModelError, MissingDependency."""
        from recsys.engine import load_tokenizer
        from recsys.engine.checkpoints.weights import prepare_model

        return cls(settings.model, load_tokenizer(str(prepare_model(settings))), settings.max_model_len)

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        self._refuse()

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        self._refuse()

    def generate(
        self,
        prompts: Sequence[TokenIds],
        *,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        self._refuse()

    def stream(self, prompts: Sequence[TokenIds], **_: Any) -> NoReturn:
        self._refuse()

    def close(self) -> None:
        """Nothing to free."""

    def _refuse(self) -> NoReturn:
        raise EngineError("no model is loaded here", hint="add --run")
