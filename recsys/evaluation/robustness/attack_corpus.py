"""Adversarial texts, generated from `attacks.toml` in several variants per kind."""

from __future__ import annotations

import base64
import codecs
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys.engine.base import Tokenizer

CORPUS = Path(__file__).with_name("attacks.toml")

_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_STROKES = "\u0338\u0335\u0347\u0359\u0321\u0322\u0489\u0336"  # strokes above, below and through a letter


@dataclass(frozen=True)
class Attack:
    """One adversarial text."""

    number: int  # position in the corpus, from 0
    kind: str
    text: str


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(CORPUS.read_text(encoding="utf-8"))


def _selectors(text: str) -> str:
    """Each byte as an invisible variation selector, after one visible letter."""
    return "x" + "".join(chr(0xFE00 + b if b < 16 else 0xE0100 + b - 16) for b in text.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "long": lambda text: " ".join([text] * 60),
    "padding": lambda text: "a" * 250 + " " + text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "leet": lambda text: text.translate(_LEET),
    "spaced": " ".join,
    "homoglyphs": lambda text: text.translate(str.maketrans(*_table()["look_alike"])),
    "full_width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "zero_width": "\u200b".join,
    "bidi": lambda text: f"\u202e{text[::-1]}\u202c",
    "tags": lambda text: "x" + "".join(chr(0xE0000 + ord(c)) for c in text),
    "selectors": _selectors,
    "accents": lambda text: "".join(c + _STROKES * (c.isalpha()) for c in text),
    "control": lambda text: "\b" * 40 + "\x1b[2K\x1b[1A" + "\0".join(text) + "\x7f",
}


@lru_cache(maxsize=1)
def corpus() -> tuple[Attack, ...]:
    """Generate every attack, kind by kind."""
    table = _table()
    orders: list[str] = table["orders"]
    texts = [(kind["name"], text) for kind in table["kinds"] for text in _texts(kind, orders)]
    return tuple(Attack(number, kind, text) for number, (kind, text) in enumerate(texts))


def neutral_text(tokenizer: Tokenizer, tokens: int, begin: int = 0) -> str:
    """Write harmless words of about so many tokens, from the word numbered `begin` on."""
    vocabulary, words, room = _table()["neutral"].split(), list[str](), tokens
    while room > 0:
        words.append(vocabulary[(begin + len(words)) % len(vocabulary)])
        room -= len(tokenizer.encode(f" {words[-1]}", add_special_tokens=False))
    return " ".join(words)


def _texts(kind: dict[str, Any], orders: list[str]) -> Iterator[str]:
    if "texts" in kind:
        yield from kind["texts"]
    elif "encode" in kind:
        yield from map(ENCODINGS[kind["encode"]], orders)
    else:
        for number, order in enumerate(orders):
            yield kind["wrap"][number % len(kind["wrap"])].replace("{order}", order)
