"""What ranking and explaining need of a language model, and nothing more.

An engine sees token ids, labels and schemas; never users, items or templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

TokenIds = Sequence[int]

CACHE_BLOCK = 32
"""Tokens of a prompt that vLLM's prefix cache holds or drops together, on a CPU; on a GPU half as many."""


@dataclass(frozen=True)
class LabelScores:
    """log p(label | prompt) in nats for each label, in the order asked for.

    `label_mass` is their summed probability: near 0, the model wants to say
    something else and its scores mean little.
    """

    logprobs: tuple[float, ...]
    label_mass: float
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class ContinuationScores:
    """log p(token | prompt and the tokens before it) in nats, for each token of one continuation.

    `prompt_tokens` counts the continuation too.
    """

    logprobs: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Generation:
    """Generated text. `truncated` says that the token limit cut it off."""

    text: str
    truncated: bool
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that prompts use."""

    chat_template: Any
    all_special_tokens: list[str]

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any: ...


class Engine(Protocol):
    """One model, ready to answer. Safe to call from several threads.

    All calls raise EngineError (retryable) when the engine fails, EngineDead
    when it is gone for good; they never return an error as if it were text.
    """

    @property
    def model(self) -> str: ...

    @property
    def adapter(self) -> str | None: ...

    @property
    def kind(self) -> str: ...

    @property
    def max_model_len(self) -> int: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        """Score a fixed set of single-token labels after each prompt; one prefill each.

        `exact`: the same prompts in the same order give the same scores to the last bit, whatever
        else the engine does or did; a prefix that all of them share is computed once. Raises
        EngineError (not retryable) where the engine cannot promise that.
        """
        ...

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        """Score one continuation, of at least one token, after each prompt; one prefill each."""
        ...

    def generate(
        self,
        prompts: Sequence[TokenIds],
        *,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        """Continue each prompt, held to its JSON schema where one is given."""
        ...

    def stream(
        self,
        prompts: Sequence[TokenIds],
        *,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[tuple[int, Generation]]:
        """The same, as (number of the prompt, answer) each as soon as it is finished where the engine can."""
        ...

    def close(self) -> None:
        """Free the model. Safe to call twice."""
        ...
