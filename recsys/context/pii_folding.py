"""A text as masks read it: without disguises, and with each character's place.

Look-alikes are folded: compatibility forms, accents, digits of other scripts, Cyrillic and Greek letters,
dashes and spaces. What cannot be seen is left out. The text itself stays as somebody typed it.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from recsys.utils.sanitize import is_visible

PATTERNS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("pii.toml").read_text(encoding="utf-8"))
_LOOKALIKES: dict[str, str] = {"\u00df": "ss"} | {
    sign: plain
    for signs, plains in PATTERNS["folding"]["lookalikes"]
    for sign, plain in zip(signs, plains, strict=True)
}
_DIGIT_WORDS = {
    word: str(digit)
    for words in PATTERNS["folding"]["digit_words"]
    for digit, word in enumerate(words.split())
}
_MIN_SPELLED = 9  # digits
_MARKS = ("Mn", "Me")  # categories of what stands on another character
_WORD = rf"(?<!\w)(?:{'|'.join(sorted(_DIGIT_WORDS, key=len, reverse=True))})(?!\w)"
_SPELLED = re.compile(rf"(?:{_WORD}|\d)(?:[ ,.-]{{1,3}}(?:{_WORD}|\d)){{6,30}}", re.IGNORECASE)
_EACH_WORD = re.compile(_WORD, re.IGNORECASE)
_LETTER_FOR_ZERO = re.compile(r"(?<![^\W\d_])[oO](?=\d)|(?<=\d)[oO](?![^\W\d_])")


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text; character i stood at `starts[i]` to `ends[i]`."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the folded text, not empty, stood."""
        return self.starts[start], self.ends[end - 1]

    def replace(self, parts: Iterable[tuple[int, int, str]]) -> Folded:
        """Return the folded text with others in place of some parts, in ascending order."""
        text: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for start, end, other in parts:
            text += [self.text[done:start], other]
            starts += [*self.starts[done:start], *[self.starts[start]] * len(other)]
            ends += [*self.ends[done:start], *[self.ends[end - 1]] * len(other)]
            done = end
        rest = (self.text[done:], self.starts[done:], self.ends[done:])
        return Folded("".join([*text, rest[0]]), [*starts, *rest[1]], [*ends, *rest[2]])


def fold(text: str) -> Folded:
    """Fold a text; lines stay."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return Folded(text, range(len(text)), range(1, len(text) + 1))
    folded: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for position, char in enumerate(text):
        plain = _plain(char)
        if plain == " " and folded and folded[-1] == " ":
            plain = ""
        if not plain and ends:
            ends[-1] = position + 1  # a mark belongs to the character before it
        folded += plain
        starts += [position] * len(plain)
        ends += [position + 1] * len(plain)
    return Folded("".join(folded), starts, ends)


def with_spelled_digits(folded: Folded) -> Folded:
    """Replace at least seven words for digits in a row, and letters for zeros."""
    words = [
        (run.start() + word.start(), run.start() + word.end(), _DIGIT_WORDS[word[0].casefold()])
        for run in _SPELLED.finditer(folded.text)
        for word in _EACH_WORD.finditer(run[0])
    ]
    spelled = folded.replace(words) if words else folded
    return Folded(_LETTER_FOR_ZERO.sub("0", spelled.text), spelled.starts, spelled.ends)


def spelled_numbers(text: str) -> Iterable[tuple[int, int]]:
    """Find long numbers that are spelled digit by digit, unless somebody counts."""
    for run in _SPELLED.finditer(text):
        digits = [int(_DIGIT_WORDS[word.casefold()]) for word in _EACH_WORD.findall(run[0])]
        if len(digits) >= _MIN_SPELLED and any(b != a + 1 for a, b in pairwise(digits)):
            yield run.span()


def _plain(char: str) -> str:
    """Fold one character; "" if it cannot be seen or is a mark on another."""
    if char in _LOOKALIKES:
        return _LOOKALIKES[char]
    if char.isspace():
        return char if char in "\n\r" else " "
    if not is_visible(char):
        return ""
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(char) == "Pd":
        return "-"
    decomposed = unicodedata.normalize("NFKD", char)
    kept = (_LOOKALIKES.get(part, part) for part in decomposed if unicodedata.category(part) not in _MARKS)
    return "".join(kept)
