"""Tables of cells as validated items and users, row by row.

The first wrong row is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from recsys.config.attributes import AttributeType
from recsys.config.tables import Column, FileTable, ItemTable, UserTable
from recsys.data.batch import ImportReport, ResolvePlace
from recsys.data.importers import times, values
from recsys.data.importers.readers import Table
from recsys.data.importers.times import InvalidTime
from recsys.data.importers.typed_attributes import read_typed
from recsys.data.importers.values import InvalidValue, collapse, quote
from recsys.errors import DataError
from recsys.types import Item, Site, User

_TELLING = ("id", "title", "user", "item")  # columns whose first cell may tell that it is a name

T = TypeVar("T")
Record = TypeVar("Record", Item, User)


def columns_of(mapping: FileTable) -> list[str]:
    """Return every source column that the mapping of a table names."""
    return [column.column for _, column in mapping.columns()]


def require_no_header(table: Table, mapping: FileTable) -> None:
    """Raise DataError if the first row of a table without a header names columns."""
    if not table.positional:
        return
    for name, column in mapping.columns():
        texts = table.columns[column.column]
        if (
            name in _TELLING
            and len(texts)
            and _is_column_name(str(texts[0]), name, table.texts(column.column)[1:])
        ):
            problem = f"expected data, found {quote(texts[0])}, which looks like the name of a column"
            hint = "remove header = false if line 1 names the columns; if it is data, move it down"
            raise table.error(0, column.column, problem, hint=hint)


def _is_column_name(text: str, name: str, others: Sequence[str]) -> bool:
    """Tell whether a text names the column: by its words, or as others are numbers."""
    letters = "".join(filter(str.isalpha, text.casefold()))
    if letters in (name, f"{name}id", f"{name}name", "itemid", "userid"):
        return True
    is_id = name != "title" and letters and len(others) > 1
    return bool(is_id) and all(other.isdecimal() for other in others)


def read_items(
    table: Table,
    mapping: ItemTable,
    report: ImportReport,
    kinds: Mapping[str, AttributeType] | None = None,
) -> tuple[Item, ...]:
    """Return one item per row, without repeated rows.

    Args:
        table: The rows.
        mapping: Which columns to read.
        report: Where odd rows are counted.
        kinds: The types of attributes.

    Raises:
        DataError: A row is wrong; the message names the first.
    """
    if not len(table):
        raise DataError(table.file, None, None, "there are no rows: a catalog needs at least one item")
    table = _with_titles(table, mapping.title, report)
    ids = _ids(table, mapping.id)
    titles = [collapse(title) for title in _required(table, mapping.title)]
    years = _optional(table, mapping.year, values.year)
    descriptions = table.texts(mapping.description.column) if mapping.description else [""] * len(table)
    attributes = _named_lists(table, mapping.attributes)
    for index, (title, year) in enumerate(zip(titles, years, strict=True)):
        if year is None:
            titles[index], years[index] = values.year_from_title(title)
            report.years_from_titles += years[index] is not None
        if mapping.title.article == "front":
            titles[index] = values.article_to_front(titles[index])
    _count_missing(report, "year", mapping.year, years)
    sites = _sites(table, mapping, report)
    items = [
        Item(
            id=ids[index],
            title=titles[index],
            year=years[index],
            attributes={name: tuple(parts) for name, parts in attributes[index].items()},
            description=collapse(descriptions[index]),
            site=sites[index],
        )
        for index in range(len(table))
    ]
    items = read_typed(
        items, mapping.attributes, kinds or {}, report, lambda *cell: table.error(*cell[:3], hint=cell[3])
    )
    return _unique(table, mapping.id.column, items, "items", report)


def _with_titles(table: Table, column: Column, report: ImportReport) -> Table:
    """Return the rows that have a title, where the others may be left out."""
    if column.invalid == "error":
        return table
    kept = [index for index, title in enumerate(table.texts(column.column)) if title]
    report.missing["title (row left out)"] += len(table) - len(kept)
    return table.take(kept)


def read_users(
    table: Table, mapping: UserTable, resolve_place: ResolvePlace, report: ImportReport
) -> tuple[User, ...]:
    """Return one user per row, without repeated rows.

    Raises:
        DataError: A row is wrong; the message names the first.
    """
    ids = _ids(table, mapping.id)
    profiles = facts_of(table, mapping.profile)
    homes = _optional(table, mapping.home, values.place_reader(resolve_place))
    _count_missing(report, "home", mapping.home, homes)
    users = [
        User(id=user_id, profile=profile, home=home)
        for user_id, profile, home in zip(ids, profiles, homes, strict=True)
    ]
    return _unique(table, mapping.id.column, users, "users", report)


def _sites(table: Table, mapping: ItemTable, report: ImportReport) -> list[Site | None]:
    latitudes = _optional(table, mapping.latitude, values.degrees(90))
    longitudes = _optional(table, mapping.longitude, values.degrees(180))
    hours = _optional(table, mapping.hours, values.hours)
    _count_missing(report, "position", mapping.latitude, latitudes)
    _count_missing(report, "hours", mapping.hours, hours)
    return [
        Site(latitude=latitude, longitude=longitude, hours=text or "")
        if (latitude, longitude, text) != (None, None, None)
        else None
        for latitude, longitude, text in zip(latitudes, longitudes, hours, strict=True)
    ]


def _ids(table: Table, column: Column) -> list[str]:
    return values.whole_ids([values.identifier(text) for text in _required(table, column)])


def _required(table: Table, column: Column) -> list[str]:
    texts = table.texts(column.column)
    if "" in texts:
        raise table.error(texts.index(""), column.column, "expected a value, found nothing")
    return texts


def _optional(table: Table, column: Column | None, read: Callable[[str], T]) -> list[T | None]:
    """Read a column; None for empty cells, and for invalid ones if allowed."""
    if column is None:
        return [None] * len(table)
    cells: list[T | None] = []
    texts = table.texts(column.column)
    for index, text in enumerate(texts):
        try:
            has_value = text and text not in column.missing and values.whole_id(text) not in column.missing
            cells.append(read(with_point(table, text)) if has_value else None)
        except InvalidValue as error:
            if column.invalid == "error":
                hint = hint_for_invalid(error, table, text, _is_mostly_valid(table, texts, read))
                raise table.error(index, column.column, str(error), hint=hint) from error
            cells.append(None)
    return cells


def with_point(table: Table, text: str) -> str:
    """Return a number with a point, as `values.with_point`. Raises InvalidValue."""
    return values.with_point(text, table.decimal) if "," in text else text


def _is_mostly_valid(table: Table, texts: Sequence[str], read: Callable[[str], object]) -> bool:
    invalid = 0
    filled = [text for text in texts if text]
    for text in filled:
        try:
            read(with_point(table, text))
        except InvalidValue:
            invalid += 1
    return 2 * invalid <= len(filled)


def hint_for_invalid(error: InvalidValue, table: Table, text: str, mostly_valid: bool) -> str:
    """Return how to make a value readable, or missing if most others are valid."""
    if error.hint:
        return error.hint
    if isinstance(error, InvalidTime) and error.units:
        return error.setting()
    if values.has_decimal_comma(text):
        return 'set decimal = "," for this table in domain.toml'
    hints = ['or set invalid = "missing" for this column in domain.toml'] if mostly_valid else []
    if table.positional:
        hints.insert(0, "remove header = false if line 1 names the columns")
    if isinstance(error, InvalidTime):
        hints.insert(0, f"write {times.ISO_EXAMPLE}, or set unit to a pattern such as '%d/%m/%Y %H:%M'")
    return "; ".join(hints) or "most values of this column are none: map another column in domain.toml"


def _count_missing(
    report: ImportReport, field: str, column: Column | None, cells: Sequence[object | None]
) -> None:
    if column is not None and (missing := cells.count(None)):
        report.missing[field] += missing


def _named_lists(table: Table, columns: Mapping[str, Column]) -> list[dict[str, list[str]]]:
    """Return each row's cleaned values by column name, without empty columns."""
    rows: list[dict[str, list[str]]] = [{} for _ in range(len(table))]
    for name, column in columns.items():
        for row, parts in zip(rows, table.lists(column.column, column.separator), strict=True):
            if cleaned := list(dict.fromkeys(filter(None, map(collapse, parts)))):
                row[name] = cleaned
    return rows


def facts_of(table: Table, columns: Mapping[str, Column]) -> Iterator[dict[str, str]]:
    """Yield per row the same, each joined to one phrase: "comedy, drama"."""
    for row in _named_lists(table, columns):
        yield {name: ", ".join(parts) for name, parts in row.items()}


def _unique(
    table: Table, column: str, records: Sequence[Record], name: str, report: ImportReport
) -> tuple[Record, ...]:
    """Keep each id once: count repeated rows, and reject other rows with the same id."""
    first: dict[str, int] = {}
    for index, record in enumerate(records):
        seen = first.setdefault(record.id, index)
        if seen == index:
            continue
        if records[seen] != record:
            problem = f"{quote(record.id)} names something else in row {table.rows[seen]}"
            raise table.error(index, column, problem, hint="every id must be used once")
        report.duplicates[name] += 1
    return tuple(records[index] for index in first.values())
