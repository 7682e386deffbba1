"""Distances on the sphere, and opening hours.

Hours are those of OpenStreetMap (https://wiki.openstreetmap.org/wiki/Key:opening_hours), of which
days and times are supported: "Mo-Fr 08:00-18:00; Sa,Su 10:00-16:00", "Fr,Sa 22:00-04:00", "24/7".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from recsys.types import Context, Site

EARTH_RADIUS_KM = 6371.0
DAY = 24 * 60  # minutes
WEEK = 7 * DAY  # minutes
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
HOURS_EXAMPLE = '"Mo-Fr 08:00-18:00; Sa,Su 10:00-16:00" or "24/7"'

_RULE = re.compile(
    r"(?:(?P<days>[A-Z][a-z](?:[-,][A-Z][a-z])*) )?(?P<times>\d\d:\d\d-\d\d:\d\d(?:,\d\d:\d\d-\d\d:\d\d)*)"
)

Degrees = float | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hours:
    """The opening hours of a week."""

    spans: tuple[tuple[int, int], ...]  # (from, to) in minutes since Monday 00:00: ascending, disjoint

    def open_at(self, minute: int) -> bool:
        """Return whether it is open at a minute of the week."""
        return any(first <= minute < last for first, last in self.spans)

    def opens_after(self, minute: int) -> int | None:
        """Return the minute of the week at which it opens next; None if it never does."""
        later = [first for first, _ in self.spans if first > minute]
        return next(iter(later or [first for first, _ in self.spans]), None)


@lru_cache(maxsize=4096)
def parse_hours(text: str) -> Hours:
    """Parse opening hours; a later rule adds to those before it. Raises ValueError."""
    spans: list[tuple[int, int]] = []
    always = text.strip() == "24/7"
    for rule in filter(None, map(str.strip, ("Mo-Su 00:00-24:00" if always else text).split(";"))):
        match = _RULE.fullmatch(rule)
        if match is None:
            raise ValueError(f"{rule!r} is not a rule of opening hours")
        for day in _days(match["days"] or "Mo-Su"):
            for times in match["times"].split(","):
                first, last = (_minute(clock) for clock in times.split("-"))
                length = (last - first) % DAY or DAY
                spans += _wrap_week(day * DAY + first, length)
    if not spans:
        raise ValueError("there are no opening hours")
    return Hours(tuple(_merge(sorted(spans))))


def hours_of(site: Site | None) -> Hours | None:
    """Return the opening hours of a site; None where they are unknown or malformed."""
    if site is None or not site.hours:
        return None
    try:
        return parse_hours(site.hours)
    except ValueError:
        return None


def minute_of_week(context: Context) -> int | None:
    """Return local minutes since Monday 00:00; None without a clock time."""
    if context.time is None or context.hour is None:
        return None
    return context.time.weekday() * DAY + context.time.hour * 60 + context.time.minute


def distance_km(
    latitude: Degrees, longitude: Degrees, latitudes: Degrees, longitudes: Degrees
) -> npt.NDArray[np.float64]:
    """Return haversine distances; inputs in degrees, broadcast, NaN stays NaN."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    phis, lams = np.radians(latitudes), np.radians(longitudes)
    half = np.sin((phis - phi) / 2) ** 2 + np.cos(phi) * np.cos(phis) * np.sin((lams - lam) / 2) ** 2
    distance: npt.NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
    return distance


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{part!r} is not a day or a range of days: {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        yield from ((start + step) % 7 for step in range((end - start) % 7 + 1))


def _minute(clock: str) -> int:
    hour, minute = int(clock[:2]), int(clock[3:])
    if hour * 60 + minute > DAY or minute > 59:
        raise ValueError(f"{clock} is not a time of day")
    return hour * 60 + minute


def _wrap_week(first: int, length: int) -> list[tuple[int, int]]:
    """Split a span that goes on after Sunday."""
    last = first + length
    return [(first, last)] if last <= WEEK else [(first, WEEK), (0, last - WEEK)]


def _merge(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first, last = spans[0]
    for start, end in spans[1:]:
        if start > last:
            yield first, last
            first, last = start, end
        last = max(last, end)
    yield first, last
