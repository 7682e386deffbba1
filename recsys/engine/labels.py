"""Label tokens, and checks of an engine before it is trusted."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.engine.base import Engine, LabelScores, Tokenizer
from recsys.errors import ModelError, UnusableModel

# An adapter that moves no log-probability by more than this does nothing: bf16
# noise between two runs of the same prompt is well below it.
_ADAPTER_EFFECT = 1e-4
_CONTEXT = 64  # characters before a label that decide which token it is


def label_ids(tokenizer: Tokenizer, labels: Sequence[str]) -> tuple[int, ...]:
    """Look up the token id of each label.

    Raises:
        UnusableModel: A label is not exactly one token, or two share one: its probability
            would then not be one number of the model's.
    """
    ids: list[int] = []
    for label in labels:
        tokens = tokenizer.encode(label, add_special_tokens=False)
        if len(tokens) != 1:
            raise UnusableModel(
                f"label '{label}' is {len(tokens)} tokens for this model",
                hint="choose labels in the template's front matter that are one token each, or another model",
            )
        ids.append(tokens[0])
    if len(set(ids)) != len(ids):
        raise UnusableModel(f"labels {list(labels)} share a token", hint="choose labels that differ")
    return tuple(ids)


def require_readable(tokenizer: Tokenizer, prompt: str, labels: Sequence[str]) -> None:
    """Raise UnusableModel unless labels after a prompt are their `label_ids` tokens.

    A tokenizer that marks the start of a text reads "Yes" alone as another token than "Yes" after a line
    break. After a space only the model can tell, as some tokenizers join it with the word.
    """
    end = prompt[-_CONTEXT:]
    for label, token in zip(labels, label_ids(tokenizer, labels), strict=True):
        separators = ("",) if end[-1:].isspace() else ("", " ")
        if not end.endswith(" ") and not any(
            _continues(tokenizer, end, separator + label, token) for separator in separators
        ):
            raise UnusableModel(
                f"label '{label}' is another token for this model where it is read, after {end[-20:]!r}",
                hint="choose labels in the template's front matter that are one token there, or a model",
            )


def _continues(tokenizer: Tokenizer, prompt: str, label: str, token: int) -> bool:
    """Whether a prompt and a label are the prompt's tokens and this one."""
    before = tokenizer.encode(prompt, add_special_tokens=False)
    return tokenizer.encode(prompt + label, add_special_tokens=False) == [*before, token]


def require_effect(with_adapter: LabelScores, without: LabelScores, name: str) -> None:
    """Raise ModelError if an adapter leaves the model as it was (vLLM issue 48019)."""
    change = max(abs(a - b) for a, b in zip(with_adapter.logprobs, without.logprobs, strict=True))
    if change < _ADAPTER_EFFECT:
        raise ModelError(
            f"adapter '{name}' does not change the model's output (largest change {change:.1e} nat)",
            hint="it may belong to another base model, or name layers that this one does not have",
        )


def probe(
    engine: Engine, text: str = "Is the answer Yes or No?", labels: Sequence[str] = ("Yes", "No")
) -> LabelScores:
    """Test the engine by one tiny label request; see how well it knows the labels."""
    ids = label_ids(engine.tokenizer, labels)
    return engine.label_logprobs([engine.tokenizer.encode(text, add_special_tokens=False)], ids)[0]
