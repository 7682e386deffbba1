"""Engine without a model: counts tokens and renders prompts, answers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Self

from recsys.config import Settings
from recsys.engine.base import GenerationRequest, TokenIds, Tokenizer
from recsys.errors import EngineError


@dataclass(frozen=True)
class TokenizerEngine:
    """Stands in where only the prompt is needed, and saves the start of a model."""

    model: str
    tokenizer: Tokenizer
    max_model_len: int
    adapter: str | None = None
    kind: str = "none"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Load the tokenizer of the configured model.

        Raises:
            ModelError: The model cannot be used.
            MissingDependency: The model's package or transformers is not installed.
        """
        from recsys.engine.checkpoints.weights import prepare_model
        from recsys.engine.loading import load_tokenizer

        return cls(settings.model, load_tokenizer(str(prepare_model(settings))), settings.max_model_len)

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> NoReturn:
        """Raise EngineError."""
        self._refuse()

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> NoReturn:
        """Raise EngineError."""
        self._refuse()

    def generate(self, request: GenerationRequest) -> NoReturn:
        """Raise EngineError."""
        self._refuse()

    def stream(self, request: GenerationRequest) -> NoReturn:
        """Raise EngineError."""
        self._refuse()

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _refuse(self) -> NoReturn:
        raise EngineError("no model is loaded here", hint="add --run")
