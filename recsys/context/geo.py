"""Where items are and when they are open: distance on the sphere, and opening hours.

Hours are written as in OpenStreetMap (https://wiki.openstreetmap.org/wiki/Key:opening_hours), of which
days and times are understood: "Mo-Fr 08:00-18:00; Sa,Su 10:00-16:00", "Fr,Sa 22:00-04:00", "24/7".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from recsys.context.gazetteer import EARTH_RADIUS_KM
from recsys.types import Context, Site

DAY = 24 * 60  # minutes
WEEK = 7 * DAY
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
EXAMPLE = '"Mo-Fr 08:00-18:00; Sa,Su 10:00-16:00" or "24/7"'

_RULE = re.compile(
    r"(?:(?P<days>[A-Z][a-z](?:[-,][A-Z][a-z])*) )?(?P<times>\d\d:\d\d-\d\d:\d\d(?:,\d\d:\d\d-\d\d:\d\d)*)"
)

Degrees = float | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of a week that it is open, in minutes from Monday 00:00: ascending, apart, none past its end."""

    spans: tuple[tuple[int, int], ...]

    def open_at(self, minute: int) -> bool:
        return any(first <= minute < last for first, last in self.spans)

    def opens_after(self, minute: int) -> int | None:
        """The minute of the week at which it opens next; None if it never does."""
        later = [first for first, _ in self.spans if first > minute]
        return next(iter(later or [first for first, _ in self.spans]), None)


@lru_cache(maxsize=4096)
def parse_hours(text: str) -> Hours:
    """Opening hours from their text. A later rule adds to those before it. Raises ValueError."""
    spans: list[tuple[int, int]] = []
    for rule in (
        ["Mo-Su 00:00-24:00"] if text.strip() == "24/7" else filter(None, map(str.strip, text.split(";")))
    ):
        match = _RULE.fullmatch(rule)
        if match is None:
            raise ValueError(f"{rule!r} is no rule of opening hours")
        for day in _days(match["days"] or "Mo-Su"):
            for times in match["times"].split(","):
                first, last = (_minute(clock) for clock in times.split("-"))
                length = (last - first) % DAY or DAY
                spans += _within_week(day * DAY + first, length)
    if not spans:
        raise ValueError("there are no opening hours")
    return Hours(tuple(_joined(sorted(spans))))


def hours_of(site: Site | None) -> Hours | None:
    """The opening hours of an item; None where they are unknown or cannot be read."""
    if site is None or not site.hours:
        return None
    try:
        return parse_hours(site.hours)
    except ValueError:
        return None


def minute_of_week(context: Context) -> int | None:
    """Local minutes since Monday 00:00; None where no clock time is known."""
    if context.time is None or context.hour is None:
        return None
    return context.time.weekday() * DAY + context.time.hour * 60 + context.time.minute


def distance_km(
    latitude: Degrees, longitude: Degrees, latitudes: Degrees, longitudes: Degrees
) -> npt.NDArray[np.float64]:
    """Distance on the sphere (haversine) from points to others, all in degrees, broadcast; NaN where one is NaN."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    phis, lams = np.radians(latitudes), np.radians(longitudes)
    half = np.sin((phis - phi) / 2) ** 2 + np.cos(phi) * np.cos(phis) * np.sin((lams - lam) / 2) ** 2
    distance: npt.NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
    return distance


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{part!r} are no days: {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        yield from ((start + step) % 7 for step in range((end - start) % 7 + 1))


def _minute(clock: str) -> int:
    hour, minute = int(clock[:2]), int(clock[3:])
    if hour * 60 + minute > DAY or minute > 59:
        raise ValueError(f"{clock} is no time of day")
    return hour * 60 + minute


def _within_week(first: int, length: int) -> list[tuple[int, int]]:
    """A span that may go on after Sunday, as spans that do not."""
    last = first + length
    return [(first, last)] if last <= WEEK else [(first, WEEK), (0, last - WEEK)]


def _joined(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first, last = spans[0]
    for start, end in spans[1:]:
        if start > last:
            yield first, last
            first, last = start, end
        last = max(last, end)
    yield first, last
