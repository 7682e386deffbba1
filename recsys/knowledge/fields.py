"""What names in rules and filters stand for: of item, person and moment."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys.config import Domain, Example
from recsys.config.attributes import AttributeKind, AttributeType
from recsys.knowledge.expressions import Kind
from recsys.knowledge.typed_values import WrongValue, read_value
from recsys.types import Context, HistoryEntry, Item, User

_KINDS: Mapping[AttributeKind, Kind] = {
    "number": "number",
    "money": "number",
    "duration": "number",  # in the unit of the attribute
    "date": "time",  # the first day of "March 1996"
    "time": "time",
    "flag": "flag",
    "text": "text",
    "category": "text",
    "list": "texts",
}
_OF_EVERY_ITEM: Mapping[str, Kind] = {"id": "text", "title": "text", "year": "whole"}
OF_THE_HISTORY: Mapping[str, Kind] = {"last_chosen": "time", "times_chosen": "whole", "cycle": "span"}
_OF_THE_CLOCK: Mapping[str, Kind] = {
    "hour": "whole",
    "weekday": "text",
    "weekend": "flag",
    "part_of_day": "text",
    "season": "text",
}
_OF_THE_MOMENT: Mapping[str, Kind] = {
    **_OF_THE_CLOCK,
    "city": "text",
    "state": "text",
    "country": "text",
    "wish": "text",
}


_LIST = re.compile(r"\s*[;,|]\s*")


def profile_values(text: str, kind: AttributeType | None) -> tuple[str, ...]:
    """Return the values of a profile field; the store has a list as one text."""
    parts = _LIST.split(text) if kind is not None and kind.type == "list" else [text]
    return tuple(part for part in map(str.strip, parts) if part)


def is_personal(name: str) -> bool:
    """Return whether a value may tell about a person, and stays out of logs."""
    root, _, rest = name.partition(".")
    if root in ("item", "other"):
        return rest in OF_THE_HISTORY
    return name != "now" and not (root == "context" and rest in _OF_THE_CLOCK)


@dataclass(frozen=True)
class Moment:
    """The person and the moment of a request."""

    user: User | None = None
    context: Context = field(default_factory=Context)
    chosen: Mapping[str, HistoryEntry] = field(default_factory=dict)  # by item id, in the order of time
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @classmethod
    def of(cls, user: User | None, context: Context, history: Sequence[HistoryEntry]) -> Moment:
        """Return the moment that a request is about, by default this one."""
        chosen = {entry.item.id: entry for entry in history}
        return cls(user, context, chosen, _time(context.time or dt.datetime.now(dt.UTC)))


class Fields:
    """The names that the rules of a domain may read, and their values.

    A value that is not of its type is missing, and so is that of an attribute that can have one value
    and has several: which of them a rule means cannot be told.
    """

    def __init__(self, domain: Domain) -> None:
        self._attributes = {
            _name(name): (name, domain.attributes.get(name))
            for name in domain.attribute_names
            if _name(name) not in {**_OF_EVERY_ITEM, **OF_THE_HISTORY}
        }
        users, events = domain.users, domain.interactions
        profile = {name: users.types.get(name) for name in users.profile} if users else {}
        self._profile = {_name(name): (name, kind) for name, kind in profile.items()}
        facts = [name for name in (events.context if events else ()) if name != "place"]
        self._facts = {_name(name): name for name in facts if _name(name) not in _OF_THE_MOMENT}
        self._read: dict[tuple[str, tuple[str, ...]], Any] = {}

    def kinds(self) -> dict[str, Kind]:
        """Return every name with the kind of its values."""
        attributes = {name: _kind(kind, "texts") for name, (_, kind) in self._attributes.items()}
        of_items = {**_OF_EVERY_ITEM, **attributes, **OF_THE_HISTORY}
        kinds: dict[str, Kind] = {"now": "time", "history": "texts", "item": "text", "other": "text"}
        kinds |= {f"{one}.{name}": kind for one in ("item", "other") for name, kind in of_items.items()}
        kinds |= {f"user.{name}": _kind(kind, "text") for name, (_, kind) in self._profile.items()}
        kinds |= {f"context.{name}": kind for name, kind in _OF_THE_MOMENT.items()}
        return kinds | {f"context.{name}": "text" for name in self._facts}

    def raw(self, item: Item, name: str, chosen: Mapping[str, HistoryEntry]) -> Any:
        """Return what a value follows from; items of which it is equal are alike."""
        if (attribute := self._attributes.get(name)) is not None:
            return item.attributes.get(attribute[0], ())
        if name in OF_THE_HISTORY:
            entry = chosen.get(item.id)
            return None if entry is None else (entry.timestamp, entry.times, entry.first)
        return item.id if name == "" else getattr(item, name)

    def texts(self, item: Item, name: str) -> tuple[str, ...]:
        """Return the values of an attribute as shown; () for any other field."""
        return tuple(item.attributes.get(self._attributes[name][0], ())) if name in self._attributes else ()

    def of_item(self, item: Item, name: str, chosen: Mapping[str, HistoryEntry]) -> Any:
        """Return a value by name ("price"; "" is the item); None if it is missing."""
        if name in self._attributes:
            return self._attribute(name, self.texts(item, name))
        if name in OF_THE_HISTORY:
            return _of_history(name, chosen.get(item.id))
        return item.id if name == "" else getattr(item, name)

    def of_moment(self, moment: Moment) -> dict[str, Any]:
        """Return the values of all names that are not about an item."""
        profile = moment.user.profile if moment.user else {}
        values = {
            f"user.{name}": _typed(profile_values(profile[own], kind), own, kind)
            for name, (own, kind) in self._profile.items()
            if own in profile
        }
        context, place = moment.context, moment.context.place
        values |= {
            f"context.{name}": getattr(place if name in ("city", "state", "country") else context, name, None)
            for name in _OF_THE_MOMENT
        }
        values |= {f"context.{name}": context.extra.get(own) for name, own in self._facts.items()}
        values |= {"now": moment.now, "history": list(moment.chosen)}
        return {name: value for name, value in values.items() if value not in (None, "")}

    def of_example(self, example: Example) -> dict[str, Any]:
        """Return the values of an example; one of another type is missing.

        Raises KeyError for a name that there is not.
        """
        kinds, values = self.kinds(), example.model_dump(include={"item", "other", "user", "context"})
        found: dict[str, Any] = {}
        for root, fields in values.items():
            for name, value in fields.items():
                full = f"{root}.{name}"
                found[full] = self._example(root, name, value, kinds[full])
            if root in ("item", "other") and "id" in fields:
                found[root] = str(fields["id"])
        found |= {"history": list(example.history), "now": example.now and _time(example.now)}
        return {name: value for name, value in found.items() if value is not None}

    def _example(self, root: str, name: str, value: Any, kind: Kind) -> Any:
        if isinstance(value, dt.date) or (kind == "span" and isinstance(value, str)):
            return _time(value) if isinstance(value, dt.date) else _span(value)
        texts = tuple(map(_text, value if isinstance(value, list) else [value]))
        if root in ("item", "other") and name in self._attributes:
            return self._attribute(name, texts)
        if root == "user":
            own, profile_kind = self._profile[name]
            texts = texts if isinstance(value, list) else profile_values(texts[0], profile_kind)
            return _typed(texts, own, profile_kind)
        return value

    def _attribute(self, name: str, texts: tuple[str, ...]) -> Any:
        """Return the value of an attribute, read once for each text."""
        key = (name, texts)
        if key not in self._read:
            if len(self._read) >= MAX_READ:
                self._read.clear()
            own, kind = self._attributes[name]
            self._read[key] = _typed(texts, own, kind or AttributeType(type="list"))
        return self._read[key]


MAX_READ = 200_000
"""Values of attributes that are kept as they were read."""


def _name(name: str) -> str:
    """Return a name as expressions write it: "screen size" is screen_size."""
    return re.sub(r"\W", "_", name)


def _kind(kind: AttributeType | None, untyped: Kind) -> Kind:
    return untyped if kind is None else _KINDS[kind.type]


def _typed(texts: Sequence[str], name: str, kind: AttributeType | None) -> Any:
    if not texts:
        return None
    if kind is None or kind.type in ("text", "category"):
        return texts[0] if len(texts) == 1 else None
    if kind.type == "list":
        return list(texts)
    try:
        (value,) = [read_value(text, name, kind) for text in texts]
    except (WrongValue, ValueError):
        return None
    if kind.type == "flag":
        return not value.shown.startswith("not ")
    return _moment(value.first or 1) if kind.type in ("date", "time") else value.first


def _of_history(name: str, entry: HistoryEntry | None) -> Any:
    if name == "times_chosen":
        return entry.times if entry else 0
    if entry is None:
        return None
    if name == "cycle":
        return None if entry.cycle is None else dt.timedelta(seconds=entry.cycle)
    return None if entry.timestamp is None else dt.datetime.fromtimestamp(entry.timestamp, dt.UTC)


def _moment(days: float) -> dt.datetime:
    """Return the time of an ordinal day, with its fraction."""
    whole = dt.datetime.combine(dt.date.fromordinal(int(days)), dt.time(), dt.UTC)
    return whole + dt.timedelta(seconds=round(days % 1 * 86_400))


def _time(value: dt.date) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time(), dt.UTC)
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def _span(text: str) -> dt.timedelta | None:
    kind = AttributeType(type="duration", unit="seconds")
    seconds = _typed((text,), "span", kind)
    return None if seconds is None else dt.timedelta(seconds=seconds)


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
