"""Items one by one: JSON lines with the fields of `Item`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from recsys.context.geo import parse_hours
from recsys.data.importers.readers import NOT_TEXT, read_text
from recsys.data.importers.values import collapse, shown
from recsys.errors import DataError
from recsys.types import Item

FIELDS = ", ".join(Item.model_fields)
EXAMPLE = '{"id": "1683", "title": "My Film", "year": 1998, "attributes": {"genre": ["Comedy"]}}'
FIRST_YEAR, LAST_YEAR = 1000, 2999


def read_item_lines(path: Path) -> list[Item]:
    """The items of a JSONL file, each id once; empty lines are skipped.

    Raises DataError naming file, line and field for the first wrong one.
    """
    line_of: dict[str, int] = {}
    items = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        item = item_of(str(path), number, line)
        if item.id in line_of:
            problem = f"{shown(item.id)} stands in line {line_of[item.id]} already"
            raise DataError(str(path), number, "id", problem, hint="every id must be used once")
        line_of[item.id] = number
        items.append(item)
    return items


def item_of(source: str, number: int, line: str) -> Item:
    """The item of one line, its texts tidied. Raises DataError that names `source` and `number`."""

    def wrong(field: str | None, problem: str) -> DataError:
        return DataError(source, number, field, problem, hint=f"one line is {EXAMPLE}")

    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise wrong(None, f"not valid JSON: {error}: {shown(line)}") from error
    if not isinstance(row, dict):
        raise wrong(None, f"expected a JSON object, found {shown(line)}")
    try:
        item = Item.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise wrong(field, f"no such field; there are: {FIELDS}") from error
        raise wrong(field, f"{first['msg']}, found {shown(first['input'])}") from error
    texts = {"id": item.id, "title": item.title, "description": item.description}
    texts |= {f"attributes.{name}": "".join((name, *values)) for name, values in item.attributes.items()}
    for field, text in texts.items():
        if NOT_TEXT.search(text):
            raise wrong(field, f"holds a NUL byte or half a character: {shown(text)}")
        if field in ("id", "title") and not text.strip():
            raise wrong(field, "expected a value, found nothing")
    if item.year is not None and not FIRST_YEAR <= item.year <= LAST_YEAR:
        raise wrong("year", f"expected a year from {FIRST_YEAR} to {LAST_YEAR}, found {item.year}")
    if item.site and item.site.hours:
        try:
            parse_hours(item.site.hours)
        except ValueError as error:
            raise wrong("site.hours", str(error)) from error
    clean = {
        "id": item.id.strip(),
        "title": collapse(item.title),
        "description": collapse(item.description),
        "attributes": {
            name: _distinct(values) for name, values in item.attributes.items() if _distinct(values)
        },
    }
    return item.model_copy(update=clean)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(collapse, values))))
