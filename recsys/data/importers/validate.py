"""Tables of cells, as validated items, users and interactions. The first wrong row is an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from recsys.config.tables import Column, InteractionTable, ItemTable, UserTable
from recsys.data.batch import ImportReport, Progress, ResolvePlace
from recsys.data.importers import values
from recsys.data.importers.readers import Table
from recsys.data.importers.values import InvalidValue, collapse, quote
from recsys.errors import DataError
from recsys.types import Interaction, Item, Site, User

PROGRESS_EVERY = 10_000  # rows

T = TypeVar("T")
Record = TypeVar("Record", Item, User)


def columns_of(mapping: ItemTable | UserTable | InteractionTable) -> list[str]:
    """Return every source column that the mapping of a table names."""
    names: list[str] = []
    for _, value in mapping:
        if isinstance(value, Column):
            names.append(value.column)
        elif isinstance(value, Mapping):
            names += [column.column for column in value.values()]
    return names


def read_items(table: Table, mapping: ItemTable, report: ImportReport) -> tuple[Item, ...]:
    """Return one item per row, without repeated rows. Raises DataError for the first wrong row."""
    if not len(table):
        raise DataError(table.file, None, None, "there are no rows: a catalog needs at least one item")
    ids = _required(table, mapping.id)
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
    return _unique(table, mapping.id.column, items, "items", report)


def read_users(
    table: Table, mapping: UserTable, resolve_place: ResolvePlace, report: ImportReport
) -> tuple[User, ...]:
    """Return one user per row, without repeated rows. Raises DataError for the first wrong row."""
    ids = _required(table, mapping.id)
    profiles = _facts(table, mapping.profile)
    homes = _optional(table, mapping.home, values.place_reader(resolve_place))
    _count_missing(report, "home", mapping.home, homes)
    users = [
        User(id=user_id, profile=profile, home=home)
        for user_id, profile, home in zip(ids, profiles, homes, strict=True)
    ]
    return _unique(table, mapping.id.column, users, "users", report)


def read_interactions(
    table: Table,
    mapping: InteractionTable,
    known_items: Collection[str],
    known_users: Collection[str] | None,
    report: ImportReport,
    progress: Progress,
) -> tuple[Interaction, ...]:
    """Return one interaction per event, in the order of the file.

    Of rows with the same user, item and time, the last one holds; the report counts the others.

    Args:
        table: The rows.
        mapping: Which columns to read.
        known_items: Ids that rows may name.
        known_users: Ids that rows may name; None without a table of users.
        report: Where odd rows are counted.
        progress: Called every 10,000 rows.

    Raises:
        DataError: For the first wrong row.
    """
    user_ids = _required(table, mapping.user)
    item_ids = _required(table, mapping.item)
    _check_known(table, mapping.item, item_ids, known_items, "items")
    if known_users is not None:
        _check_known(table, mapping.user, user_ids, known_users, "users")
    ratings = _optional(table, mapping.rating, values.number)
    timestamps = _optional(table, mapping.timestamp, values.timestamp)
    _count_missing(report, "rating", mapping.rating, ratings)
    _count_missing(report, "timestamp", mapping.timestamp, timestamps)
    contexts = _facts(table, mapping.context)

    events: dict[tuple[str, str, float | None], Interaction] = {}
    rows = zip(user_ids, item_ids, ratings, timestamps, contexts, strict=True)
    for done, (user_id, item_id, rating, timestamp, context) in enumerate(rows):
        if done % PROGRESS_EVERY == 0:
            progress("reading interactions", done, len(table))
        event = Interaction(
            user_id=user_id, item_id=item_id, rating=rating, timestamp=timestamp, context=context
        )
        previous = events.get(key := (user_id, item_id, timestamp))
        events[key] = event
        if previous == event:
            report.duplicates["interactions"] += 1
        elif previous is not None:
            report.replaced += 1
    moments = Counter((user_id, time) for user_id, _, time in events if time is not None)
    report.tied_timestamps = sum(count for count in moments.values() if count > 1)
    return tuple(events.values())


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


def _required(table: Table, column: Column) -> list[str]:
    texts = table.texts(column.column)
    if "" in texts:
        raise table.error(texts.index(""), column.column, "expected a value, found nothing")
    return texts


def _optional(table: Table, column: Column | None, read: Callable[[str], T]) -> list[T | None]:
    """Read a column by `read`; None for empty cells, and for invalid ones where the column allows them."""
    if column is None:
        return [None] * len(table)

    def cell(index: int, text: str) -> T | None:
        if not text:
            return None
        try:
            return read(text)
        except InvalidValue as error:
            if column.invalid == "missing":
                return None
            hint = error.hint or 'or set invalid = "missing" for this column in domain.toml'
            raise table.error(index, column.column, str(error), hint=hint) from error

    return [cell(index, text) for index, text in enumerate(table.texts(column.column))]


def _count_missing(
    report: ImportReport, field: str, column: Column | None, cells: Sequence[object | None]
) -> None:
    if column is not None and (missing := cells.count(None)):
        report.missing[field] += missing


def _named_lists(table: Table, columns: Mapping[str, Column]) -> list[dict[str, list[str]]]:
    """Return per row the cleaned values of each named column; names without a value are left out."""
    rows: list[dict[str, list[str]]] = [{} for _ in range(len(table))]
    for name, column in columns.items():
        for row, parts in zip(rows, table.lists(column.column, column.separator), strict=True):
            if cleaned := list(dict.fromkeys(filter(None, map(collapse, parts)))):
                row[name] = cleaned
    return rows


def _facts(table: Table, columns: Mapping[str, Column]) -> Iterator[dict[str, str]]:
    """Yield per row the same, each joined to one phrase: "comedy, drama"."""
    for row in _named_lists(table, columns):
        yield {name: ", ".join(parts) for name, parts in row.items()}


def _check_known(
    table: Table, column: Column, ids: Sequence[str], known: Collection[str], where: str
) -> None:
    for index, row_id in enumerate(ids):
        if row_id not in known:
            problem = f"expected an id from the table of {where}, found {quote(row_id)}"
            raise table.error(index, column.column, problem)


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
