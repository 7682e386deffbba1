"""The `Context` of a request, from time, place and wish as a person gives them.

What is not known stays None: a day without a clock time has no hour, a place without a
latitude has no season. What is ambiguous or impossible is an error.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from recsys.config import Domain, Privacy
from recsys.context.gazetteer import find_place
from recsys.context.pii import mask, mask_facts, mask_moment, mask_place
from recsys.context.time_parser import WEEKDAYS, parse_time
from recsys.context.world import require_country
from recsys.errors import ContextError
from recsys.types import Context, Place
from recsys.utils.sanitize import visible

# First hour of each part, latest first. Plans for 21 to 23 differ from plans for 18, hence "late
# evening"; "night" is what comes after midnight.
PARTS_OF_DAY = ((21, "late evening"), (17, "evening"), (12, "afternoon"), (5, "morning"), (0, "night"))
# Friday evening is not in it: weekday and part of day are facts too, so nothing is lost, and the
# flag means the same for a day with and without a clock time.
WEEKEND = ("Saturday", "Sunday")
NORTHERN_SEASONS = ("winter", "spring", "summer", "autumn")  # three months each, from December on

MAX_WISH = 500  # characters
MAX_FACT = 200  # characters


def build_context(
    *,
    at: str | dt.datetime | None = None,
    place: str | Place | None = None,
    home: Place | None = None,
    wish: str = "",
    extra: Mapping[str, str] | None = None,
    now: dt.datetime | None = None,
    domain: Domain | None = None,
    names: Sequence[str] = (),
) -> Context:
    """Build the context of a request, with all that follows from its time and place.

    The time is in the zone of the place, else of the home or the domain's region, else as given. Where
    `Context.hour` is None, only the date of `Context.time` is known.

    Args:
        at: A time, ISO 8601, or an English phrase ("Friday 21:00", "tonight"). Empty: not given.
        place: A place, or what `find_place` accepts. Empty: not given.
        home: Where the user lives, which stands in for a place that is not given.
        wish: Free text.
        extra: Further facts by name, such as the weather.
        now: What phrases are relative to: by default the clock; local time of the user where naive.
        domain: Gives places of its locality and country, and says which personal data is masked.
        names: Names of the user, which are masked too.

    Raises:
        ContextError: Time or place is impossible, ambiguous or unknown, or a text is too long.
    """
    notes: tuple[str, ...] = ()
    privacy = domain.privacy if domain else Privacy()
    if isinstance(place, str):
        place = _find(mask_moment(place, privacy, names), domain) if place.strip() else None
    if place is None and home is not None:
        place, notes = home, ("place taken from the user's home",)
    if isinstance(at, str):
        at = mask_moment(at, privacy, names)
    time_facts: dict[str, object] = {}
    if at is not None and not (isinstance(at, str) and not at.strip()):
        time_facts, time_notes = _time_facts(at, place, home, now, domain.region if domain else None)
        notes += time_notes
    return Context.model_validate(
        time_facts
        | {
            "place": mask_place(place, privacy, names) if place else None,
            "wish": mask(_clean_wish(wish), privacy, names),
            "extra": mask_facts(_clean_extra(extra or {}), privacy, names),
            "notes": notes,
        }
    )


def _find(text: str, domain: Domain | None) -> Place:
    return find_place(text, domain.locality, domain.country) if domain else find_place(text)


def in_country(domain: Domain, country: str | None) -> Domain:
    """Return the domain with another country for bare postal codes and cities.

    Args:
        country: Name or ISO code. None or empty: the domain's own.

    Raises:
        ContextError: There is no such country.
    """
    if not country:
        return domain
    return domain.model_copy(update={"country": require_country(country).code})


def part_of_day(hour: int) -> str:
    """Return the part of the day of an hour (0-23), such as "night"."""
    return next(name for first, name in PARTS_OF_DAY if hour >= first)


def season(day: dt.date, latitude: float) -> str:
    """Return the meteorological season (whole months) at a latitude in degrees."""
    quarter = day.month % 12 // 3
    return NORTHERN_SEASONS[quarter if latitude >= 0 else (quarter + 2) % 4]


def _time_facts(
    at: str | dt.datetime,
    place: Place | None,
    home: Place | None,
    now: dt.datetime | None,
    region: Place | None = None,
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the fields of a `Context` that follow from a time, and what was assumed."""
    known = [spot for spot in (place, home, region) if spot]
    latitude = next((spot.latitude for spot in known if spot.latitude is not None), None)
    zoned = next((spot for spot in known if spot.timezone), None)
    moment = parse_time(at, _zone(zoned), now)
    from_home = zoned is not None and zoned is home and zoned is not place
    notes = ("time zone taken from the user's home",) if from_home else ()
    weekday = WEEKDAYS[moment.time.weekday()]
    facts: dict[str, object] = {
        "time": moment.time,
        "hour": moment.time.hour if moment.precision == "time" else None,
        "part_of_day": None if moment.precision == "day" else part_of_day(moment.time.hour),
        "weekday": weekday,
        "weekend": weekday in WEEKEND,
        "season": None if latitude is None else season(moment.time.date(), latitude),
    }
    return facts, notes + moment.notes


def _zone(place: Place | None) -> ZoneInfo | None:
    if place is None or place.timezone is None:
        return None
    try:
        return ZoneInfo(place.timezone)
    except (KeyError, ValueError, OSError) as error:  # unknown, malformed, or the name of a folder
        raise ContextError(
            f"{place.timezone!r} is not a time zone", hint='use an IANA name such as "America/Chicago"'
        ) from error


def one_line(text: str) -> str:
    """Return a text as one line of visible characters, with single spaces."""
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return " ".join(visible(spaced).split())


def _clean_wish(wish: str) -> str:
    wish = one_line(wish)
    if len(wish) > MAX_WISH:
        raise ContextError(
            f"the wish has {len(wish)} characters", hint=f"shorten it to at most {MAX_WISH} characters"
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
        clean[name] = one_line(value)
        if not 0 < len(clean[name]) <= MAX_FACT:
            raise ContextError(
                f"the fact {name!r} has {len(clean[name])} characters",
                hint=f"write 1 to {MAX_FACT} characters",
            )
    return clean
