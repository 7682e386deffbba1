"""Tables of cells as validated items, users and interactions.

The first wrong row is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from recsys.config.attributes import AttributeType
from recsys.config.tables import Column, FileTable, InteractionTable, ItemTable, UserTable
from recsys.data.batch import ImportReport, Progress, ResolvePlace
from recsys.data.importers import times, values
from recsys.data.importers.readers import Table
from recsys.data.importers.times import InvalidTime
from recsys.data.importers.typed_attributes import read_typed
from recsys.data.importers.values import InvalidValue, collapse, quote
from recsys.errors import DataError
from recsys.types import Interaction, Item, Site, User

PROGRESS_EVERY = 10_000  # rows
SAMPLE = 5  # ids of skipped events that a report names
COUNTING_STEP = 10.0  # times the next smaller number: more is not counted up to

T = TypeVar("T")
Record = TypeVar("Record", Item, User)


def columns_of(mapping: FileTable) -> list[str]:
    """Return every source column that the mapping of a table names."""
    return [column.column for _, column in mapping.columns()]


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
        known_users: Ids that rows may name; None without a table of users. Rows that name others are
            errors, or skipped and counted, as `mapping.unknown` says.
        report: Where odd rows are counted.
        progress: Called every 10,000 rows.

    Raises:
        DataError: For the first wrong row.
    """
    table, user_ids, item_ids = _of_known(table, mapping, known_items, known_users, report)
    ratings = _optional(table, mapping.rating, values.number)
    timestamps = _timestamps(table, mapping.timestamp)
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


def _ids(table: Table, column: Column) -> list[str]:
    return values.whole_ids([values.identifier(text) for text in _required(table, column)])


def _required(table: Table, column: Column) -> list[str]:
    texts = table.texts(column.column)
    if "" in texts:
        raise table.error(texts.index(""), column.column, "expected a value, found nothing")
    return texts


def _timestamps(table: Table, column: Column | None) -> list[float | None]:
    """Read times. Without a unit, numbers that are rather dates are errors."""
    seconds = _optional(table, column, times.time_reader(column.unit if column else None))
    if column is None or column.unit is not None:
        return seconds
    texts = [_point(table, text) for text in table.texts(column.column)]
    for index in _dates_as_numbers(texts, seconds):
        try:
            times.require_no_date(texts[index])
        except InvalidTime as error:
            hint = error.setting() + ', or unit = "s" if it is seconds'
            raise table.error(index, column.column, str(error), hint=hint) from error
    return seconds


def _dates_as_numbers(texts: Sequence[str], seconds: Sequence[float | None]) -> list[int]:
    """Return where seconds look like dates that the column does not count up to.

    A column that counts seconds from 0 has 2,009 and 45,352 too, but then it has most numbers below as well.
    """
    numbers = [
        (second, index)
        for index, second in enumerate(seconds)
        if second is not None and 0 <= second < times.LAST_DATE_NUMBER and values.finite(texts[index])
    ]
    largest, dates = 0.0, []
    for second, index in sorted(numbers):
        if times.likely_units(texts[index]) and second > COUNTING_STEP * largest:
            dates.append(index)
        else:
            largest = second
    return sorted(dates)


def _optional(table: Table, column: Column | None, read: Callable[[str], T]) -> list[T | None]:
    """Read a column; None for empty cells, and for invalid ones if allowed."""
    if column is None:
        return [None] * len(table)
    cells: list[T | None] = []
    texts = table.texts(column.column)
    for index, text in enumerate(texts):
        try:
            has_value = text and text not in column.missing and values.whole_id(text) not in column.missing
            cells.append(read(_point(table, text)) if has_value else None)
        except InvalidValue as error:
            if column.invalid == "error":
                hint = _hint_for_invalid(error, table, text, _is_mostly_valid(table, texts, read))
                raise table.error(index, column.column, str(error), hint=hint) from error
            cells.append(None)
    return cells


def _point(table: Table, text: str) -> str:
    return values.with_point(text, table.decimal) if "," in text else text


def _is_mostly_valid(table: Table, texts: Sequence[str], read: Callable[[str], object]) -> bool:
    invalid = 0
    filled = [text for text in texts if text]
    for text in filled:
        try:
            read(_point(table, text))
        except InvalidValue:
            invalid += 1
    return 2 * invalid <= len(filled)


def _hint_for_invalid(error: InvalidValue, table: Table, text: str, mostly_valid: bool) -> str:
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


def _facts(table: Table, columns: Mapping[str, Column]) -> Iterator[dict[str, str]]:
    """Yield per row the same, each joined to one phrase: "comedy, drama"."""
    for row in _named_lists(table, columns):
        yield {name: ", ".join(parts) for name, parts in row.items()}


def _of_known(
    table: Table,
    mapping: InteractionTable,
    known_items: Collection[str],
    known_users: Collection[str] | None,
    report: ImportReport,
) -> tuple[Table, list[str], list[str]]:
    """Return the rows of known items and users, with both ids of each."""
    user_ids, item_ids = _ids(table, mapping.user), _ids(table, mapping.item)
    unknown: set[int] = set()
    checks = [(mapping.item, item_ids, known_items, "items")]
    if known_users is not None:
        checks.append((mapping.user, user_ids, known_users, "users"))
    for column, ids, known, where in checks:
        ids[:] = [_known_form(row_id, known) for row_id in ids]
        indices = [index for index, row_id in enumerate(ids) if row_id not in known]
        if indices and (mapping.unknown == "error" or len(indices) == len(ids)):
            raise _unknown_error(table, column, ids, indices, known, where)
        unknown.update(indices)
        if indices:
            report.skipped[where] = len(indices)
            report.skipped_ids[where] = list(islice(dict.fromkeys(ids[i] for i in indices), SAMPLE))
    if not unknown:
        return table, user_ids, item_ids
    kept = [index for index in range(len(table)) if index not in unknown]
    return table.take(kept), [user_ids[index] for index in kept], [item_ids[index] for index in kept]


def _known_form(row_id: str, known: Collection[str]) -> str:
    """Return the id that is known: "7" for "7.0" and the other way round."""
    if row_id in known:
        return row_id
    forms = (values.whole_id(row_id), f"{row_id}.0")
    return next((form for form in forms if form in known), row_id)


def _unknown_error(
    table: Table,
    column: Column,
    ids: Sequence[str],
    indices: Sequence[int],
    known: Collection[str],
    where: str,
) -> DataError:
    row_id = ids[indices[0]]
    problem = f"expected an id from the table of {where}, found {quote(row_id)}"
    problem += f" ({len(indices):,} of {len(ids):,} events name no known id)"
    similar = [other for other in known if other.casefold().lstrip("0") == row_id.casefold().lstrip("0")]
    if table.positional and indices == [0]:
        hint = "remove header = false if line 1 names the columns"
    elif similar:
        hint = f"write ids the same in both files: the table of {where} has {quote(similar[0])}"
    elif len(indices) == len(ids):
        example = quote(min(known, default=""))
        hint = f"map another column, or another id of {where}: there they are such as {example}"
    else:
        hint = f'add it to the table of {where}, or set unknown = "skip" under [interactions]'
    return table.error(indices[0], column.column, problem, hint=hint)


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
