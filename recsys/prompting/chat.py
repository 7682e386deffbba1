"""The frame that a model's own chat template puts around a prompt.

Families differ: some refuse a system turn, some want content as a list of parts, some think aloud unless
told not to, some leave the beginning-of-sequence token to the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recsys.engine.base import Tokenizer
from recsys.errors import UnusableModel

USER = "\N{OBJECT REPLACEMENT CHARACTER}user\N{OBJECT REPLACEMENT CHARACTER}"  # stands for the user's turn
SYSTEM = "\N{OBJECT REPLACEMENT CHARACTER}system\N{OBJECT REPLACEMENT CHARACTER}"
OPEN_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning|seed:think)>\s*$")
HARMONY = "<|start|>assistant"  # its answers name a channel first


@dataclass(frozen=True)
class ChatFrame:
    """Text around the user's turn, to be tokenised without adding special tokens."""

    before: str
    after: str


def chat_frame(tokenizer: Tokenizer, system: str) -> ChatFrame:
    """Render the model's chat template around a user's turn.

    Args:
        system: instructions; they become the system turn, or the start of the user's turn where the
            template has none.

    Raises:
        UnusableModel: the template cannot be rendered so that both texts are in it, each once.
    """
    bos = _missing_bos(tokenizer)
    if not tokenizer.chat_template:
        return ChatFrame(bos + (system + "\n\n" if system else ""), "\nAnswer: ")
    failures = []
    for messages in _layouts(system):
        try:
            text: str = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except Exception as error:  # a template may raise whatever Jinja does
            failures.append(str(error) or type(error).__name__)
            continue
        if text.count(USER) == 1 and text.count(SYSTEM) == bool(system):
            before, _, after = text.replace(SYSTEM, system).partition(USER)
            return ChatFrame(_with_bos(bos, before), _closed(after))
        failures.append("the text of a turn is missing")
    raise UnusableModel(
        f"the model's chat template cannot be used: {failures[0][:200]}",
        hint="choose an instruction-tuned model whose template takes a user's turn, or remove the template",
    )


def _layouts(system: str) -> Iterator[list[dict[str, Any]]]:
    """Ways to state both texts, the most natural first."""
    joined = f"{SYSTEM}\n\n{USER}" if system else USER
    turns = [{"role": "system", "content": SYSTEM}] if system else []
    plain = [[*turns, {"role": "user", "content": USER}], [{"role": "user", "content": joined}]]
    yield from plain
    for messages in plain:
        yield [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def _closed(after: str) -> str:
    """End a thought that the template opens, so that the next token is the answer's."""
    if match := OPEN_THOUGHT.search(after):
        return f"{after.rstrip()}\n\n</{match[1]}>\n\n"
    return f"{after}<|channel|>final<|message|>" if after.endswith(HARMONY) else after


def _missing_bos(tokenizer: Tokenizer) -> str:
    """Return the token that the tokenizer puts before every text, "" if there is none."""
    bos = getattr(tokenizer, "bos_token", None)
    if not bos:
        return ""
    with_special = tokenizer.encode("a", add_special_tokens=True)
    return str(bos) if with_special[:1] == tokenizer.encode(str(bos), add_special_tokens=False) else ""


def _with_bos(bos: str, text: str) -> str:
    return text if text.startswith(bos) else bos + text
