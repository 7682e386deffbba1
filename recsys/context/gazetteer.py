"""A place as a person types it, as a `Place`. Works offline and guesses nothing.

United States: the zip code table of the `zipcodes` package, indexed once per process.
Elsewhere: `recsys.context.world`.
Canada: the province that the first letter of a postal code stands for.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys.config import Locality
from recsys.context.world import (
    US,
    Country,
    countries_with,
    find_city,
    find_country,
    from_postal_code,
    require_country,
)
from recsys.errors import ContextError
from recsys.types import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CHARACTERS = 100
NEAR_KM = 50.0  # coordinates this close to the centre of a zip code get its city

ACCEPTED = 'accepted: "55405", "Minneapolis, Minnesota", "44.97, -93.30" or a Canadian code such as "V3N 4P1"'

STATES = {
    "AL": "Alabama",
    "AK": "Alaska",
    "AS": "American Samoa",
    "AZ": "Arizona",
    "AR": "Arkansas",
    "CA": "California",
    "CO": "Colorado",
    "CT": "Connecticut",
    "DE": "Delaware",
    "DC": "District of Columbia",
    "FL": "Florida",
    "GA": "Georgia",
    "GU": "Guam",
    "HI": "Hawaii",
    "ID": "Idaho",
    "IL": "Illinois",
    "IN": "Indiana",
    "IA": "Iowa",
    "KS": "Kansas",
    "KY": "Kentucky",
    "LA": "Louisiana",
    "ME": "Maine",
    "MD": "Maryland",
    "MA": "Massachusetts",
    "MI": "Michigan",
    "MN": "Minnesota",
    "MS": "Mississippi",
    "MO": "Missouri",
    "MT": "Montana",
    "NE": "Nebraska",
    "NV": "Nevada",
    "NH": "New Hampshire",
    "NJ": "New Jersey",
    "NM": "New Mexico",
    "NY": "New York",
    "NC": "North Carolina",
    "ND": "North Dakota",
    "MP": "Northern Mariana Islands",
    "OH": "Ohio",
    "OK": "Oklahoma",
    "OR": "Oregon",
    "PA": "Pennsylvania",
    "PR": "Puerto Rico",
    "RI": "Rhode Island",
    "SC": "South Carolina",
    "SD": "South Dakota",
    "TN": "Tennessee",
    "TX": "Texas",
    "VI": "U.S. Virgin Islands",
    "UT": "Utah",
    "VT": "Vermont",
    "VA": "Virginia",
    "WA": "Washington",
    "WV": "West Virginia",
    "WI": "Wisconsin",
    "WY": "Wyoming",
}
# Served by the U.S. mail, but countries of their own.
COUNTRIES = {"FM": "Micronesia", "MH": "Marshall Islands", "PW": "Palau"}
# Military mail: the code says which forces, not where they are.
ARMED_FORCES = {
    "AA": "Armed Forces Americas",
    "AE": "Armed Forces Europe",
    "AP": "Armed Forces Pacific",
}
MAIL_STOPS = {"Apo", "Fpo", "Dpo"}  # in the city column, but not cities

# First letter -> province; X is shared by the Northwest Territories and Nunavut, so it names neither.
PROVINCES: dict[str, str | None] = {
    "A": "Newfoundland and Labrador",
    "B": "Nova Scotia",
    "C": "Prince Edward Island",
    "E": "New Brunswick",
    **dict.fromkeys("GHJ", "Quebec"),
    **dict.fromkeys("KLMNP", "Ontario"),
    "R": "Manitoba",
    "S": "Saskatchewan",
    "T": "Alberta",
    "V": "British Columbia",
    "X": None,
    "Y": "Yukon",
}
# Provinces within one time zone; the others need more than a first letter.
PROVINCE_ZONES = {
    "Alberta": "America/Edmonton",
    "Manitoba": "America/Winnipeg",
    "New Brunswick": "America/Moncton",
    "Nova Scotia": "America/Halifax",
    "Prince Edward Island": "America/Halifax",
    "Yukon": "America/Whitehorse",
}

_ZIP = re.compile(r"(\d{5})(?:-?\d{4})?", re.ASCII)
_COORDINATES = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*,\s*([+-]?\d+(?:\.\d+)?)", re.ASCII)
_CANADIAN = re.compile(r"([A-Z]\d[A-Z])[ -]?(\d(?:[A-Z]\d?)?)?", re.ASCII)
_IN_USA = re.compile(r"(?:,\s*|\s+)(?:u\.?s\.?a\.?|united states(?: of america)?)$", re.IGNORECASE)
_LONG_FORMS = {"st": "saint", "ft": "fort", "mt": "mount"}


def find_place(text: str, locality: Locality | None = None, country: str | None = US) -> Place:
    """Find the place that `text` names.

    Args:
        text: A city ("Minneapolis, Minnesota", "Lyon, France", "Zürich"), a postal code ("55405",
            "75001, France"), or "latitude, longitude" in degrees. Coordinates get city and zone of
            a US zip code within 50 km.
        locality: A town of the domain. Its areas are found first, by name or by coordinates,
            and become the city: "Old Quay, Fernmere".
        country: ISO code of the country that bare postal codes and cities are in; None: unknown,
            and then a postal code of several countries is an error.

    Raises:
        ContextError: The place is unknown, impossible (latitude 91) or ambiguous (a city of
            several states); the hint says what would work.
    """
    if locality is None:
        return _find_in_gazetteer(text, country)
    if place := _find_in_locality(text, locality):
        return place
    try:
        return _find_in_gazetteer(text, country)
    except ContextError as error:
        hint = f"{error.hint}; parts of {locality.name}: {', '.join(locality.areas)}"
        raise ContextError(error.message, hint=hint) from error


def _find_in_locality(text: str, locality: Locality) -> Place | None:
    name = " ".join(text.casefold().split()).removesuffix(f", {locality.name.casefold()}")
    point = next((centre for area, centre in locality.areas.items() if area.casefold() == name), None)
    if match := _COORDINATES.fullmatch(text.strip()):
        point = float(match[1]), float(match[2])
    if point is None or abs(point[0]) > 90 or abs(point[1]) > 180:
        return None
    from recsys.context.geo import distance_km  # here, because it needs numpy

    distances = {area: float(distance_km(*point, *centre)) for area, centre in locality.areas.items()}
    nearest = min(distances, key=distances.__getitem__)
    if distances[nearest] > locality.radius_km:
        return None
    return Place(
        city=f"{nearest}, {locality.name}",
        latitude=point[0],
        longitude=point[1],
        timezone=locality.timezone,
    )


def _find_in_gazetteer(text: str, country: str | None) -> Place:
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    if not text:
        raise ContextError("the place is empty", hint=ACCEPTED)
    if len(text) > MAX_CHARACTERS:
        raise ContextError(
            f"a place has at most {MAX_CHARACTERS} characters, this has {len(text)}", hint=ACCEPTED
        )
    if match := _COORDINATES.fullmatch(text):
        return _from_coordinates(float(match[1]), float(match[2]))
    if country == US:
        return _find_in_us(text)
    return _find_in_world(text, country)


def _find_in_us(text: str) -> Place:
    if match := _ZIP.fullmatch(text):
        return _from_zip(match[1])
    if (match := _CANADIAN.fullmatch(text.upper())) and match[1][0] in PROVINCES:
        return _from_canadian(match[1], match[2] or "")
    if place := _abroad(text):
        return place
    return _from_city(text)


def _find_in_world(text: str, country: str | None) -> Place:
    _, separator, tail = text.rpartition(",")
    if separator and (_state_code(tail) or _IN_USA.search(text)):
        return _find_in_us(text)
    if place := _abroad(text):
        return place
    where = require_country(country) if country else None
    if where is None and any(char.isdigit() for char in text) and (codes := countries_with(text)):
        return _from_code_of(text, codes)
    if where and where.postal_code and where.postal_code.fullmatch(text.upper()):
        return from_postal_code(text, where)
    return find_city(text, where)


def _abroad(text: str) -> Place | None:
    """Return the place of "Lyon, France" or "75001 FR"; None if it may be in the US."""
    name, separator, tail = text.rpartition(",")
    if separator and not _state_code(tail) and (country := find_country(tail)) and country.code != US:
        is_code = any(char.isdigit() for char in name)
        return from_postal_code(name, country) if is_code else find_city(name, country)
    if text.isascii():
        return None
    try:
        return find_city(text)  # no US city is written with an accent
    except ContextError:
        return None


def _from_code_of(text: str, codes: Sequence[Country]) -> Place:
    if len(codes) == 1:
        return _find_in_us(text) if codes[0].code == US else from_postal_code(text, codes[0])
    names = ", ".join(country.name for country in codes[:3])
    raise ContextError(
        f"{text!r} may be a postal code of {len(codes)} countries ({names} ...)",
        hint=f'write "{text}, {codes[0].name}", or give the country: --country {codes[0].code}',
    )


class _Row(NamedTuple):
    """One zip code; what the table does not have is None."""

    zip: str
    city: str
    aliases: tuple[str, ...]  # names that the mail accepts, such as neighbourhoods
    state: str  # two letters
    timezone: str | None
    point: tuple[float, float] | None  # latitude, longitude in degrees


_ByState = dict[str, list[_Row]]


@dataclass(frozen=True, slots=True)
class _Cities:
    """Zip codes by city and state; cities are keyed by `_city_key`."""

    named: dict[str, _ByState]
    aliases: dict[str, _ByState]
    spelling: dict[str, str]  # key -> name as written


@lru_cache(maxsize=1)
def _by_zip() -> dict[str, _Row]:
    import zipcodes

    read_table: Callable[[], list[dict[str, Any]]] = zipcodes.list_all  # the package has no types
    table: dict[str, _Row] = {}
    for raw in read_table():
        latitude, longitude, zone = float(raw["lat"]), float(raw["long"]), raw["timezone"]
        table[raw["zip_code"]] = _Row(
            zip=raw["zip_code"],
            city=raw["city"],
            aliases=tuple(raw["acceptable_cities"]),
            state=raw["state"],
            timezone=zone if "/" in zone else None,  # one row holds a village's name
            point=(latitude, longitude) if latitude or longitude else None,  # 0, 0 stands for unknown
        )
    return table


@lru_cache(maxsize=1)
def _mapped() -> list[_Row]:
    """Return the rows that are on the map: not those of bulk mail and military mail."""
    return [
        row
        for row in _by_zip().values()
        if row.point and row.state not in ARMED_FORCES and row.city not in MAIL_STOPS
    ]


@lru_cache(maxsize=1)
def _cities() -> _Cities:
    named: dict[str, _ByState] = defaultdict(lambda: defaultdict(list))
    aliases: dict[str, _ByState] = defaultdict(lambda: defaultdict(list))
    spelling: dict[str, str] = {}
    for row in _mapped():
        key = _city_key(row.city)
        named[key][row.state].append(row)
        spelling[key] = row.city
        for alias in row.aliases:
            key = _city_key(alias)
            aliases[key][row.state].append(row)
            spelling.setdefault(key, alias)
    return _Cities(dict(named), dict(aliases), spelling)


@lru_cache(maxsize=1)
def _centres() -> NDArray[np.float64]:
    """Return the centres of `_mapped()`: (rows, 2), latitude and longitude in radians."""
    import numpy as np

    return np.radians(np.array([row.point for row in _mapped()], dtype=np.float64))


def _from_zip(code: str) -> Place:
    row = _by_zip().get(code)
    if row is None:
        raise ContextError(f"no US zip code {code} is known", hint=ACCEPTED)
    if row.state in ARMED_FORCES:
        return Place(state=ARMED_FORCES[row.state], postal_code=code)
    latitude, longitude = row.point or (None, None)
    return Place(
        city=None if row.city in MAIL_STOPS else row.city,
        state=STATES.get(row.state),
        country=COUNTRIES.get(row.state, "United States"),
        postal_code=code,
        latitude=latitude,
        longitude=longitude,
        timezone=row.timezone,
    )


def _from_coordinates(latitude: float, longitude: float) -> Place:
    for name, degrees, limit in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if abs(degrees) > limit:
            raise ContextError(
                f"{name} {degrees:g} is not between -{limit} and {limit}",
                hint='write "latitude, longitude" in degrees',
            )
    nearest = _nearest(latitude, longitude)
    if nearest is None:
        return Place(latitude=latitude, longitude=longitude)
    return Place(
        city=nearest.city,
        state=STATES.get(nearest.state),
        country=COUNTRIES.get(nearest.state, "United States"),
        latitude=latitude,
        longitude=longitude,
        timezone=nearest.timezone,
    )


def _nearest(latitude: float, longitude: float) -> _Row | None:
    """Return the zip code with the nearest centre (haversine), None beyond NEAR_KM."""
    import numpy as np

    from recsys.context.geo import EARTH_RADIUS_KM

    centres = _centres()
    here = np.array([math.radians(latitude), math.radians(longitude)])
    half_sines = np.sin((centres - here) / 2) ** 2
    chords = half_sines[:, 0] + np.cos(centres[:, 0]) * math.cos(here[0]) * half_sines[:, 1]
    index = int(np.argmin(chords))
    distance = 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, float(chords[index]))))
    return _mapped()[index] if distance <= NEAR_KM else None


def _from_canadian(area: str, unit: str) -> Place:
    province = PROVINCES[area[0]]
    return Place(
        state=province,
        country="Canada",
        postal_code=f"{area} {unit}".strip(),
        timezone=PROVINCE_ZONES.get(province or ""),
    )


def _from_city(text: str) -> Place:
    city_text = _IN_USA.sub("", text) or text
    if "," in city_text:
        city, _, state_text = city_text.rpartition(",")
        state = _state_code(state_text)
        if state is None:
            raise ContextError(f"{state_text.strip()!r} is not a US state", hint=_state_hint(state_text))
        return _city_in_state(city, state)
    if by_state := _states_of(city_text):
        return _city_alone(city_text, by_state)
    words = city_text.split()
    for cut in range(1, len(words)):  # "Minneapolis MN", "Albany New York"
        city, state = " ".join(words[:cut]), _state_code(" ".join(words[cut:]))
        if state:
            return _city_in_state(city, state)
    raise ContextError(f"the place {text!r} is not known", hint=_city_hint(city_text, _cities().spelling))


def _city_in_state(city: str, state: str) -> Place:
    table, key = _cities(), _city_key(city)
    rows = table.named.get(key, {}).get(state) or table.aliases.get(key, {}).get(state)
    if rows:
        return _mean_place(key, state, rows)
    name = STATES.get(state) or COUNTRIES[state]
    if elsewhere := _states_of(city):
        hint = f"there is one in {_join_states(elsewhere)}"
    else:
        hint = _city_hint(city, (key for key, states in table.named.items() if state in states))
    raise ContextError(f"no city {city.strip()!r} is known in {name}", hint=hint)


def _city_alone(city: str, by_state: _ByState) -> Place:
    if len(by_state) > 1:
        raise ContextError(
            f"{city!r} is a city in {len(by_state)} states",
            hint=f'add the state, as in "{city}, {_state_names(by_state)[0]}": {_join_states(by_state)}',
        )
    [(state, rows)] = by_state.items()
    return _mean_place(_city_key(city), state, rows)


def _mean_place(key: str, state: str, rows: Sequence[_Row]) -> Place:
    """Return a city from its zip codes: mean centre, most common time zone."""
    points = [row.point for row in rows if row.point]
    zones = Counter(row.timezone for row in rows if row.timezone).most_common(1)
    name = rows[0].city
    return Place(
        city=name if _city_key(name) == key else _cities().spelling[key],
        state=STATES.get(state),
        country=COUNTRIES.get(state, "United States"),
        latitude=round(math.fsum(point[0] for point in points) / len(points), 4),
        longitude=round(math.fsum(point[1] for point in points) / len(points), 4),
        timezone=zones[0][0] if zones else None,
    )


def _states_of(city: str) -> _ByState:
    """Return a city's zip codes by state.

    An alias counts only where no city has the name.
    """
    table, key = _cities(), _city_key(city)
    return table.named.get(key) or table.aliases.get(key) or {}


@lru_cache(maxsize=32_768)  # the table repeats its names
def _city_key(name: str) -> str:
    """Return one key for "St. Paul" and "saint paul", for "O'Fallon" and "O Fallon"."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return "".join(_LONG_FORMS.get(word, word) for word in re.findall(r"[a-z0-9]+", plain))


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalpha())


_STATE_CODES = {
    _letters(spelled): code for code, name in (STATES | COUNTRIES).items() for spelled in (code, name)
}


def _state_code(text: str) -> str | None:
    """Return the two letters of "MN", "minnesota" or "D.C."; None for anything else."""
    return _STATE_CODES.get(_letters(text))


def _state_names(by_state: _ByState) -> list[str]:
    """Return the names of the states, by how many zip codes of the city they have."""
    codes = sorted(by_state, key=lambda code: (-len(by_state[code]), code))
    return [STATES.get(code) or COUNTRIES[code] for code in codes]


def _join_states(by_state: _ByState, limit: int = 5) -> str:
    names = _state_names(by_state)
    return ", ".join(names[:limit]) + (" ..." if len(names) > limit else "")


def _state_hint(text: str) -> str:
    names = list(STATES.values())
    close = get_close_matches(text.strip().title(), names, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else 'write a US state, as in "Minneapolis, Minnesota"'


def _city_hint(city: str, keys: Iterable[str]) -> str:
    """Suggest close matches with the same first letter, which keeps the search fast."""
    query = _city_key(city)
    same_letter = [key for key in keys if key[:1] == query[:1]]
    close = get_close_matches(query, same_letter, n=3, cutoff=0.8)
    spelling = _cities().spelling
    return f"did you mean {', '.join(spelling[key] for key in close)}? {ACCEPTED}" if close else ACCEPTED
