"""Text of one cell -> a value. What cannot be read raises `Unreadable`."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from functools import cache

from recsys.context.geo import EXAMPLE, parse_hours
from recsys.data.batch import ResolvePlace
from recsys.errors import ContextError
from recsys.types import Place

MAX_SHOWN = 60  # characters of a found value in a message
LAST_SECOND = 253_402_300_799  # the end of the year 9999; milliseconds of our days lie far beyond it
FIRST_SECOND = -62_135_596_800

# Longest first where one begins another; those that end in an apostrophe take no space.
ARTICLES = (
    *("The", "An", "A"),
    *("Les", "Le", "La", "L'", "L\u2019", "Une", "Un"),
    *("Der", "Die", "Das", "Eine", "Ein"),
    *("El", "Los", "Las", "Una"),
    *("Il", "Lo", "Gli", "Uno"),
    *("Det", "Den"),
)
_TRAILING_ARTICLE = re.compile(rf"(?P<name>[^()]+), (?P<article>{'|'.join(ARTICLES)})(?=\)| \(|$)")
_YEAR = re.compile(r"([12]\d{3})(?:\.0+)?", re.ASCII)
_TITLE_WITH_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>[12]\d{3})\)", re.ASCII | re.DOTALL)


class Unreadable(ValueError):
    """A value is not what it should be: says what was expected and what was found."""

    def __init__(self, expected: str, found: str, *, hint: str = "") -> None:
        super().__init__(f"expected {expected}, found {shown(found)}")
        self.hint = hint


def shown(value: object) -> str:
    """A value as it may stand in a message: quoted, at most 60 characters of it."""
    text = str(value)
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


def collapse(text: str) -> str:
    """Text without white space around it, and with single spaces inside."""
    return " ".join(text.split())


def year(text: str) -> int:
    """A year from 1000 to 2999; "1995.0" is what some tools write for a column with gaps."""
    match = _YEAR.fullmatch(text)
    if match is None:
        raise Unreadable("a year from 1000 to 2999", text)
    return int(match[1])


def number(text: str) -> float:
    """A finite number."""
    value = _finite(text)
    if value is None:
        raise Unreadable("a finite number", text)
    return value


def degrees(limit: int) -> Callable[[str], float]:
    """A reader of degrees from -limit to limit."""

    def read(text: str) -> float:
        value = _finite(text)
        if value is None or abs(value) > limit:
            raise Unreadable(f"degrees from -{limit} to {limit}", text)
        return value

    return read


def hours(text: str) -> str:
    """Opening hours that `recsys.context.geo.parse_hours` understands."""
    try:
        parse_hours(text)
    except ValueError:
        raise Unreadable("opening hours", text, hint=f"write {EXAMPLE}") from None
    return text


def timestamp(text: str) -> float:
    """Seconds since 1970 (UTC), from just that or from ISO 8601; naive times are UTC."""
    seconds = _finite(text)
    if seconds is None:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            raise Unreadable("seconds since 1970 or an ISO 8601 time", text) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise Unreadable("seconds since 1970", text, hint="milliseconds? divide them by 1000")
    return seconds


def place_reader(resolve: ResolvePlace) -> Callable[[str], Place]:
    """A reader of places that asks `resolve` only once for each text."""

    @cache
    def look_up(text: str) -> Place | ContextError:
        try:
            return resolve(text) or ContextError(f"no place is known as {shown(text)}")
        except ContextError as error:
            return error

    def place(text: str) -> Place:
        found = look_up(text)
        if isinstance(found, ContextError):
            raise Unreadable("a known place", text, hint=found.hint)
        return found

    return place


def article_to_front(title: str) -> str:
    """The title "Matrix, The" as "The Matrix"; each part of "Tin Drum, The (Blechtrommel, Die)" as well."""

    def swap(match: re.Match[str]) -> str:
        article = match["article"]
        return article + ("" if article[-1] in "'\u2019" else " ") + match["name"]

    return _TRAILING_ARTICLE.sub(swap, title)


def year_from_title(title: str) -> tuple[str, int | None]:
    """The title "Toy Story (1995)" as ("Toy Story", 1995); one without such an end as (title, None)."""
    match = _TITLE_WITH_YEAR.fullmatch(title)
    return (match["title"], int(match["year"])) if match else (title, None)


def _finite(text: str) -> float | None:
    if "_" in text:  # 1_000 is Python, not data
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
