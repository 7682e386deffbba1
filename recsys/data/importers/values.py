"""Readers of one cell: text to a value, or `InvalidValue`."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from recsys.context.geo import HOURS_EXAMPLE, parse_hours
from recsys.data.batch import ResolvePlace
from recsys.errors import ContextError
from recsys.knowledge.titles import ARTICLES
from recsys.types import Place

if TYPE_CHECKING:
    import polars as pl

PlainReader = Callable[["pl.Expr"], "pl.Expr"]
"""Reads the texts of a column as 64-bit numbers; null for those that are left to a reader of one cell."""

MAX_QUOTED = 60  # characters of a value in a message

_TRAILING_ARTICLE = re.compile(rf"(?P<name>[^()]+), (?P<article>{'|'.join(ARTICLES)})(?=\)| \(|$)")
NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL and lone surrogates: no database stores them
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_WHOLE = re.compile(r"(-?\d+)\.0+", re.ASCII)
_PLAIN = r"^-?[0-9]{1,15}(?:\.[0-9]{1,15})?$"  # a number that any program writes so
_YEAR = re.compile(r"([12]\d{3})(?:\.0+)?", re.ASCII)
_TITLE_WITH_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>[12]\d{3})\)", re.ASCII | re.DOTALL)


class InvalidValue(ValueError):
    """A value is not what was expected."""

    def __init__(self, expected: str, found: str, *, hint: str = "") -> None:
        super().__init__(f"expected {expected}, found {quote(found)}")
        self.hint = hint


def quote(value: object) -> str:
    """Return a value for a message: quoted, at most 60 characters."""
    text = str(value)
    return repr(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "...")


def collapse(text: str) -> str:
    """Strip a text, and collapse the white space inside to single spaces."""
    return " ".join(text.split())


def identifier(text: str) -> str:
    """Strip white space and byte order mark from an id; compose its accents (NFC)."""
    return unicodedata.normalize("NFC", text.strip().strip("\ufeff").strip())


def number_as_id(value: object) -> object:
    """Return a whole number as the text of an id; all else as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return str(int(value))
    return value


def whole_ids(ids: Sequence[str]) -> list[str]:
    """Return ids without ".0" if all are whole numbers, as in columns with gaps."""
    if any(not (_WHOLE.fullmatch(text) or text.isdecimal()) for text in ids):
        return list(ids)
    return [whole_id(text) for text in ids]


def whole_id(text: str) -> str:
    """Return "7" for "7.0", and other ids as they are."""
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def has_decimal_comma(text: str) -> bool:
    """Tell whether a text is a number with a comma, such as "4,5"."""
    return _DECIMAL_COMMA.fullmatch(text) is not None


def with_point(text: str, decimal: str | None) -> str:
    """Return a number with a point: "4.5" for "4,5" unless `decimal` is ".".

    With None the comma is taken for a decimal mark except in "1,234", which may be a thousand.

    Raises:
        InvalidValue: It may be a thousand.
    """
    if decimal == "." or not has_decimal_comma(text):
        return text
    whole, _, digits = text.partition(",")
    if decimal is None and len(digits) == 3 and whole.lstrip("+-") not in ("", "0"):
        hint = 'if the comma is the decimal mark, set decimal = "," for this table in domain.toml'
        raise InvalidValue("a number without separators of thousands", text, hint=hint)
    return f"{whole}.{digits}"


def year(text: str) -> int:
    """Read a year from 1000 to 2999; some tools write "1995.0" in a column with gaps."""
    match = _YEAR.fullmatch(text)
    if match is None:
        raise InvalidValue("a year from 1000 to 2999", text)
    return int(match[1])


def number(text: str) -> float:
    """Read a finite number."""
    value = finite(text)
    if value is None:
        raise InvalidValue("a finite number", text)
    return value


def finite(text: str) -> float | None:
    """Return a finite number, or None if the text is none."""
    if "_" in text:  # 1_000 is Python, not data
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def plain_numbers(texts: pl.Expr) -> pl.Expr:
    """Read a column as `number` reads cells; null for what is left to that."""
    import polars as pl

    return pl.when(texts.str.contains(_PLAIN)).then(texts).cast(pl.Float64)


def degrees(limit: int) -> Callable[[str], float]:
    """Return a reader of degrees from -limit to limit."""

    def read(text: str) -> float:
        value = finite(text)
        if value is None or abs(value) > limit:
            raise InvalidValue(f"degrees from -{limit} to {limit}", text)
        return value

    return read


def hours(text: str) -> str:
    """Read opening hours as `recsys.context.geo.parse_hours` parses them."""
    try:
        parse_hours(text)
    except ValueError:
        raise InvalidValue("opening hours", text, hint=f"write {HOURS_EXAMPLE}") from None
    return text


def place_reader(resolve: ResolvePlace) -> Callable[[str], Place]:
    """Return a reader of places that calls `resolve` once for each text."""

    @cache
    def look_up(text: str) -> Place | ContextError:
        try:
            return resolve(text) or ContextError(f"no place is known as {quote(text)}")
        except ContextError as error:
            return error

    def place(text: str) -> Place:
        result = look_up(text)
        if isinstance(result, ContextError):
            raise InvalidValue("a known place", text, hint=result.hint)
        return result

    return place


def article_to_front(title: str) -> str:
    """Turn "Matrix, The" into "The Matrix", also for a title in brackets."""

    def swap(match: re.Match[str]) -> str:
        article = match["article"]
        return article + ("" if article[-1] in "'\u2019" else " ") + match["name"]

    return _TRAILING_ARTICLE.sub(swap, title)


def year_from_title(title: str) -> tuple[str, int | None]:
    """Split "Toy Story (1995)" into ("Toy Story", 1995); without a year, None."""
    match = _TITLE_WITH_YEAR.fullmatch(title)
    return (match["title"], int(match["year"])) if match else (title, None)
