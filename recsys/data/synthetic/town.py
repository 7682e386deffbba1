"""A generated town: places, residents and visits whose truth is known. All of it is invented.

A resident who goes out at some moment, from some point, in some weather, chooses among the
open places not yet visited with probability softmax(utility), where utility (nats) is

    taste(category) + price taste * price + hour(category, time of day) + weekend(category)
    + weather(setting) - PER_KM * distance + quality

and a closed place is impossible. Nothing else has any effect, so `Town.optimum` is the best
that any recommender can do. `domains/places/README.md` describes how the parts are drawn.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from recsys.context.geo import DAY, WEEK, distance_km, minute_of_week, parse_hours
from recsys.data.synthetic.town_facts import (
    AREAS,
    CATEGORIES,
    CENTRE,
    FIRST_DAY,
    HOUSEHOLDS,
    NAMES,
    OUTDOOR_EFFECT,
    PRICES,
    STARTS,
    TIMEZONE,
    WEATHER,
    WEATHER_CHANGE,
    Category,
)
from recsys.types import Context
from recsys.utils.files import staged_folder

SEED = 7
RESIDENTS = 300
DAYS = 182
VISITS = (28, 52)  # of a resident: fewest, most
PER_KM = 0.8
TASTE = 1.1  # deviation of a resident's own taste for a category
QUALITY = 0.5  # deviation of a place's quality

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TownPlace:
    """One place of the town; price from 0 (free) to 3."""

    id: str
    title: str
    category: Category
    price: int
    area: str
    point: tuple[float, float]
    hours: str


@dataclass(frozen=True)
class Resident:
    """One person; `start` and `work` are points in degrees."""

    id: str
    age: int
    household: str
    home: tuple[float, float]
    work: tuple[float, float]


@dataclass(frozen=True)
class Visit:
    """A resident (number) went from `start` to a place (number) at a local time, in some weather."""

    resident: int
    place: int
    time: dt.datetime
    start: tuple[float, float]
    weather: str


class Town:
    """The town of a seed: the same one on every call."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = np.random.default_rng(seed)
        self.places = self._make_places()
        self.residents = self._make_residents()
        self._number = {resident.id: number for number, resident in enumerate(self.residents)}
        self._row = {place.id: row for row, place in enumerate(self.places)}
        categories = list(CATEGORIES)
        self._category = np.array([categories.index(place.category) for place in self.places])
        self._outdoor = np.array([place.category.outdoor for place in self.places], dtype=float)
        self._points = np.array([place.point for place in self.places])
        self._open = np.zeros((WEEK, len(self.places)), dtype=bool)
        for row, place in enumerate(self.places):
            for first, last in parse_hours(place.hours).spans:
                self._open[first:last, row] = True
        self._hour = np.array([_by_minute(category) for category in categories])  # (categories, minutes)
        self._weekend = np.array([category.weekend for category in categories])
        self._fixed = self._make_taste()
        self.visits = self._make_visits()

    def optimum(self, resident: str, context: Context, visited: Collection[str] = ()) -> dict[str, float]:
        """log p of every place for a resident's next visit in this situation, -inf where it cannot be.

        What the context does not say has no effect. Raises KeyError for an unknown resident.
        """
        minute, here = minute_of_week(context), context.place
        known = here is not None and here.latitude is not None and here.longitude is not None
        utility = self._utility(
            np.array([self._number[resident]]),
            np.array([-1 if minute is None else minute]),
            np.array(
                [[here.latitude, here.longitude]] if known and here else [[np.nan, np.nan]], dtype=float
            ),
            np.array([list(WEATHER).index(weather)])
            if (weather := context.extra.get("weather")) in WEATHER
            else np.array([-1]),
        )[0]
        utility[[self._row[place] for place in visited if place in self._row]] = -np.inf
        peak = utility.max()
        total = peak + np.log(np.exp(utility - peak).sum()) if np.isfinite(peak) else 0.0
        return {place.id: float(utility[row] - total) for row, place in enumerate(self.places)}

    def write(self, folder: Path) -> None:
        """places.csv, residents.csv and visits.csv."""
        _write(
            folder / "places.csv",
            ("id", "title", "category", "setting", "price", "area", "latitude", "longitude", "hours"),
            (
                (
                    place.id,
                    place.title,
                    place.category.name,
                    "outdoor" if place.category.outdoor else "indoor",
                    PRICES[place.price],
                    place.area,
                    *place.point,
                    place.hours,
                )
                for place in self.places
            ),
        )
        _write(
            folder / "residents.csv",
            ("id", "age", "household", "home"),
            ((one.id, one.age, one.household, _written(one.home)) for one in self.residents),
        )
        _write(
            folder / "visits.csv",
            ("resident", "place", "time", "start", "weather"),
            (
                (
                    self.residents[visit.resident].id,
                    self.places[visit.place].id,
                    round(visit.time.timestamp()),
                    _written(visit.start),
                    visit.weather,
                )
                for visit in self.visits
            ),
        )

    def _make_places(self) -> list[TownPlace]:
        random, made = self._random, []
        names = {kind: [str(one) for one in random.permutation(words)] for kind, words in NAMES.items()}
        areas = list(AREAS)
        for category in CATEGORIES:
            for number in range(category.count):
                area = areas[random.choice(len(areas), p=[AREAS[name][1] for name in areas])]
                first = names[category.words][number % len(names[category.words])]
                title = category.titles[int(random.integers(len(category.titles)))].format(first, area)
                made.append(
                    (
                        title,
                        category,
                        int(random.choice(category.prices)),
                        area,
                        self._point_near(AREAS[area][0]),
                        str(random.choice(category.hours)),
                    )
                )
        order = random.permutation(len(made))
        titles: set[str] = set()
        places = []
        for number, (title, category, price, area, point, hours) in enumerate(made[row] for row in order):
            unique = title if title not in titles else f"{title} at {area}"
            while unique in titles:
                unique = f"{unique} II"
            titles.add(unique)
            places.append(TownPlace(f"p{number + 1:03}", unique, category, price, area, point, hours))
        return places

    def _make_residents(self) -> list[Resident]:
        random, areas, kinds = self._random, list(AREAS), list(HOUSEHOLDS)
        made = []
        for number in range(RESIDENTS):
            household = kinds[random.choice(len(kinds), p=[HOUSEHOLDS[kind].share for kind in kinds])]
            youngest, oldest = HOUSEHOLDS[household].ages
            home, work = (AREAS[areas[place]][0] for place in random.integers(len(areas), size=2))
            made.append(
                Resident(
                    f"r{number + 1:03}",
                    int(random.integers(youngest, oldest + 1)),
                    household,
                    self._point_near(home),
                    self._point_near(work),
                )
            )
        return made

    def _make_taste(self) -> Array:
        """What of a utility depends on neither time nor point: (residents, places)."""
        random, categories = self._random, CATEGORIES
        own = random.normal(0, TASTE, (RESIDENTS, len(categories)))
        shared = np.array(
            [
                [HOUSEHOLDS[resident.household].tastes.get(category.name, 0.0) for category in categories]
                for resident in self.residents
            ]
        )
        prices = np.array([place.price for place in self.places], dtype=float)
        thrift = random.normal([HOUSEHOLDS[one.household].price for one in self.residents], 0.25)
        quality = random.normal(0, QUALITY, len(self.places))
        fixed: Array = (own + shared)[:, self._category] + thrift[:, None] * prices + quality
        return fixed

    def _make_visits(self) -> list[Visit]:
        """Each resident's visits, each to a place that is new to them, oldest first."""
        random, zone = self._random, ZoneInfo(TIMEZONE)
        counts = random.integers(VISITS[0], VISITS[1] + 1, RESIDENTS)
        weather = self._make_weather()
        moments = [np.sort(self._moments(int(count))) for count in counts]
        visited = np.zeros((RESIDENTS, len(self.places)), dtype=bool)
        visits = []
        for step in range(counts.max()):
            who = np.flatnonzero(counts > step)
            minute = np.array([moments[one][step] for one in who])
            start = np.array(
                [self._start(self.residents[one], int(at)) for one, at in zip(who, minute, strict=True)]
            )
            sky = weather[minute // (DAY // 4)]
            utility = self._utility(who, (minute + FIRST_DAY.weekday() * DAY) % WEEK, start, sky)
            utility[visited[who]] = -np.inf
            chosen = np.argmax(utility + random.gumbel(size=utility.shape), axis=1)
            visited[who, chosen] = True
            visits += [
                Visit(
                    int(one),
                    int(place),
                    (FIRST_DAY + dt.timedelta(minutes=int(at))).replace(tzinfo=zone),
                    (float(point[0]), float(point[1])),
                    list(WEATHER)[sky_now],
                )
                for one, place, at, point, sky_now in zip(who, chosen, minute, start, sky, strict=True)
            ]
        return sorted(visits, key=lambda visit: (visit.time, visit.resident))

    def _utility(self, residents: Rows, minute: Rows, start: Array, weather: Rows) -> Array:
        """(n, places) for n situations; minute of the week and weather -1, points NaN where unknown."""
        far = distance_km(start[:, :1], start[:, 1:], self._points[:, 0], self._points[:, 1])
        utility: Array = self._fixed[residents] - PER_KM * np.nan_to_num(far)
        sky = np.where(weather < 0, 0.0, np.array(OUTDOOR_EFFECT)[weather])
        utility = utility + sky[:, None] * self._outdoor
        timed = minute >= 0
        weekend = minute >= 5 * DAY
        timely = self._hour[self._category][:, minute % DAY].T + np.outer(
            weekend, self._weekend[self._category]
        )
        utility[timed] += timely[timed]
        utility[timed] = np.where(self._open[minute[timed]], utility[timed], -np.inf)
        return utility

    def _moments(self, count: int) -> Rows:
        """Minutes since the first day's midnight, at most one every two hours, none with everything closed."""
        random = self._random
        day = random.choice(DAYS, size=count, replace=False)
        weekend = (day + FIRST_DAY.weekday()) % 7 >= 5
        centres, spread, weights = (np.array(column, dtype=float) for column in zip(*STARTS, strict=True))
        kind = np.where(
            weekend,
            random.choice(len(STARTS), size=count, p=weights[::-1] / weights.sum()),
            random.choice(len(STARTS), size=count, p=weights / weights.sum()),
        )
        hour = np.clip(random.normal(centres[kind], spread[kind]), 6.5, 23.9)
        minutes: Rows = (day * DAY + np.round(hour * 12) * 5).astype(np.int64)
        return minutes

    def _start(self, resident: Resident, minute: int) -> tuple[float, float]:
        """From home, on working days until the evening also from work, else from somewhere in town."""
        weekday = (minute // DAY + FIRST_DAY.weekday()) % 7 < 5
        chance = self._random.random()
        if weekday and 9 * 60 <= minute % DAY < 18 * 60 and chance < 0.6:
            return resident.work
        if chance < 0.75:
            return resident.home
        areas = [point for point, _ in AREAS.values()]
        return self._point_near(areas[int(self._random.integers(len(areas)))])

    def _make_weather(self) -> Rows:
        """Of every quarter of every day: mostly what it was before."""
        random, shares = self._random, list(WEATHER.values())
        draws = random.choice(len(WEATHER), size=4 * DAYS, p=shares)
        changes = random.random(4 * DAYS) < WEATHER_CHANGE
        changes[0] = True
        last = np.maximum.accumulate(np.where(changes, np.arange(4 * DAYS), 0))
        weather: Rows = draws[last].astype(np.int64)
        return weather

    def _point_near(self, centre: tuple[float, float]) -> tuple[float, float]:
        """A point some 400 m from a centre, to the 11 m that four decimals tell."""
        north, east = self._random.normal(0, 0.4, 2) / 111.2
        wide = np.cos(np.radians(CENTRE[0]))
        return round(centre[0] + float(north), 4), round(centre[1] + float(east / wide), 4)


@lru_cache(maxsize=1)
def town() -> Town:
    """The shipped town, made once per process."""
    return Town()


def files(folder: Path) -> Path:
    """The folder, under `folder`, that holds the town's files; they are made where it is missing.

    Its name bears the hash of the generator, so that a changed one makes new files; it appears whole.
    """
    here = Path(__file__)
    code = b"".join(path.read_bytes() for path in (here, here.with_name("town_facts.py")))
    made = folder / f"town-{hashlib.sha256(code).hexdigest()[:12]}"
    if not made.is_dir():
        with staged_folder(made) as new:
            town().write(new)
            try:
                os.rename(new, made)
            except OSError:
                if not made.is_dir():  # no other process was faster: a real failure
                    raise
    return made


def _by_minute(category: Category) -> Array:
    """What the time of day adds to a category, for each minute of a day: the highest of its bumps."""
    minutes = np.arange(DAY) / 60
    bumps = [
        height * np.exp(-0.5 * (((minutes - hour + 12) % 24 - 12) / width) ** 2)
        for hour, width, height in category.peaks
    ]
    found: Array = np.max(bumps, axis=0)
    return found


def _written(point: tuple[float, float]) -> str:
    return f"{point[0]}, {point[1]}"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
