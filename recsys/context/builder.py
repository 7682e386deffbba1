"""Time, place and wishes as a person gives them -> a `Context` of facts.

What is not known stays None: a day without a clock time has no hour, a place
without a latitude has no season. What is ambiguous or impossible is an error.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal
from zoneinfo import ZoneInfo

from recsys.config import Locality, Privacy
from recsys.context.gazetteer import COORDINATES, find_place
from recsys.context.pii import mask, mask_facts
from recsys.errors import ContextError
from recsys.types import Context, Place

__all__ = ["build_context", "find_place", "locate", "part_of_day", "season"]

# First hour of each part, latest first. What is planned for 21 to 23 differs from what is planned for 18,
# so it has a name of its own; "night" is what comes after midnight.
PARTS_OF_DAY = ((21, "late evening"), (17, "evening"), (12, "afternoon"), (5, "morning"), (0, "night"))
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Friday evening is no weekend here: weekday and part of day are told as well, so nothing is lost by
# keeping to the calendar, and the flag means the same for a day with and without a clock time.
WEEKEND = ("Saturday", "Sunday")
NORTHERN_SEASONS = ("winter", "spring", "summer", "autumn")  # three months each, from December on

MIN_YEAR, MAX_YEAR = 1900, 2100
MAX_TIME_TEXT = 100  # characters, as are the next two
MAX_WISH = 500
MAX_FACT = 200

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


def build_context(
    *,
    at: str | dt.datetime | None = None,
    place: str | Place | None = None,
    home: Place | None = None,
    wish: str = "",
    extra: Mapping[str, str] | None = None,
    now: dt.datetime | None = None,
    locality: Locality | None = None,
    privacy: Privacy | None = None,
    names: Sequence[str] = (),
) -> Context:
    """The situation of a request, with all that follows from its time and place.

    `at` is an ISO 8601 time or an English phrase ("Friday 21:00", "tonight"), `place` whatever
    `locate` takes, `home` where the user lives, `extra` named facts such as the weather;
    an empty string counts as not given. Phrases are read relative to `now` (default: the
    clock; naive: local time of the user). The time is told in the zone of the place, else of
    the home, else as it was said. Only where `Context.hour` is set is the clock of `Context.time`
    meant: of "Sunday" or "tonight" the date alone is. `Context.notes` says what was assumed.
    What tells who the person is, their `names` too, is masked in wish and facts as the domain's
    `privacy` says (`recsys.context.pii`).

    Raises ContextError for a time or place that is impossible, ambiguous or unknown, and for
    a fact or wish that is malformed or too long.
    """
    notes: list[str] = []
    privacy = privacy or Privacy()
    if isinstance(place, str):
        place = locate(place, locality) if place.strip() else None
    if place is None and home is not None:
        place = home
        notes.append("place taken from the user's home")
    if isinstance(at, str) and not at.strip():
        at = None
    derived: dict[str, object] = {}
    if at is not None:
        latitude = next((spot.latitude for spot in (place, home) if spot and spot.latitude is not None), None)
        derived = _time_facts(at, _zone(place, home, notes), latitude, now, notes)
    return Context.model_validate(
        derived
        | {
            "place": place,
            "wish": mask(_clean_wish(wish), privacy, names),
            "extra": mask_facts(_clean_extra(extra or {}), privacy, names),
            "notes": tuple(notes),
        }
    )


def locate(text: str, locality: Locality | None = None) -> Place:
    """The place that `text` names: in the domain's own town, by part or by coordinates, else `find_place`.

    A part of the town is told as its city: "Old Quay, Fernmere". Raises ContextError.
    """
    if locality is None:
        return find_place(text)
    named = " ".join(text.casefold().split()).removesuffix(f", {locality.name.casefold()}")
    point = next((point for name, point in locality.areas.items() if name.casefold() == named), None)
    if match := COORDINATES.fullmatch(text.strip()):
        point = float(match[1]), float(match[2])
    if point is not None and abs(point[0]) <= 90 and abs(point[1]) <= 180:
        from recsys.context.geo import distance_km  # here, for it needs numpy

        far = {name: float(distance_km(*point, *centre)) for name, centre in locality.areas.items()}
        nearest = min(far, key=far.__getitem__)
        if far[nearest] <= locality.radius_km:
            return Place(
                city=f"{nearest}, {locality.name}",
                latitude=point[0],
                longitude=point[1],
                timezone=locality.timezone,
            )
    try:
        return find_place(text)
    except ContextError as error:
        hint = f"{error.hint}; parts of {locality.name}: {', '.join(locality.areas)}"
        raise ContextError(error.message, hint=hint) from error


def part_of_day(hour: int) -> str:
    """What people call an hour (0-23): "night", "morning", "afternoon", "evening", "late evening"."""
    return next(name for first, name in PARTS_OF_DAY if hour >= first)


def season(day: dt.date, latitude: float) -> str:
    """Meteorological season of a day: whole months, turned round south of the equator (degrees)."""
    quarter = day.month % 12 // 3
    return NORTHERN_SEASONS[quarter if latitude >= 0 else (quarter + 2) % 4]


@dataclass(frozen=True, slots=True)
class _MomentReading:
    """A time as it was said: naive unless an offset was given. `machine_clock` marks one
    that was counted from the clock of this machine ("now", "in 2 hours")."""

    moment: dt.datetime
    precision: Precision
    machine_clock: bool = False


def _time_facts(
    at: str | dt.datetime,
    zone: ZoneInfo | None,
    latitude: float | None,
    now: dt.datetime | None,
    notes: list[str],
) -> dict[str, object]:
    reading = _read_text(at, zone, now) if isinstance(at, str) else _MomentReading(at, "time")
    moment = _localise(reading, zone, notes)
    if reading.machine_clock and zone is None:
        notes.append("no time zone is known: the time is that of this machine's clock")
    weekday = WEEKDAYS[moment.weekday()]
    return {
        "time": moment,
        "hour": moment.hour if reading.precision == "time" else None,
        "part_of_day": None if reading.precision == "day" else part_of_day(moment.hour),
        "weekday": weekday,
        "weekend": weekday in WEEKEND,
        "season": None if latitude is None else season(moment.date(), latitude),
    }


def _zone(place: Place | None, home: Place | None, notes: list[str]) -> ZoneInfo | None:
    spot = next((spot for spot in (place, home) if spot and spot.timezone), None)
    if spot is None or spot.timezone is None:
        return None
    if spot is not place:
        notes.append("time zone taken from the user's home")
    try:
        return ZoneInfo(spot.timezone)
    except (KeyError, ValueError, OSError) as error:  # unknown, malformed, or the name of a folder
        raise ContextError(
            f"no time zone is called {spot.timezone!r}", hint='use an IANA name such as "America/Chicago"'
        ) from error


def _localise(reading: _MomentReading, zone: ZoneInfo | None, notes: list[str]) -> dt.datetime:
    """The moment on the clock of `zone`; clocks that are put forward or back are minded."""
    moment = _checked_year(reading.moment)
    if zone is None:
        return moment
    if moment.tzinfo is not None:
        return moment.astimezone(zone)
    local = moment.replace(tzinfo=zone)
    if reading.precision != "time":
        return local
    shown = local.astimezone(dt.UTC).astimezone(zone)
    if shown.replace(tzinfo=None) != moment:
        raise ContextError(
            f"{moment:%Y-%m-%d %H:%M} does not exist in {zone.key}: clocks are put forward over it",
            hint=f"did you mean {shown:%H:%M}?",
        )
    if not moment.fold and local.utcoffset() != local.replace(fold=1).utcoffset():
        notes.append(
            f"{moment:%Y-%m-%d %H:%M} comes twice in {zone.key} as clocks go back: the first is meant"
        )
    return local


def _checked_year(moment: dt.datetime) -> dt.datetime:
    if not MIN_YEAR <= moment.year <= MAX_YEAR:
        raise ContextError(
            f"the year {moment.year} is not between {MIN_YEAR} and {MAX_YEAR}",
            hint='write years with four digits, as in "2026-12-24"',
        )
    return moment


def _read_text(text: str, zone: ZoneInfo | None, now: dt.datetime | None) -> _MomentReading:
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    if len(text) > MAX_TIME_TEXT:
        raise ContextError(
            f"a time has at most {MAX_TIME_TEXT} characters, this has {len(text)}", hint=EXAMPLES
        )
    return _read_iso(text) or _read_phrase(text.casefold(), zone, now)


def _read_iso(text: str) -> _MomentReading | None:
    if not _ISO.fullmatch(text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text.upper())
    except ValueError:  # perhaps "2026-12-24 9pm"
        return None
    return _MomentReading(moment, "time" if re.search("[T ]", text.upper()) else "day")


def _read_phrase(text: str, zone: ZoneInfo | None, now: dt.datetime | None) -> _MomentReading:
    _check_numbers(text)
    local = _local_now(zone, now)
    elapsed = bool(_ELAPSED.search(text))
    # An hour from now is an hour on a clock that is never put forward or back.
    base = local.astimezone(dt.UTC) if elapsed and local.tzinfo else local
    month_first, day_first = (_parse(text, base.replace(tzinfo=None), order) for order in ("MDY", "DMY"))
    if month_first is None or day_first is None:
        raise ContextError(f"the time {text!r} is not understood", hint=EXAMPLES)
    if month_first != day_first:
        readings = " or ".join(reading.moment.date().isoformat() for reading in (month_first, day_first))
        raise ContextError(f"the date {text!r} can be read in two ways", hint=f"write {readings}")
    reading = month_first
    if reading.precision != "time" and (elapsed or _CLOCK.search(text) or _CLOCK_12.search(text)):
        raise ContextError(f"the clock time in {text!r} is not understood", hint=EXAMPLES)
    if not elapsed:
        return _this_week(text, reading, local.replace(tzinfo=None))
    moment = reading.moment
    if local.tzinfo and not moment.tzinfo:
        try:
            moment = moment.replace(tzinfo=dt.UTC).astimezone(local.tzinfo)
        except OverflowError as error:
            raise ContextError(f"the time {text!r} is too far away", hint=EXAMPLES) from error
    return _MomentReading(moment, reading.precision, machine_clock=now is None)


def _local_now(zone: ZoneInfo | None, now: dt.datetime | None) -> dt.datetime:
    if now is None:
        now = dt.datetime.now().astimezone()
    _checked_year(now)
    if zone is None:
        return now
    return now.astimezone(zone) if now.tzinfo else now.replace(tzinfo=zone)


def _check_numbers(text: str) -> None:
    """Every number has to be a date, a clock time or a span: dateparser drops what it cannot place."""
    for match in _CLOCK.finditer(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise ContextError(f"{match[0]} is no time of day", hint=EXAMPLES)
    for match in _YEAR_FIRST.finditer(text):
        try:
            dt.date(*(int(part) for part in match.groups()))
        except ValueError as error:
            raise ContextError(f"{match[0]} is no date: {error}", hint=EXAMPLES) from error
    rest = text
    for known in (_DATE, _CLOCK_12, _OFFSET, _CLOCK, _SPAN):
        rest = known.sub(" ", rest)
    if number := re.search(r"\d+", rest):
        raise ContextError(
            f"{number[0]!r} in {text!r} is neither a clock time nor a date",
            hint=f'write "21:00" or "9pm" for a clock time; {EXAMPLES}',
        )
    if "midnight" in text and text not in ("midnight", "at midnight"):
        raise ContextError(
            f"{text!r} can be the start or the end of that day", hint='write "Friday 00:00" or "Friday 23:59"'
        )


def _parse(text: str, base: dt.datetime, date_order: str) -> _MomentReading | None:
    import warnings

    with _dateparser_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dateparser.date import DateDataParser  # type: ignore[import-untyped]

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
        except (ValueError, TypeError, LookupError, ArithmeticError):  # its answer to some odd text
            return None
    moment = data.date_obj
    if moment is None or data.period not in ("time", "part_of_day", "day"):
        return None  # a month or a year names no day
    if offset := moment.utcoffset():
        moment = moment.replace(tzinfo=dt.timezone(offset))
    elif moment.tzinfo is not None:
        moment = moment.replace(tzinfo=dt.UTC)
    if data.period == "day":
        moment = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return _MomentReading(moment, data.period)


def _this_week(text: str, reading: _MomentReading, now: dt.datetime) -> _MomentReading:
    """A weekday that is today is today while its time is still to come; dateparser says next week.

    Raises ContextError where the weekday that was said is not that of the date.
    """
    said = _WEEKDAY.search(text)
    if said is None:
        return reading
    weekday = WEEKDAYS[reading.moment.weekday()]
    if not weekday.lower().startswith(said[1]):
        raise ContextError(f"{reading.moment.date()} is a {weekday}", hint=f"correct {said[0]!r} or the date")
    if _DATE.search(text) or "next" in text:
        return reading
    earlier = reading.moment - dt.timedelta(days=7)
    if earlier.date() != now.date():
        return reading
    # A part of day lasts hours, a day until midnight; a clock time is over at once.
    lasts = {"time": 0, "part_of_day": 4, "day": 24}[reading.precision]
    over = earlier.replace(tzinfo=None) + dt.timedelta(hours=lasts) < now
    return reading if over else _MomentReading(earlier, reading.precision)


def _one_line(text: str) -> str:
    """White space, control characters and broken surrogates collapsed to single spaces."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())


def _clean_wish(wish: str) -> str:
    wish = _one_line(wish)
    if len(wish) > MAX_WISH:
        raise ContextError(
            f"the wish has {len(wish)} characters", hint=f"at most {MAX_WISH} can be used; shorten it"
        )
    return wish


def _clean_extra(extra: Mapping[str, str]) -> dict[str, str]:
    clean: dict[str, str] = {}
    for name, value in extra.items():
        if not re.fullmatch(r"[a-z][a-z0-9_ ]{0,30}", name):
            raise ContextError(
                f"{name!r} cannot be the name of a fact",
                hint='use up to 31 small letters, digits, "_" or spaces, starting with a letter: "weather"',
            )
        clean[name] = _one_line(value)
        if not 0 < len(clean[name]) <= MAX_FACT:
            raise ContextError(
                f"the fact {name!r} has {len(clean[name])} characters", hint=f"say it in 1 to {MAX_FACT}"
            )
    return clean
