"""Label tokens, and checks of an engine before it is trusted."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.engine.base import Engine, LabelScores, Tokenizer
from recsys.errors import ModelError, UnusableModel

# An adapter that moves no log-probability by more than this does nothing: bf16
# noise between two runs of the same prompt is well below it.
_ADAPTER_EFFECT = 1e-4
_CONTEXT = 64  # characters before a label that decide which token it is


def label_ids(tokenizer: Tokenizer, labels: Sequence[str], prompt: str = "") -> tuple[int, ...]:
    """Look up the token id of each label, as it is read after a prompt.

    A tokenizer that marks the start of a text (SentencePiece) reads "Yes" alone as another token than
    "Yes" after a line break.

    Args:
        prompt: Any text that ends as the prompts do. Empty: the labels are read alone.

    Raises:
        UnusableModel: A label is not exactly one token there, or two share one: its probability
            would then not be one number of the model's.
    """
    end = prompt[-_CONTEXT:]
    before = tokenizer.encode(end, add_special_tokens=False) if end else []
    ids = tuple(_label_id(tokenizer, label, end, before) for label in labels)
    if len(set(ids)) != len(ids):
        raise UnusableModel(f"labels {list(labels)} share a token", hint="choose labels that differ")
    return ids


def _label_id(tokenizer: Tokenizer, label: str, end: str, before: list[int]) -> int:
    alone = tokenizer.encode(label, add_special_tokens=False)
    if end and not end.endswith(" "):  # after a space only the model can tell: some join it with the word
        separators = ("",) if end[-1].isspace() else ("", " ")
        texts = [end + separator + label for separator in separators]
        read_as = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        known = [tokens[-1] for tokens in read_as if tokens and tokens[:-1] == before]
        if known:
            return alone[0] if alone[:1] and alone[0] in known else known[0]
        read = f"not one token for this model where it is read, after {end[-20:]!r}"
    elif len(alone) == 1:
        return alone[0]
    else:
        read = f"not one token for this model but {len(alone)}"
    raise UnusableModel(
        f"label '{label}' is {read}",
        hint="choose labels in the template's front matter that are one token each, or another model",
    )


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
