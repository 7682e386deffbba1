"""A time as a person gives it, ISO 8601 or an English phrase, as a moment."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import unicodedata
from dataclasses import dataclass
from threading import Lock
from typing import Literal
from zoneinfo import ZoneInfo

from recsys.errors import ContextError

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MIN_YEAR, MAX_YEAR = 1900, 2100
MAX_CHARACTERS = 100
EXAMPLES = 'these work: "Friday 21:00", "tomorrow morning", "today 18:00", "2026-12-24T20:00", "now"'

Precision = Literal["time", "part_of_day", "day"]

_WEEKDAY = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun)[a-z]*\b")
_ELAPSED = re.compile(r"\bnow\b|\b(?:hour|hr|minute|min|second|sec)s?\b")
_ISO = re.compile(r"\d{4}-?(?:\d{2}-?\d{2}|W\d{2}-?\d)(?:[T ].*)?", re.ASCII | re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_CLOCK = re.compile(r"(?<!\d)(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?!\d)")
_CLOCK_12 = re.compile(r"(?<!\d)\d{1,2}(?:[:.]\d{2})?\s*[ap]\.?m\b")
_MONTH = r"\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(
    rf"(?<!\d)(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}(?:[-/.](?:\d{{4}}|\d{{2}}))?"
    rf"|{_MONTH}\s*{_DAY}(?:,?\s+\d{{4}})?|{_DAY}\s*(?:of\s+)?{_MONTH}(?:,?\s+\d{{4}})?"
    r"|the\s+\d{1,2}(?:st|nd|rd|th))(?!\d)"
)
_SPAN = re.compile(r"(?<!\d)\d{1,3}\s*(?:hour|hr|minute|min|second|sec|day)s?\b")
_OFFSET = re.compile(r"[+-]\d{2}:?\d{2}\b")

_dateparser_lock = Lock()  # warnings are silenced per process, not per thread


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment, and how exactly it is known."""

    time: dt.datetime
    precision: Precision
    notes: tuple[str, ...] = ()  # what was assumed


def parse_time(at: str | dt.datetime, zone: ZoneInfo | None, now: dt.datetime | None) -> Moment:
    """Parse a time.

    Args:
        at: ISO 8601 or an English phrase ("Friday 21:00", "tonight"), or a time.
        zone: The zone of the result. Without one, the time stays as it was given.
        now: What phrases are relative to: by default the clock; local time of the user where naive.

    Raises:
        ContextError: The time is impossible, ambiguous or not understood.
    """
    moment = _parse_text(at, zone, now) if isinstance(at, str) else Moment(at, "time")
    return _localize(moment, zone)


def _localize(moment: Moment, zone: ZoneInfo | None) -> Moment:
    """Attach `zone` to a moment, also where clocks are put forward or back."""
    time = _checked_year(moment.time)
    if zone is None:
        return moment
    if time.tzinfo is not None:
        return dataclasses.replace(moment, time=time.astimezone(zone))
    local = time.replace(tzinfo=zone)
    notes = moment.notes
    if moment.precision == "time":
        existing = local.astimezone(dt.UTC).astimezone(zone)
        if existing.replace(tzinfo=None) != time:
            raise ContextError(
                f"{time:%Y-%m-%d %H:%M} does not exist in {zone.key}: clocks are put forward over it",
                hint=f"did you mean {existing:%H:%M}?",
            )
        if not time.fold and local.utcoffset() != local.replace(fold=1).utcoffset():
            text = f"{time:%Y-%m-%d %H:%M} comes twice in {zone.key} as clocks go back: the first is meant"
            notes = (*notes, text)
    return Moment(local, moment.precision, notes)


def _checked_year(time: dt.datetime) -> dt.datetime:
    if not MIN_YEAR <= time.year <= MAX_YEAR:
        raise ContextError(
            f"the year {time.year} is not between {MIN_YEAR} and {MAX_YEAR}",
            hint='write years with four digits, as in "2026-12-24"',
        )
    return time


def _parse_text(text: str, zone: ZoneInfo | None, now: dt.datetime | None) -> Moment:
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    if len(text) > MAX_CHARACTERS:
        raise ContextError(
            f"a time has at most {MAX_CHARACTERS} characters, this has {len(text)}", hint=EXAMPLES
        )
    return _parse_iso(text) or _parse_phrase(text.casefold(), zone, now)


def _parse_iso(text: str) -> Moment | None:
    if not _ISO.fullmatch(text):
        return None
    try:
        time = dt.datetime.fromisoformat(text.upper())
    except ValueError:  # perhaps "2026-12-24 9pm"
        return None
    return Moment(time, "time" if re.search("[T ]", text.upper()) else "day")


def _parse_phrase(text: str, zone: ZoneInfo | None, now: dt.datetime | None) -> Moment:
    _check_numbers(text)
    local = _local_now(zone, now)
    elapsed = bool(_ELAPSED.search(text))
    # An hour from now is counted on a clock that is never put forward or back.
    base = local.astimezone(dt.UTC) if elapsed and local.tzinfo else local
    moment = _unambiguous(text, base.replace(tzinfo=None))
    if moment.precision != "time" and (elapsed or _CLOCK.search(text) or _CLOCK_12.search(text)):
        raise ContextError(f"the clock time in {text!r} is not understood", hint=EXAMPLES)
    if not elapsed:
        return _this_week(text, moment, local.replace(tzinfo=None))
    time = moment.time
    if local.tzinfo and not time.tzinfo:
        try:
            time = time.replace(tzinfo=dt.UTC).astimezone(local.tzinfo)
        except OverflowError as error:
            raise ContextError(f"the time {text!r} is too far away", hint=EXAMPLES) from error
    unknown_zone = now is None and zone is None
    notes = ("no time zone is known: the time is that of this machine's clock",) if unknown_zone else ()
    return Moment(time, moment.precision, notes)


def _local_now(zone: ZoneInfo | None, now: dt.datetime | None) -> dt.datetime:
    if now is None:
        now = dt.datetime.now().astimezone()
    _checked_year(now)
    if zone is None:
        return now
    return now.astimezone(zone) if now.tzinfo else now.replace(tzinfo=zone)


def _check_numbers(text: str) -> None:
    """Raise ContextError unless each number is a date, clock time or span.

    dateparser drops others silently.
    """
    for match in _CLOCK.finditer(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise ContextError(f"{match[0]} is not a time of day", hint=EXAMPLES)
    for match in _YEAR_FIRST.finditer(text):
        try:
            dt.date(*(int(part) for part in match.groups()))
        except ValueError as error:
            raise ContextError(f"{match[0]} is not a date: {error}", hint=EXAMPLES) from error
    rest = text
    for pattern in (_DATE, _CLOCK_12, _OFFSET, _CLOCK, _SPAN):
        rest = pattern.sub(" ", rest)
    if number := re.search(r"\d+", rest):
        raise ContextError(
            f"{number[0]!r} in {text!r} is neither a clock time nor a date",
            hint=f'write "21:00" or "9pm" for a clock time; {EXAMPLES}',
        )
    if "midnight" in text and text not in ("midnight", "at midnight"):
        raise ContextError(
            f"{text!r} can be the start or the end of that day", hint='write "Friday 00:00" or "Friday 23:59"'
        )


def _unambiguous(text: str, base: dt.datetime) -> Moment:
    """Parse a phrase that means the same whether months or days come first."""
    month_first, day_first = (_dateparser(text, base, order) for order in ("MDY", "DMY"))
    if month_first is None or day_first is None:
        raise ContextError(f"the time {text!r} is not understood", hint=EXAMPLES)
    if month_first != day_first:
        dates = " or ".join(moment.time.date().isoformat() for moment in (month_first, day_first))
        raise ContextError(f"the date {text!r} can be read in two ways", hint=f"write {dates}")
    return month_first


def _dateparser(text: str, base: dt.datetime, date_order: str) -> Moment | None:
    import warnings

    with _dateparser_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dateparser.date import DateDataParser

        parser = DateDataParser(
            languages=["en"],
            settings={
                "PREFER_DATES_FROM": "future",
                "RELATIVE_BASE": base,
                "RETURN_TIME_AS_PERIOD": True,
                "DATE_ORDER": date_order,
            },
        )
        try:
            data = parser.get_date_data(text)
        except (ValueError, TypeError, LookupError, ArithmeticError):  # raised for some odd texts
            return None
    time = data.date_obj
    if time is None or data.period not in ("time", "part_of_day", "day"):
        return None  # a month or a year names no day
    if offset := time.utcoffset():
        time = time.replace(tzinfo=dt.timezone(offset))
    elif time.tzinfo is not None:
        time = time.replace(tzinfo=dt.UTC)
    if data.period == "day":
        time = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return Moment(time, data.period)


def _this_week(text: str, moment: Moment, now: dt.datetime) -> Moment:
    """Correct a weekday that is today, which dateparser puts into next week."""
    weekday_match = _WEEKDAY.search(text)
    if weekday_match is None:
        return moment
    weekday = WEEKDAYS[moment.time.weekday()]
    if not weekday.lower().startswith(weekday_match[1]):
        raise ContextError(
            f"{moment.time.date()} is a {weekday}", hint=f"correct {weekday_match[0]!r} or the date"
        )
    if _DATE.search(text) or "next" in text:
        return moment
    earlier = moment.time - dt.timedelta(days=7)
    if earlier.date() != now.date():
        return moment
    # A part of day lasts hours, a day until midnight; a clock time is over at once.
    hours = {"time": 0, "part_of_day": 4, "day": 24}[moment.precision]
    is_over = earlier.replace(tzinfo=None) + dt.timedelta(hours=hours) < now
    return moment if is_over else Moment(earlier, moment.precision)
