"""Text a person types for a place -> a `Place`. Offline; nothing is guessed.

United States: the zip code table of the `zipcodes` package, indexed once per process.
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

from recsys.errors import ContextError
from recsys.types import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TEXT = 100  # characters
NEAR_KM = 50.0  # a coordinate this close to a zip code's centre takes on its city
EARTH_RADIUS_KM = 6371.0

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
# The U.S. mail serves these too, but they are countries of their own.
COUNTRIES = {"FM": "Micronesia", "MH": "Marshall Islands", "PW": "Palau"}
# Military mail: the code says which forces, not where on the map they are.
ARMED_FORCES = {
    "AA": "Armed Forces Americas",
    "AE": "Armed Forces Europe",
    "AP": "Armed Forces Pacific",
}
MAIL_STOPS = {"Apo", "Fpo", "Dpo"}  # in the city column, but no city

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
# Only the provinces that lie in one time zone; the others need more than a first letter.
PROVINCE_ZONES = {
    "Alberta": "America/Edmonton",
    "Manitoba": "America/Winnipeg",
    "New Brunswick": "America/Moncton",
    "Nova Scotia": "America/Halifax",
    "Prince Edward Island": "America/Halifax",
    "Yukon": "America/Whitehorse",
}

_ZIP = re.compile(r"(\d{5})(?:-?\d{4})?", re.ASCII)
COORDINATES = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*,\s*([+-]?\d+(?:\.\d+)?)", re.ASCII)
_CANADIAN = re.compile(r"([A-Z]\d[A-Z])[ -]?(\d(?:[A-Z]\d?)?)?", re.ASCII)
_IN_USA = re.compile(r"(?:,\s*|\s+)(?:u\.?s\.?a\.?|united states(?: of america)?)$", re.IGNORECASE)
_LONG_FORMS = {"st": "saint", "ft": "fort", "mt": "mount"}


def find_place(text: str) -> Place:
    """The place that `text` names; only what is known is filled in.

    Accepts a US zip code, "city, state", "latitude, longitude" in degrees (which take on city and
    zone of the nearest US zip code within 50 km), or a Canadian postal code, in any case. Raises ContextError for a place that is unknown, impossible
    (latitude 91) or ambiguous (a city of several states); its hint says what would work.
    """
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    if not text:
        raise ContextError("the place is empty", hint=ACCEPTED)
    if len(text) > MAX_TEXT:
        raise ContextError(f"a place has at most {MAX_TEXT} characters, this has {len(text)}", hint=ACCEPTED)
    if match := _ZIP.fullmatch(text):
        return _from_zip(match[1])
    if match := COORDINATES.fullmatch(text):
        return _from_coordinates(float(match[1]), float(match[2]))
    if (match := _CANADIAN.fullmatch(text.upper())) and match[1][0] in PROVINCES:
        return _from_canadian(match[1], match[2] or "")
    return _from_city(text)


class _Row(NamedTuple):
    """One zip code. Degrees; what the table does not know is None."""

    zip: str
    city: str
    aliases: tuple[str, ...]  # names the mail accepts, such as neighbourhoods
    state: str  # two letters
    timezone: str | None
    point: tuple[float, float] | None  # latitude, longitude


_ByState = dict[str, list[_Row]]


@dataclass(frozen=True, slots=True)
class _Cities:
    """Zip codes by name and state, under the key that `_city_key` makes of a name."""

    named: dict[str, _ByState]
    aliases: dict[str, _ByState]
    spelling: dict[str, str]  # key -> the name as it is written


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
    """Rows that are on the map; bulk mail and forces' mail are known by code only."""
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
    """Centre i is that of `_mapped()[i]`: (rows, 2), latitude and longitude in radians."""
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
    """The zip code whose centre is nearest on the sphere (haversine), None beyond NEAR_KM."""
    import numpy as np

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
    named = _IN_USA.sub("", text) or text
    if "," in named:
        city, _, state_text = named.rpartition(",")
        state = _state_code(state_text)
        if state is None:
            raise ContextError(f"{state_text.strip()!r} is no US state", hint=_state_hint(state_text))
        return _city_in_state(city, state)
    if by_state := _states_of(named):
        return _city_alone(named, by_state)
    words = named.split()
    for cut in range(1, len(words)):  # "Minneapolis MN", "Albany New York"
        city, state = " ".join(words[:cut]), _state_code(" ".join(words[cut:]))
        if state:
            return _city_in_state(city, state)
    raise ContextError(f"the place {text!r} is not known", hint=_city_hint(named, _cities().spelling))


def _city_in_state(city: str, state: str) -> Place:
    table, key = _cities(), _city_key(city)
    rows = table.named.get(key, {}).get(state) or table.aliases.get(key, {}).get(state)
    if rows:
        return _mean_place(key, state, rows)
    name = STATES.get(state) or COUNTRIES[state]
    if elsewhere := _states_of(city):
        hint = f"there is one in {_listed(elsewhere)}"
    else:
        hint = _city_hint(city, (key for key, states in table.named.items() if state in states))
    raise ContextError(f"no city {city.strip()!r} is known in {name}", hint=hint)


def _city_alone(city: str, by_state: _ByState) -> Place:
    if len(by_state) > 1:
        raise ContextError(
            f"{city!r} is a city in {len(by_state)} states",
            hint=f'add the state, as in "{city}, {_state_names(by_state)[0]}": {_listed(by_state)}',
        )
    [(state, rows)] = by_state.items()
    return _mean_place(_city_key(city), state, rows)


def _mean_place(key: str, state: str, rows: Sequence[_Row]) -> Place:
    """A city from its zip codes: the mean centre, the most common time zone."""
    points = [row.point for row in rows if row.point]
    zones = Counter(row.timezone for row in rows if row.timezone).most_common(1)
    written = rows[0].city
    return Place(
        city=written if _city_key(written) == key else _cities().spelling[key],
        state=STATES.get(state),
        country=COUNTRIES.get(state, "United States"),
        latitude=round(math.fsum(point[0] for point in points) / len(points), 4),
        longitude=round(math.fsum(point[1] for point in points) / len(points), 4),
        timezone=zones[0][0] if zones else None,
    )


def _states_of(city: str) -> _ByState:
    """state -> zip codes of a city; a name that is only an alias counts when no city has it."""
    table, key = _cities(), _city_key(city)
    return table.named.get(key) or table.aliases.get(key) or {}


@lru_cache(maxsize=32_768)  # the table repeats its names
def _city_key(name: str) -> str:
    """One key for "St. Paul" and "saint paul", for "O'Fallon" and "O Fallon"."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return "".join(_LONG_FORMS.get(word, word) for word in re.findall(r"[a-z0-9]+", plain))


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalpha())


_STATE_CODES = {
    _letters(spelled): code for code, name in (STATES | COUNTRIES).items() for spelled in (code, name)
}


def _state_code(text: str) -> str | None:
    """Two letters for "MN", "minnesota" or "D.C."; None if it is no state."""
    return _STATE_CODES.get(_letters(text))


def _state_names(by_state: _ByState) -> list[str]:
    """Names of the states, the one with most zip codes of that city first."""
    codes = sorted(by_state, key=lambda code: (-len(by_state[code]), code))
    return [STATES.get(code) or COUNTRIES[code] for code in codes]


def _listed(by_state: _ByState, limit: int = 5) -> str:
    names = _state_names(by_state)
    return ", ".join(names[:limit]) + (" ..." if len(names) > limit else "")


def _state_hint(text: str) -> str:
    names = list(STATES.values())
    close = get_close_matches(text.strip().title(), names, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else 'write a US state, as in "Minneapolis, Minnesota"'


def _city_hint(city: str, keys: Iterable[str]) -> str:
    """Close matches among cities with the same first letter, which keeps a typo cheap to answer."""
    wanted = _city_key(city)
    same_letter = [key for key in keys if key[:1] == wanted[:1]]
    close = get_close_matches(wanted, same_letter, n=3, cutoff=0.8)
    spelling = _cities().spelling
    return f"did you mean {', '.join(spelling[key] for key in close)}? {ACCEPTED}" if close else ACCEPTED
