"""Items as JSON lines, with the fields of `Item`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from recsys.context.geo import parse_hours
from recsys.data.importers.readers import read_text
from recsys.data.importers.values import NOT_TEXT, collapse, identifier, number_as_id, quote
from recsys.errors import DataError
from recsys.types import Item

FIELDS = ", ".join(Item.model_fields)
EXAMPLE = '{"id": "1683", "title": "My Film", "year": 1998, "attributes": {"genre": ["Comedy"]}}'
FIRST_YEAR, LAST_YEAR = 1000, 2999


def read_item_lines(path: Path) -> list[Item]:
    """Read the items of a JSONL file, skipping empty lines.

    Raises:
        DataError: A line is wrong or an id comes twice; names file, line and field.
    """
    line_of: dict[str, int] = {}
    items = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        item = parse_item_line(str(path), number, line)
        if item.id in line_of:
            problem = f"{quote(item.id)} is in line {line_of[item.id]} already"
            raise DataError(str(path), number, "id", problem, hint="every id must be used once")
        line_of[item.id] = number
        items.append(item)
    return items


def parse_item_line(source: str, number: int, line: str) -> Item:
    """Parse one item and clean its texts.

    Raises:
        DataError: The line is wrong; the message names `source` and `number`.
    """
    whole_line = _Line(source, number, line)
    item = _parse(whole_line)
    _check_texts(item, whole_line)
    _check_values(item, whole_line)
    attributes = {name: _distinct(values) for name, values in item.attributes.items()}
    clean = {
        "id": identifier(item.id),
        "title": collapse(item.title),
        "description": collapse(item.description),
        "attributes": {name: values for name, values in attributes.items() if values},
    }
    return item.model_copy(update=clean)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file or of a request."""

    source: str
    number: int
    text: str

    def error(self, field: str | None, problem: str) -> DataError:
        return DataError(self.source, self.number, field, problem, hint=f"one line is {EXAMPLE}")


def _parse(line: _Line) -> Item:
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise line.error(None, f"not valid JSON: {error}: {quote(line.text)}") from error
    if not isinstance(row, dict):
        raise line.error(None, f"expected a JSON object, found {quote(line.text)}")
    try:
        return Item.model_validate({**row, "id": number_as_id(row["id"])} if "id" in row else row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise line.error(field, f"no such field; there are: {FIELDS}") from error
        raise line.error(field, f"{first['msg']}, found {quote(first['input'])}") from error


def _check_texts(item: Item, line: _Line) -> None:
    texts = {"id": item.id, "title": item.title, "description": item.description}
    texts |= {f"attributes.{name}": "".join((name, *values)) for name, values in item.attributes.items()}
    for field, text in texts.items():
        if NOT_TEXT.search(text):
            raise line.error(field, f"holds a NUL byte or half a character: {quote(text)}")
        if field in ("id", "title") and not text.strip():
            raise line.error(field, "expected a value, found nothing")


def _check_values(item: Item, line: _Line) -> None:
    if item.year is not None and not FIRST_YEAR <= item.year <= LAST_YEAR:
        raise line.error("year", f"expected a year from {FIRST_YEAR} to {LAST_YEAR}, found {item.year}")
    if item.site and item.site.hours:
        try:
            parse_hours(item.site.hours)
        except ValueError as error:
            raise line.error("site.hours", str(error)) from error


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(collapse, values))))
