"""What the generated town is made of, read from `town.toml`. Effects are in nats."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from recsys.types import StrictModel

FILE = Path(__file__).with_name("town.toml")

Point = tuple[float, float]
"""Latitude and longitude in degrees."""


class Area(StrictModel):
    """A part of the town."""

    centre: Point
    share: float  # of the places


class Weather(StrictModel):
    """A kind of weather."""

    share: float  # of the time
    outdoor: float  # effect on outdoor places


class Departure(StrictModel):
    """An hour around which residents go out."""

    hour: float  # mean
    spread: float  # standard deviation in hours
    weight: float  # on working days


class Household(StrictModel):
    """A kind of resident."""

    share: float  # of the residents
    ages: tuple[int, int]  # youngest, oldest
    price: float  # mean effect of a price step
    tastes: Mapping[str, float]  # category -> effect, added to the resident's own taste


class Category(StrictModel):
    """A kind of place."""

    name: str
    count: int
    hours: tuple[str, ...]  # opening hours, of which each place has one
    peaks: tuple[tuple[float, float, float], ...]  # hour, width in hours, effect
    titles: tuple[str, ...]  # patterns of a name {0} and an area {1}
    words: str = "owner"  # which `names` are used
    prices: tuple[int, ...] = (1, 2)
    weekend: float = 0.0  # effect
    outdoor: bool = False


class TownFacts(StrictModel):
    """The contents of `town.toml`."""

    name: str
    timezone: str
    centre: Point
    first_day: dt.date
    prices: tuple[str, ...]  # labels from 0 on
    weather_change: float  # probability that a quarter of a day has its own weather
    departures: tuple[Departure, ...]
    weather: dict[str, Weather]
    areas: dict[str, Area]
    households: dict[str, Household]
    names: dict[str, tuple[str, ...]]  # kind -> invented names
    categories: tuple[Category, ...] = Field(min_length=1)


FACTS = TownFacts.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))
