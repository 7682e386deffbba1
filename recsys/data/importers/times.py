"""Times in files and requests: seconds since 1970, ISO 8601, or a stated unit."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from recsys.data.importers.values import InvalidValue, PlainReader, finite, plain_numbers

if TYPE_CHECKING:
    import polars as pl

FIRST_SECOND = -2_208_988_800.0  # the start of 1900
LAST_SECOND = 7_258_118_399.0  # the end of 2199; today in milliseconds lies beyond it
LAST_DATE_NUMBER = 21_000_000  # above 20991231, the largest number of seconds that looks like a date
ISO_EXAMPLE = "2024-03-31T13:00:00Z"

_DAY = 86_400.0
_DAY_1970 = 25_569  # of a spreadsheet, which counts from 1899-12-30
_DAY_1990 = 7_305  # since 1970
_DAY_2100 = 73_051  # of a spreadsheet
_SECONDS: Mapping[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # how many make one
_DIGITS: Mapping[str, str] = {
    "yyyy": "%Y",
    "yyyymm": "%Y%m",
    "yyyymmdd": "%Y%m%d",
    "yyyymmddhhmm": "%Y%m%d%H%M",
    "yyyymmddhhmmss": "%Y%m%d%H%M%S",
}
_PATTERNS = (  # that files are often written in, for hints
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S UTC",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%a %b %d %H:%M:%S %z %Y",
)
_NAMES: Mapping[str, str] = {
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "days": "days since 1970",
    "excel": "days of a spreadsheet",
    "yyyy": "years",
}
_WHOLE = re.compile(r"(\d+)(?:\.0+)?", re.ASCII)
_DIRECTIVE = re.compile(r"(%\.f|%.)")
_ISO = (
    "%Y-%m-%d",
    *(f"%Y-%m-%d{mark}%H:%M:%S{end}" for end in ("", "Z", "%.f", "%.fZ") for mark in " T"),
)
_WRITTEN: Mapping[str, str] = {  # how directives are written where a whole column is read at once
    "%Y": "[12][0-9]{3}",
    "%m": "[01][0-9]",
    "%d": "[0-3][0-9]",
    "%H": "[0-2][0-9]",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%.f": r"\.[0-9]{1,6}",
}


class InvalidTime(InvalidValue):
    """A text is no time in its unit; `units` are those in which it would be one."""

    def __init__(self, expected: str, found: str, units: Sequence[str] = ()) -> None:
        super().__init__(expected, found)
        self.units = tuple(units)

    def remedy(self) -> str:
        """Return what somebody who sends the time can do."""
        unit = self.units[0] if self.units else ""
        if unit in _SECONDS:
            return f"{_NAMES[unit]}? divide them by {int(_SECONDS[unit])}"
        written = f"{name_of(unit)}? " if unit else ""
        return f"{written}send seconds since 1970, or ISO 8601 such as {ISO_EXAMPLE}"

    def setting(self) -> str:
        """Return what to set in domain.toml, or "" where no unit fits."""
        if not self.units:
            return ""
        choices = " or ".join(f'unit = "{unit}"' for unit in self.units)
        return f"{name_of(self.units[0])}? set {choices} for this column in domain.toml"


def timestamp(text: str) -> float:
    """Read seconds since 1970 (UTC), or ISO 8601 where naive times are UTC.

    Raises:
        InvalidTime: It is neither, or not from 1900 to 2199.
    """
    seconds = finite(text)
    if seconds is None:
        try:
            seconds = _seconds(dt.datetime.fromisoformat(text))
        except ValueError:
            units = [pattern for pattern in _PATTERNS if _parse(text, pattern) is not None]
            raise InvalidTime("seconds since 1970 or an ISO 8601 time", text, units) from None
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise InvalidTime(
            "seconds since 1970 or an ISO 8601 time, from 1900 to 2199", text, likely_units(text)
        )
    return seconds


def time_reader(unit: str | None) -> Callable[[str], float]:
    """Return a reader of times in a `Column.unit`; None is seconds or ISO 8601."""
    if unit is None:
        return timestamp

    def read(text: str) -> float:
        seconds = _in_unit(text, unit)
        if seconds is None or not FIRST_SECOND <= seconds <= LAST_SECOND:
            units = [other for other in likely_units(text) if other != unit]
            raise InvalidTime(f'a time from 1900 to 2199 with unit = "{unit}"', text, units)
        return seconds

    return read


def plain_times(unit: str | None) -> list[PlainReader]:
    """Return readers of columns that together read most of what `time_reader` reads."""
    readers: list[PlainReader]
    if unit is None:
        readers = [plain_numbers, *(partial(_plain_pattern, pattern=pattern) for pattern in _ISO)]
    elif unit in _SECONDS:
        readers = [lambda texts: _divided(plain_numbers(texts), _SECONDS[unit])]
    elif unit in ("days", "excel"):
        first = _DAY_1970 if unit == "excel" else 0
        readers = [lambda texts: (plain_numbers(texts) - first) * _DAY]
    else:
        pattern = _DIGITS.get(unit, unit)
        is_plain = set(_DIRECTIVE.findall(pattern)) <= set(_WRITTEN)
        readers = [partial(_plain_pattern, pattern=pattern)] * is_plain
    return [partial(_plain_within, read=read) for read in readers]


def _plain_within(texts: pl.Expr, read: PlainReader) -> pl.Expr:
    import polars as pl

    seconds = read(texts)
    return pl.when(seconds.is_between(FIRST_SECOND, LAST_SECOND)).then(seconds)


def _plain_pattern(texts: pl.Expr, pattern: str) -> pl.Expr:
    """Read what is written with all digits, by a pattern of numbers; else null."""
    import polars as pl

    form = "".join(_WRITTEN.get(part) or re.escape(part) for part in _DIRECTIVE.split(pattern))
    written = pl.when(texts.str.contains(f"^{form}$")).then(texts)
    return _divided(written.str.to_datetime(pattern, time_unit="us", strict=False).cast(pl.Int64), 1e6)


def _divided(numbers: pl.Expr, divisor: float) -> pl.Expr:
    """Divide exactly: polars multiplies by the reciprocal."""
    import polars as pl

    return numbers.map_batches(
        lambda cells: pl.Series(cells.to_numpy() / divisor).fill_nan(None), return_dtype=pl.Float64
    )


def require_no_date(text: str) -> None:
    """Raise InvalidTime if seconds look like a date: 20240331, 45352, 2009."""
    if units := likely_units(text):
        raise InvalidTime("seconds since 1970 or an ISO 8601 time", text, units)


def likely_units(text: str) -> tuple[str, ...]:
    """Return units in which a number is a likely time, if seconds are not."""
    number = finite(text)
    if number is None:
        return ()
    for unit in _DIGITS:
        if _is_within(_in_unit(text, unit), 1900):
            return (unit,)
    if _DAY_1990 <= number < _DAY_2100:
        return ("days" if number < _DAY_1970 else "excel",)
    return tuple(unit for unit in ("ms", "us", "ns") if _is_within(_in_unit(text, unit), 1990))


def name_of(unit: str) -> str:
    """Return what a unit is in words."""
    return _NAMES.get(unit) or ("a date written as digits" if unit in _DIGITS else "a date in another form")


def _is_within(seconds: float | None, first_year: int) -> bool:
    """Tell whether a time is from the start of a year to 2099."""
    first = dt.datetime(first_year, 1, 1, tzinfo=dt.UTC).timestamp()
    return seconds is not None and first <= seconds < 4_102_444_800


def _in_unit(text: str, unit: str) -> float | None:
    if unit in _DIGITS:
        whole = _WHOLE.fullmatch(text)
        return _parse(whole[1], _DIGITS[unit]) if whole and len(whole[1]) == len(unit) else None
    if unit not in _SECONDS and unit not in ("days", "excel"):
        return _parse(text, unit)
    number = finite(text)
    if number is None:
        return None
    if unit in _SECONDS:
        return number / _SECONDS[unit]
    return (number - (_DAY_1970 if unit == "excel" else 0)) * _DAY


def _parse(text: str, pattern: str) -> float | None:
    try:
        return _seconds(dt.datetime.strptime(text, pattern))
    except ValueError:
        return None


def _seconds(moment: dt.datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
