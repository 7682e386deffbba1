"""What ranking and explaining need of a language model, and nothing more.

An engine sees token ids, labels and schemas; never users, items or templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

TokenIds = Sequence[int]
JsonSchema = Mapping[str, Any]

CACHE_BLOCK = 32
"""Tokens of a prompt that vLLM's prefix cache holds or drops together, on a CPU; on a GPU half as many."""


@dataclass(frozen=True)
class LabelScores:
    """Log-probabilities of a fixed set of labels after one prompt."""

    logprobs: tuple[float, ...]  # log p(label | prompt) in nats, in the order of the labels
    label_mass: float  # summed probability of the labels; near 0, the scores mean little
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class ContinuationScores:
    """Log-probabilities of the tokens of one continuation."""

    logprobs: tuple[float, ...]  # log p(token | prompt and the tokens before it) in nats
    prompt_tokens: int  # with those of the continuation
    cached_tokens: int


@dataclass(frozen=True)
class GenerationRequest:
    """Prompts to continue, and how."""

    prompts: Sequence[TokenIds]
    max_tokens: int  # of each answer
    schemas: Sequence[JsonSchema | None] | None = None  # one a prompt: the JSON that its answer must be
    temperature: float = 0.0
    seed: int = 0

    def pairs(self) -> list[tuple[TokenIds, JsonSchema | None]]:
        """Pair each prompt with its schema."""
        schemas = self.schemas or [None] * len(self.prompts)
        return list(zip(self.prompts, schemas, strict=True))


@dataclass(frozen=True)
class Generation:
    """Generated text."""

    text: str
    truncated: bool  # whether the token limit cut it off
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that prompts use."""

    chat_template: Any
    all_special_tokens: list[str]

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """Convert text to token ids."""
        ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        """Render a conversation as one text."""
        ...


class Engine(Protocol):
    """One model, ready to answer. Safe to call from several threads.

    All calls raise EngineError (retryable) when the engine fails, EngineDead
    when it is gone for good; they never return an error as if it were text.
    """

    @property
    def model(self) -> str:
        """Name of the base model."""
        ...

    @property
    def adapter(self) -> str | None:
        """Name of the adapter, None for the base model alone."""
        ...

    @property
    def kind(self) -> str:
        """Where the model runs: "vllm", "remote"."""
        ...

    @property
    def max_model_len(self) -> int:
        """Most tokens of a prompt and its answer."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        """Score a fixed set of single-token labels after each prompt; one prefill each.

        Args:
            prompts: Token ids.
            label_ids: Token ids of the labels.
            exact: Give the same prompts in the same order the same scores to the last bit, whatever
                else the engine does or did; a prefix that all of them share is computed once.

        Raises:
            EngineError: Also, not retryable, where the engine cannot promise `exact`.
        """
        ...

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        """Score one continuation, of at least one token, after each prompt.

        Each takes one prefill.
        """
        ...

    def generate(self, request: GenerationRequest) -> list[Generation]:
        """Continue each prompt; answers in the order of the prompts."""
        ...

    def stream(self, request: GenerationRequest) -> Iterator[tuple[int, Generation]]:
        """Continue each prompt; yield (index of the prompt, answer) as each is finished."""
        ...

    def close(self) -> None:
        """Free the model. Safe to call twice."""
        ...
