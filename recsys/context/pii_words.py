"""Finds mail addresses, names and postal addresses, however they are written.

Each function takes a folded text (`recsys.context.pii_folding`) and yields the places of what it found.
Quantifiers are bounded, so no text makes the search slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from recsys.context.pii_folding import PATTERNS, fold

Places = Iterator[tuple[int, int]]

_MAIL, _NAME, _ADDRESS = PATTERNS["mails"], PATTERNS["names"], PATTERNS["addresses"]
_OPEN, _CLOSE = r" {0,2}(?:[^\w\s.,]|_) ?", r" ?(?:[^\w\s.,]|_) {0,2}"
_AT = rf"(?:@|{_OPEN}(?:{_MAIL['at']}){_CLOSE}| {{0,2}}\(a\) {{0,2}})"
_DOT = rf"(?:\.|{_OPEN}(?:{_MAIL['dot']}){_CLOSE}| dot )"
_LOCAL, _LABEL, _TOP = r"[\w.!#$%'*+^~-]{1,64}", r"[\w-]{1,63}", r"[^\W\d_]{2,24}"
_KNOWN_TOP = rf"(?:{_MAIL['top']})"
_DOT_APART = rf" ?{_DOT} ?"
_MAILS = tuple(
    re.compile(rf"(?<![\w.+-]){pattern}(?![\w-])", re.IGNORECASE)
    for pattern in (
        rf"{_LOCAL}{_AT}(?:{_LABEL}{_DOT}){{1,6}}{_TOP}",
        rf"{_LOCAL}(?: ?@ ?|{_AT})(?:{_LABEL}{_DOT_APART}){{1,6}}{_KNOWN_TOP}",
        rf"{_LOCAL} at (?:{_LABEL}(?: dot |{_OPEN}dot{_CLOSE})){{1,6}}{_TOP}",
        rf"(?!(?:{_MAIL['not_before_at']})\b){_LOCAL} at (?:{_LABEL}{_DOT_APART}){{1,6}}{_KNOWN_TOP}",
        rf"{_LOCAL}(?: ?@ ?|{_AT}){_LABEL},{_KNOWN_TOP}",
        r"(?:[\w.+-] ){2,40}@ (?:[\w-] ){1,40}\. (?:\w ){1,5}\w",
    )
)

_INTRODUCTIONS = "|".join(fold(phrase).text for phrase in _NAME["introductions"])
_WORD = r"[^\W\d_][\w'-]{0,30}"
_INTRODUCED = re.compile(rf"(?<!\w)(?:{_INTRODUCTIONS}) ?\n?({_WORD}(?: {_WORD}){{0,4}})")
_PARTICLES, _NO_NAMES = (frozenset(_NAME[words].split()) for words in ("particles", "not_names"))
_SENTENCE_START = re.compile(r"(?:[.!?,;:] ?|\b[Hh](?:i|ello)!?,? )$")
_MIN_NAME = 2  # letters

_PLACE_WORD = r"[^\W\d_][\w'.-]{0,30}"
_STREETS = "|".join(_ADDRESS["streets"]).replace("WORD", _PLACE_WORD)
_CITY = r"(?:, ?[^\W\d_][\w'. -]{1,30}?)"
_POSTAL = (
    rf"(?:{_CITY},? (?:[a-z]{{2}},? )?\d{{5}}(?:-\d{{4}})?|{_CITY}?,? [a-z]{{1,2}}\d[a-z\d]? ?\d[a-z]{{2}}"
    rf"|,? \d{{5}}(?: {_PLACE_WORD})?)(?!\w)"
)
_AT_HOME = rf"\b(?:{_ADDRESS['home']})\b[^\d.!?\n]{{0,25}}?"
_ADDRESSES = (
    re.compile(rf"(?<!\w)((?:{_STREETS}){_POSTAL})", re.IGNORECASE),
    re.compile(rf"{_AT_HOME}(?<!\w)((?:{_STREETS}))(?!\w)", re.IGNORECASE),
)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})


def mails(text: str) -> Places:
    """Find mail addresses, with "at" and "dot" in words too."""
    for pattern in _MAILS:
        yield from (match.span() for match in pattern.finditer(text))


def addresses(text: str) -> Places:
    """Find postal addresses: with a postal code, or after words such as "I live at"."""
    for pattern in _ADDRESSES:
        yield from (match.span(1) for match in pattern.finditer(text))


def introduced_names(text: str) -> Places:
    """Find names that somebody says: "my name is ..."."""
    for match in _INTRODUCED.finditer(text):
        said = match[match.lastindex or 1]
        words = said.split(" ")
        named = 0
        while named < len(words) and (words[named][0].isupper() or words[named] in _PARTICLES):
            named += 1
        begins = match["first"] and (
            match.start() == 0 or _SENTENCE_START.search(text[max(0, match.start() - 9) : match.start()])
        )
        if named == 0 and begins and words[0] not in _NO_NAMES:
            named = 1
        if named:
            start = match.end() - len(said)
            yield start, start + len(" ".join(words[:named]))


def known_names(text: str, names: Iterable[str]) -> Places:
    """Find names in any case, whole, without accents, or letter by letter."""
    if pattern := _names_pattern(tuple(names)):
        yield from (match.span() for match in pattern.finditer(text))


@lru_cache(maxsize=256)
def _names_pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    written = {form for name in names for form in (name, name.translate(_UMLAUTS))}
    folded = {fold(form).text.strip() for form in written}
    usable = sorted((name for name in folded if len(name) >= _MIN_NAME), key=len, reverse=True)
    if not usable:
        return None
    forms = "|".join(form for name in usable for form in _forms(name))
    return re.compile(rf"(?<![^\W_])(?<!\[)(?:{forms})(?![^\W_])", re.IGNORECASE)


def _forms(name: str) -> Iterator[str]:
    """Yield a name with any sign between its words, and with one between all letters."""
    words = re.findall(r"[^\W_]+", name)
    yield r"[\W_]{1,3}".join(map(re.escape, words)) if words else re.escape(name)
    if words and max(map(len, words)) > 1:
        yield r"[ ._*-]{1,2}".join("[ ._*-]".join(map(re.escape, word)) for word in words)


def forget() -> None:
    """Clear the cache of names."""
    _names_pattern.cache_clear()
