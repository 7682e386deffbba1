"""A wish as tokens, and tables of phrases that are looked up in it.

Both sides of a comparison go through `tokens_of`: without case, accents and plural; each Chinese
character is a token of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_CHARACTERS = 2000
"""How much of a wish is read."""

BREAKS = ",.;!?:(\u3001\u3002"
"""Signs that end a clause; Chinese ones have become ASCII, but for two."""

Phrase = tuple[str, ...]
T = TypeVar("T")

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(
    rf"[{_CHINESE}]|\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+\.\d+|\d+|[^\W\d_{_CHINESE}]+(?:'[^\W\d_{_CHINESE}]+)*|[^\w\s]"
)
_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A word, number, sign or Chinese character of a text."""

    text: str  # as it is compared
    start: int
    end: int
    capital: bool = False  # as written

    @property
    def is_word(self) -> bool:
        """Whether it is no number and no sign."""
        return self.text[0].isalpha()

    @property
    def is_chinese(self) -> bool:
        """Whether it is a Chinese character."""
        return is_chinese(self.text)


def is_chinese(text: str) -> bool:
    """Return whether a text begins with a Chinese character."""
    return re.match(f"[{_CHINESE}]", text) is not None


def clean(text: str) -> str:
    """Return a text as it is cut into tokens; positions of tokens are positions in it."""
    return unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).translate(_QUOTES)


def tokens_of(cleaned: str) -> list[Token]:
    """Cut a text into tokens."""
    return [
        Token(folded, match.start(), match.end(), match[0][0].isupper())
        for match in _TOKEN.finditer(cleaned)
        if (folded := _folded(match[0]))
    ]


def phrase_of(text: str) -> Phrase:
    """Return the words of a phrase as those of a wish are compared, without signs."""
    return tuple(token.text for token in tokens_of(clean(text)) if token.text[0].isalnum())


class PhraseTable(Generic[T]):
    """Meanings by phrase; the longest that begins at a position is found."""

    def __init__(self, entries: Iterable[tuple[Phrase, T]]) -> None:
        self._meanings: dict[Phrase, T] = {}
        for phrase, meaning in entries:
            if phrase:
                self._meanings.setdefault(phrase, meaning)
        self._lengths: dict[str, int] = {}
        for phrase in self._meanings:
            self._lengths[phrase[0]] = max(self._lengths.get(phrase[0], 0), len(phrase))

    def longest(self, tokens: Sequence[Token], begin: int) -> tuple[int, T] | None:
        """Return how many tokens the longest phrase at `begin` has, and its meaning.

        Signs inside a phrase, such as a hyphen, are skipped.
        """
        words: list[str] = []
        found: tuple[int, T] | None = None
        most = self._lengths.get(tokens[begin].text, 0)
        for position in range(begin, len(tokens)):
            if not tokens[position].text[0].isalnum():
                if tokens[position].text in BREAKS and not _is_initial(tokens, position):
                    break
                continue
            words.append(tokens[position].text)
            if len(words) > most:
                break
            if (meaning := self._meanings.get(tuple(words))) is not None:
                found = position - begin + 1, meaning
        return found

    def get(self, phrase: Phrase) -> T | None:
        """Return the meaning of a whole phrase."""
        return self._meanings.get(phrase)

    @property
    def meanings(self) -> Mapping[Phrase, T]:
        """All of them."""
        return self._meanings


def _is_initial(tokens: Sequence[Token], position: int) -> bool:
    """Return whether a full stop belongs to a name: "Samuel L. Jackson"."""
    return tokens[position].text == "." and position > 0 and len(tokens[position - 1].text) < 3


def _folded(word: str) -> str:
    if word[0].isdigit():
        return word.replace(",", "")
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return singular("".join(c for c in decomposed if not unicodedata.combining(c)))


def singular(word: str) -> str:
    """Return an English word without plural or genitive, roughly."""
    word = word.removesuffix("'s").removesuffix("'")
    if not word.isalpha() or len(word) < 4 or word.endswith(("ss", "us")):
        return word
    if word.endswith("ie"):  # "movie" and "movies" alike
        return f"{word[:-2]}y"
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("xes", "ches", "shes", "sses", "oes")):
        return word[:-2]
    return word.removesuffix("s")
