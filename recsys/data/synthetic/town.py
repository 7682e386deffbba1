"""A generated town whose true preferences are known. All of it is invented.

A resident who goes out at some moment, from some point, in some weather, chooses among the
open places not yet visited with probability softmax(utility), where the utility (nats) is

    taste(category) + price taste * price + hour(category, time of day) + weekend(category)
    + weather(setting) - PER_KM * distance + quality

and a closed place is impossible. Nothing else has an effect, so no recommender can beat
`Town.optimum`. `domains/places/README.md` describes how the parts are sampled.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from recsys.context.geo import DAY, WEEK, distance_km, minute_of_week, parse_hours
from recsys.data.synthetic.tables import made_once
from recsys.data.synthetic.town_facts import FACTS, FILE, Category, Point
from recsys.types import Context

SEED = 7
RESIDENTS = 300
DAYS = 182
VISITS = (28, 52)  # of a resident: fewest, most
PER_KM = 0.8
TASTE = 1.1  # standard deviation of a resident's own taste for a category
QUALITY = 0.5  # standard deviation of the quality of places

FIRST_DAY = dt.datetime.combine(FACTS.first_day, dt.time())
WEATHER = list(FACTS.weather)

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TownPlace:
    """One place of the town."""

    id: str
    title: str
    category: Category
    price: int  # from 0 (free) to 3
    area: str
    point: Point
    hours: str


@dataclass(frozen=True)
class Resident:
    """One person who lives in the town."""

    id: str
    age: int
    household: str
    home: Point
    work: Point


@dataclass(frozen=True)
class Visit:
    """A resident went to a place."""

    resident: int  # index in `Town.residents`
    place: int  # index in `Town.places`
    time: dt.datetime  # local
    start: Point  # where the resident came from
    weather: str


class Town:
    """The town of a seed."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = np.random.default_rng(seed)
        self.places = self._sample_places()
        self.residents = self._sample_residents()
        self._resident_index = {resident.id: index for index, resident in enumerate(self.residents)}
        self._place_index = {place.id: index for index, place in enumerate(self.places)}
        categories = FACTS.categories
        self._category = np.array([categories.index(place.category) for place in self.places])
        self._outdoor = np.array([place.category.outdoor for place in self.places], dtype=float)
        self._points = np.array([place.point for place in self.places])
        self._open = np.zeros((WEEK, len(self.places)), dtype=bool)
        for row, place in enumerate(self.places):
            for first, last in parse_hours(place.hours).spans:
                self._open[first:last, row] = True
        self._time_effect = np.array([_time_effect(category) for category in categories])  # (c, minutes)
        self._weekend = np.array([category.weekend for category in categories])
        self._constant = self._sample_constant_utility()
        self.visits = self._sample_visits()

    def optimum(self, resident: str, context: Context, visited: Collection[str] = ()) -> dict[str, float]:
        """Return each place's true log p of the next visit; -inf where impossible.

        What the context does not say has no effect.

        Args:
            resident: Id of the resident.
            context: Time, place and `extra["weather"]`.
            visited: Ids of places that are excluded.

        Raises:
            KeyError: The resident does not exist.
        """
        minute, start = minute_of_week(context), context.place
        point = [start.latitude, start.longitude] if start else [None, None]
        weather = context.extra.get("weather", "")
        utility = self._utility(
            np.array([self._resident_index[resident]]),
            np.array([-1 if minute is None else minute]),
            np.array([[np.nan, np.nan] if None in point else point], dtype=float),
            np.array([WEATHER.index(weather) if weather in WEATHER else -1]),
        )[0]
        utility[[self._place_index[place] for place in visited if place in self._place_index]] = -np.inf
        peak = utility.max()
        total = peak + np.log(np.exp(utility - peak).sum()) if np.isfinite(peak) else 0.0
        return {place.id: float(utility[index] - total) for index, place in enumerate(self.places)}

    def write(self, folder: Path) -> None:
        """Write places.csv, residents.csv and visits.csv."""
        _write(
            folder / "places.csv",
            ("id", "title", "category", "setting", "price", "area", "latitude", "longitude", "hours"),
            (
                (
                    place.id,
                    place.title,
                    place.category.name,
                    "outdoor" if place.category.outdoor else "indoor",
                    FACTS.prices[place.price],
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
            (
                (resident.id, resident.age, resident.household, _format(resident.home))
                for resident in self.residents
            ),
        )
        _write(
            folder / "visits.csv",
            ("resident", "place", "time", "start", "weather"),
            (
                (
                    self.residents[visit.resident].id,
                    self.places[visit.place].id,
                    round(visit.time.timestamp()),
                    _format(visit.start),
                    visit.weather,
                )
                for visit in self.visits
            ),
        )

    def _sample_places(self) -> list[TownPlace]:
        random, drafts = self._random, []
        names = {kind: list(map(str, random.permutation(words))) for kind, words in FACTS.names.items()}
        areas, shares = list(FACTS.areas), [part.share for part in FACTS.areas.values()]
        for category in FACTS.categories:
            for number in range(category.count):
                area = areas[random.choice(len(areas), p=shares)]
                name = names[category.words][number % len(names[category.words])]
                title = category.titles[int(random.integers(len(category.titles)))].format(name, area)
                price = int(random.choice(category.prices))
                point = self._point_near(FACTS.areas[area].centre)
                hours = str(random.choice(category.hours))
                drafts.append(TownPlace("", title, category, price, area, point, hours))
        titles: set[str] = set()
        places = []
        for number, draft in enumerate(drafts[index] for index in random.permutation(len(drafts))):
            title = draft.title if draft.title not in titles else f"{draft.title} at {draft.area}"
            while title in titles:
                title = f"{title} II"
            titles.add(title)
            places.append(dataclasses.replace(draft, id=f"p{number + 1:03}", title=title))
        return places

    def _sample_residents(self) -> list[Resident]:
        random, kinds = self._random, list(FACTS.households)
        shares = [household.share for household in FACTS.households.values()]
        centres = [area.centre for area in FACTS.areas.values()]
        residents = []
        for number in range(RESIDENTS):
            kind = kinds[random.choice(len(kinds), p=shares)]
            youngest, oldest = FACTS.households[kind].ages
            home, work = (centres[index] for index in random.integers(len(centres), size=2))
            age = int(random.integers(youngest, oldest + 1))
            points = self._point_near(home), self._point_near(work)
            residents.append(Resident(f"r{number + 1:03}", age, kind, *points))
        return residents

    def _sample_constant_utility(self) -> Array:
        """Sample the utility without time, point and weather: (residents, places)."""
        random = self._random
        households = [FACTS.households[resident.household] for resident in self.residents]
        own = random.normal(0, TASTE, (RESIDENTS, len(FACTS.categories)))
        shared = np.array(
            [
                [household.tastes.get(category.name, 0.0) for category in FACTS.categories]
                for household in households
            ]
        )
        prices = np.array([place.price for place in self.places], dtype=float)
        price_taste = random.normal([household.price for household in households], 0.25)
        quality = random.normal(0, QUALITY, len(self.places))
        utility: Array = (own + shared)[:, self._category] + price_taste[:, None] * prices + quality
        return utility

    def _sample_visits(self) -> list[Visit]:
        """Sample each resident's visits, each to a new place; oldest first."""
        random, zone = self._random, ZoneInfo(FACTS.timezone)
        counts = random.integers(VISITS[0], VISITS[1] + 1, RESIDENTS)
        weather_of_quarter = self._sample_weather()
        minutes = [np.sort(self._sample_minutes(int(count))) for count in counts]
        visited = np.zeros((RESIDENTS, len(self.places)), dtype=bool)
        visits = []
        for step in range(counts.max()):
            residents = np.flatnonzero(counts > step)
            minute = np.array([minutes[resident][step] for resident in residents])
            start = np.array(
                [
                    self._sample_start(self.residents[resident], int(at))
                    for resident, at in zip(residents, minute, strict=True)
                ]
            )
            weather = weather_of_quarter[minute // (DAY // 4)]
            utility = self._utility(residents, (minute + FIRST_DAY.weekday() * DAY) % WEEK, start, weather)
            utility[visited[residents]] = -np.inf
            chosen = np.argmax(utility + random.gumbel(size=utility.shape), axis=1)
            visited[residents, chosen] = True
            visits += [
                Visit(
                    int(resident),
                    int(place),
                    (FIRST_DAY + dt.timedelta(minutes=int(at))).replace(tzinfo=zone),
                    (float(point[0]), float(point[1])),
                    WEATHER[kind],
                )
                for resident, place, at, point, kind in zip(
                    residents, chosen, minute, start, weather, strict=True
                )
            ]
        return sorted(visits, key=lambda visit: (visit.time, visit.resident))

    def _utility(self, residents: Rows, minute: Rows, start: Array, weather: Rows) -> Array:
        """Return the utility of every place in n situations, shape (n, places).

        Unknown are minute of the week and weather where they are -1, points where they are NaN.
        """
        distance = distance_km(start[:, :1], start[:, 1:], self._points[:, 0], self._points[:, 1])
        utility: Array = self._constant[residents] - PER_KM * np.nan_to_num(distance)
        outdoor_effect = np.array([kind.outdoor for kind in FACTS.weather.values()])
        weather_effect = np.where(weather < 0, 0.0, outdoor_effect[weather])
        utility = utility + weather_effect[:, None] * self._outdoor
        timed = minute >= 0
        weekend = minute >= 5 * DAY
        time_effect = self._time_effect[self._category][:, minute % DAY].T + np.outer(
            weekend, self._weekend[self._category]
        )
        utility[timed] += time_effect[timed]
        utility[timed] = np.where(self._open[minute[timed]], utility[timed], -np.inf)
        return utility

    def _sample_minutes(self, count: int) -> Rows:
        """Sample departures in minutes since the first midnight, at most one a day."""
        random = self._random
        day = random.choice(DAYS, size=count, replace=False)
        weekend = (day + FIRST_DAY.weekday()) % 7 >= 5
        mean = np.array([departure.hour for departure in FACTS.departures])
        spread = np.array([departure.spread for departure in FACTS.departures])
        weights = np.array([departure.weight for departure in FACTS.departures])
        kind = np.where(
            weekend,
            random.choice(len(weights), size=count, p=weights[::-1] / weights.sum()),
            random.choice(len(weights), size=count, p=weights / weights.sum()),
        )
        hour = np.clip(random.normal(mean[kind], spread[kind]), 6.5, 23.9)
        minutes: Rows = (day * DAY + np.round(hour * 12) * 5).astype(np.int64)
        return minutes

    def _sample_start(self, resident: Resident, minute: int) -> Point:
        """Sample a resident's start: home, work in working hours, or anywhere."""
        weekday = (minute // DAY + FIRST_DAY.weekday()) % 7 < 5
        chance = self._random.random()
        if weekday and 9 * 60 <= minute % DAY < 18 * 60 and chance < 0.6:
            return resident.work
        if chance < 0.75:
            return resident.home
        centres = [area.centre for area in FACTS.areas.values()]
        return self._point_near(centres[int(self._random.integers(len(centres)))])

    def _sample_weather(self) -> Rows:
        """Sample the weather of each quarter of a day, mostly that of the last one."""
        random, shares = self._random, [kind.share for kind in FACTS.weather.values()]
        draws = random.choice(len(WEATHER), size=4 * DAYS, p=shares)
        changes = random.random(4 * DAYS) < FACTS.weather_change
        changes[0] = True
        last = np.maximum.accumulate(np.where(changes, np.arange(4 * DAYS), 0))
        weather: Rows = draws[last].astype(np.int64)
        return weather

    def _point_near(self, centre: Point) -> Point:
        """Sample a point about 400 m from a centre, rounded to four decimals (11 m)."""
        north, east = self._random.normal(0, 0.4, 2) / 111.2  # km to degrees of latitude
        narrowing = np.cos(np.radians(FACTS.centre[0]))
        return round(centre[0] + float(north), 4), round(centre[1] + float(east / narrowing), 4)


@lru_cache(maxsize=1)
def town() -> Town:
    """Return the shipped town, generated once per process."""
    return Town()


def files(folder: Path) -> Path:
    """Return the town's folder inside `folder`; write its files if it is missing."""
    here = Path(__file__)
    makers = (here, here.with_name("town_facts.py"), FILE)
    return made_once(folder, "town", makers, lambda new: town().write(new))


def _time_effect(category: Category) -> Array:
    """Return a category's time effect per minute of a day: its highest bump."""
    minutes = np.arange(DAY) / 60
    bumps = [
        height * np.exp(-0.5 * (((minutes - hour + 12) % 24 - 12) / width) ** 2)
        for hour, width, height in category.peaks
    ]
    effect: Array = np.max(bumps, axis=0)
    return effect


def _format(point: Point) -> str:
    return f"{point[0]}, {point[1]}"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
