"""Values of typed attributes: read from many forms, shown as people write them.

A value is kept as it is shown ("$2.49", "98 minutes", "March 1996"), so every surface shows it alike;
reading what is shown gives the same value again.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from recsys.config.attributes import AttributeKind, AttributeType
from recsys.errors import RequestError
from recsys.types import Item

SYMBOLS: Mapping[str, str] = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩"}
_WITHOUT_CENTS = ("JPY", "KRW")
_SECONDS: Mapping[str, float] = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
_SPANS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
_SPANS |= {"h": 3600, "hr": 3600, "hour": 3600, "d": 86_400, "day": 86_400}

_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MONEY = re.compile(r"(?P<before>[^\d.+-]*)(?P<amount>[+-]?[\d.,]+)(?P<after>\D*)", re.ASCII)
_SIGNED_SYMBOL = re.compile(r"^-\s*(?=[^\d.])")  # "-$2.49"
_CLOCK = re.compile(r"(\d+):(\d\d)(?::(\d\d))?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?\b\.?,?(?:\s*and\b)?\s*", re.ASCII | re.IGNORECASE)
_ISO_SPAN = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII)
_ISO_DATE = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?(?:[T ].*)?", re.ASCII)
_WORDED_DATE = re.compile(r"(?:(\d\d?)\.? )?([A-Z][a-z]+)\.? (?:(\d\d?), )?(\d{4})", re.ASCII)
_WORDED_TIME = re.compile(r"(.+), ([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_YES, _NO = ("yes", "true", "1", "y", "on"), ("no", "false", "0", "n", "off")


@dataclass(frozen=True)
class TypedValue:
    """One value."""

    shown: str
    first: float | None = (
        None  # what is compared: a number, or the (first) day of a date; None if it has no order
    )
    last: float | None = None  # the last day of a date such as "March 1996"; else as `first`


class WrongValue(ValueError):
    """A text is not of the type."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found[:60]!r}")
        self.expected = expected


def read_value(text: str, name: str, kind: AttributeType) -> TypedValue:
    """Read a value of the attribute `name`.

    Raises:
        WrongValue: It is not of the type, or outside `least` and `most`.
    """
    text = " ".join(text.split())
    value = _READERS[kind.type](text, name, kind)
    amount = value.first
    if amount is not None and kind.type not in ("date", "time"):
        if kind.smallest is not None and amount < kind.smallest:
            raise WrongValue(f"{_expected(kind)} of at least {kind.smallest:g}", text)
        if kind.most is not None and amount > kind.most:
            raise WrongValue(f"{_expected(kind)} of at most {kind.most:g}", text)
    return value


def typed_items(items: Sequence[Item], kinds: Mapping[str, AttributeType]) -> list[Item]:
    """Return items whose typed attributes are as they are shown.

    Raises:
        RequestError: A value is not of its type; names item and attribute.
    """
    return [_typed_item(item, kinds) for item in items]


def _typed_item(item: Item, kinds: Mapping[str, AttributeType]) -> Item:
    shown = {}
    for name in kinds.keys() & item.attributes.keys():
        try:
            values = [read_value(text, name, kinds[name]).shown for text in item.attributes[name]]
        except WrongValue as wrong:
            raise RequestError(
                f"item '{item.id[:80]}', attributes.{name}: {wrong}", hint=f"write {wrong.expected}"
            ) from wrong
        shown[name] = tuple(dict.fromkeys(values))
    return item.model_copy(update={"attributes": {**item.attributes, **shown}}) if shown else item


def with_attributes(item: Item, names: Collection[str] | None) -> Item:
    """Return an item with only these attributes; None keeps all."""
    if names is None or not item.attributes.keys() - set(names):
        return item
    kept = {name: values for name, values in item.attributes.items() if name in names}
    return item.model_copy(update={"attributes": kept})


def _text(text: str, name: str, kind: AttributeType) -> TypedValue:
    return TypedValue(text)


def _flag(text: str, name: str, kind: AttributeType) -> TypedValue:
    """Show a flag by the attribute's name, for its value alone would say nothing."""
    word = name.replace("_", " ")
    if text.casefold() in (*_YES, word.casefold()):
        return TypedValue(word)
    if text.casefold() in (*_NO, f"not {word}".casefold()):
        return TypedValue(f"not {word}")
    raise WrongValue("yes or no", text)


def _number(text: str, name: str, kind: AttributeType) -> TypedValue:
    unit = kind.unit or ""
    single = unit.removesuffix("s") if len(unit) > 3 else unit  # "1 year", "1 Oscar", but "1 lbs"
    written = next((one for one in (unit, single) if one and text.casefold().endswith(one.casefold())), "")
    bare = text[: len(text) - len(written)].strip()
    amount = _float(bare)
    if amount is None:
        raise WrongValue(_expected(kind), text)
    shown = f"{amount:,.10g}" if abs(amount) < 1e15 else f"{amount:g}"
    separator = "" if unit.startswith("%") else " "
    return TypedValue(f"{shown}{separator}{single if amount == 1 else unit}".strip(), amount, amount)


def _money(text: str, name: str, kind: AttributeType) -> TypedValue:
    code = kind.currency or ""
    symbol = SYMBOLS.get(code, "")
    sign = -1 if _SIGNED_SYMBOL.match(text) else 1
    match = _MONEY.fullmatch(_SIGNED_SYMBOL.sub("", text))
    marks = {mark.strip() for mark in (match["before"], match["after"]) if mark.strip()} if match else set()
    if match is None or not {mark.upper() for mark in marks} <= {code, symbol}:
        raise WrongValue(_expected(kind), text)
    amount = _float(match["amount"])
    if amount is None:
        raise WrongValue(_expected(kind), text)
    amount *= sign
    shown = f"{abs(amount):,.0f}" if code in _WITHOUT_CENTS else f"{abs(amount):,.2f}"
    minus = "-" if amount < 0 else ""
    return TypedValue(f"{minus}{symbol}{shown}" if symbol else f"{minus}{shown} {code}", amount, amount)


def _duration(text: str, name: str, kind: AttributeType) -> TypedValue:
    seconds = _seconds(text, _SECONDS[kind.span])
    if seconds is None:
        raise WrongValue(_expected(kind), text)
    amount = round(seconds / _SECONDS[kind.span], 6)
    unit = kind.span.removesuffix("s") if amount == 1 else kind.span
    return TypedValue(f"{amount:,.10g} {unit}", amount, amount)


def _seconds(text: str, unit: float) -> float | None:
    """Read "98" (times `unit` seconds), "1:38:00", "1 h 38 min" or "PT98M"."""
    if (bare := _float(text)) is not None:
        return bare * unit
    if match := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(group or 0) for group in match.groups())
        return hours * 3600.0 + minutes * 60 + seconds
    if (match := _ISO_SPAN.fullmatch(text.upper())) and any(match.groups()):
        parts = (float(group or 0) for group in match.groups())
        return sum(part * size for part, size in zip(parts, (86_400, 3600, 60, 1), strict=True))
    if not re.fullmatch(f"(?:{_PART.pattern})+", text, re.ASCII | re.IGNORECASE):
        return None
    pairs = [(float(number), _SPANS.get(word.casefold())) for number, word in _PART.findall(text)]
    return (
        None
        if any(size is None for _, size in pairs)
        else sum(number * (size or 0) for number, size in pairs)
    )


def _date(text: str, name: str, kind: AttributeType) -> TypedValue:
    """Read a day, a month or a year; a date is compared by its first and last day."""
    year, month, day = _date_parts(text)
    try:
        first = dt.date(year, month or 1, day or 1)
        last_month = month or 12
        last = first if day else dt.date(year, last_month, calendar.monthrange(year, last_month)[1])
    except ValueError:
        raise WrongValue(_expected(kind), text) from None
    words = [str(day) if day else "", calendar.month_name[month] if month else "", str(year)]
    return TypedValue(" ".join(filter(None, words)), first.toordinal(), last.toordinal())


def _time(text: str, name: str, kind: AttributeType) -> TypedValue:
    """Read a moment, in UTC; it is compared as a day and a part of it."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        match = _WORDED_TIME.fullmatch(text)
        if match is None:
            raise WrongValue(_expected(kind), text) from None
        day, hour, minute = _date(match[1], name, kind).first or 0, int(match[2]), int(match[3])
        moment = dt.datetime.fromordinal(int(day)) + dt.timedelta(hours=hour, minutes=minute)
    moment = moment.astimezone(dt.UTC) if moment.tzinfo else moment
    amount = moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440
    return TypedValue(f"{moment.day} {calendar.month_name[moment.month]} {moment:%Y, %H:%M}", amount, amount)


def _date_parts(text: str) -> tuple[int, int | None, int | None]:
    if match := _ISO_DATE.fullmatch(text):
        year, month, day = match.groups()
        return int(year), int(month) if month else None, int(day) if day else None
    months = {name.casefold(): number for number, name in enumerate(calendar.month_name) if name}
    months |= {name.casefold(): number for number, name in enumerate(calendar.month_abbr) if name}
    match = _WORDED_DATE.fullmatch(text)
    month = months.get(match[2].casefold()) if match else None
    if match is None or month is None or (match[1] and match[3]):
        raise WrongValue('a date such as "1996-03-14", "March 1996" or "1996"', text)
    day = match[1] or match[3]
    return int(match[4]), month, int(day) if day else None


def _float(text: str) -> float | None:
    return (
        float(text.replace(",", ""))
        if text and _NUMBER.fullmatch(text) and any(map(str.isdigit, text))
        else None
    )


def _expected(kind: AttributeType) -> str:
    match kind.type:
        case "money":
            return f"an amount in {kind.currency}, such as {SYMBOLS.get(kind.currency or '', '')}2.49"
        case "duration":
            return f'a duration in {kind.span}, such as "98" or "1 h 38 min"'
        case "date":
            return 'a date such as "1996-03-14", "March 1996" or "1996"'
        case "time":
            return 'a time such as "1996-03-14 15:20" or "1996-03-14T15:20:00Z"'
    return f"a number in {kind.unit}" if kind.unit else "a number"


_READERS: Mapping[AttributeKind, Callable[[str, str, AttributeType], TypedValue]] = {
    "text": _text,
    "category": _text,
    "list": _text,
    "flag": _flag,
    "number": _number,
    "money": _money,
    "date": _date,
    "time": _time,
    "duration": _duration,
}
