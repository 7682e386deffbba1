"""Rows of interactions, as columns of validated events.

Columns are read by expressions. The distinct texts that no expression reads go through the readers of one
cell, which also word the error about the first wrong row.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from recsys.config.tables import Column, InteractionTable
from recsys.data.batch import ImportReport
from recsys.data.event_columns import KEY, EventColumns, context_text
from recsys.data.importers import times, values
from recsys.data.importers.readers import Table
from recsys.data.importers.times import InvalidTime
from recsys.data.importers.validate import facts_of, hint_for_invalid, with_point
from recsys.data.importers.values import InvalidValue, PlainReader, quote
from recsys.errors import DataError

if TYPE_CHECKING:
    import polars as pl

SKIP_HINT = 'correct it, or set invalid = "skip" for this column in domain.toml to leave such rows out'
CLOCK_ERROR_S = 2 * 86_400.0  # how far ahead a clock or a time zone may have been
SAMPLE = 5  # ids of skipped events that a report names
COUNTING_STEP = 10.0  # times the next smaller number: more is not counted up to


def read_interactions(
    table: Table,
    mapping: InteractionTable,
    known_items: Collection[str],
    known_users: Collection[str] | None,
    report: ImportReport,
) -> EventColumns:
    """Return one interaction per event, in the order of the file.

    Of rows with the same user, item and time, the last one holds; the report counts the others.

    Args:
        table: The rows.
        mapping: Which columns to read.
        known_items: Ids that rows may name.
        known_users: Ids that rows may name; None without a table of users. Rows that name others are
            errors, or skipped and counted, as `mapping.unknown` says.
        report: Where odd rows are counted.

    Raises:
        DataError: For the first wrong row.
    """
    import polars as pl

    table, user_ids, item_ids = _of_known(table, mapping, known_items, known_users, report)
    numbers = {
        name: _without_jumps(table, check, _numbers(table, check), item_ids)
        for name, check in mapping.checks.items()
    }
    ratings, timestamps = _numbers(table, mapping.rating), _timestamps(table, mapping.timestamp)
    frame = pl.DataFrame(
        {
            "user_id": user_ids,
            "item_id": item_ids,
            "timestamp": timestamps,
            "rating": ratings,
            "context": _contexts(table, mapping.context),
        }
    )
    checked = [(mapping.rating, ratings), (mapping.timestamp, timestamps)]
    checked += [(mapping.checks[name], cells) for name, cells in numbers.items()]
    frame = frame.filter(_counting(table, checked, report))
    for name, column in (("rating", mapping.rating), ("timestamp", mapping.timestamp)):
        if column is not None and (missing := frame[name].null_count()):
            report.missing[name] += missing
    frame = _without_repeated(frame, report)
    moments = frame.filter(pl.col("timestamp").is_not_null()).select("user_id", "timestamp")
    report.tied_timestamps = int(moments.is_duplicated().sum())
    return EventColumns(frame)


def _numbers(table: Table, column: Column | None) -> pl.Series:
    return _read_column(table, column, values.number, [values.plain_numbers])


def _read_column(
    table: Table, column: Column | None, read: Callable[[str], float], plain: Sequence[PlainReader]
) -> pl.Series:
    """Read a column as 64-bit numbers; null for empty, and allowed invalid cells.

    Args:
        table: The rows.
        column: What to read; without one all is null. NaN stands for a value whose row is to be skipped.
        read: Reads one cell, or raises InvalidValue.
        plain: Read what most cells look like, the first that can.

    Raises:
        DataError: For the first invalid cell.
    """
    import polars as pl

    numbers = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(table))
    if column is None:
        return numbers
    low, high = _limits(column)
    texts = table.column(column.column)
    left = _filled(texts, column.missing).arg_true()
    for reader in plain:
        if not len(left):
            return numbers
        found = pl.select(reader(pl.lit(texts.gather(left)))).to_series()
        found = pl.select(pl.when(found.is_between(low, high)).then(found)).to_series()
        numbers = numbers.scatter(left, found)
        left = left.filter(found.is_null())
    rest = texts.gather(left)
    cells = _read_distinct(table, column, texts, rest, _within(column, read))
    return numbers.scatter(left, rest.replace_strict(cells, default=None, return_dtype=pl.Float64))


def _limits(column: Column) -> tuple[float, float]:
    """Return the least and the largest value that are valid."""
    low = -math.inf if column.at_least is None else column.at_least
    if column.future == "invalid":
        return low, time.time() + CLOCK_ERROR_S
    return low, math.inf if column.at_most is None else column.at_most


def _within(column: Column, read: Callable[[str], float]) -> Callable[[str], float]:
    low, high = _limits(column)

    def read_within(text: str) -> float:
        value = read(text)
        if low <= value <= high:
            return value
        bounds = [f"at least {low:g}"] * (low > -math.inf) + [f"at most {high:g}"] * (high < math.inf)
        expected = "a time that has passed" if column.future == "invalid" else f"{' and '.join(bounds)}"
        raise InvalidValue(expected, text, hint=SKIP_HINT)

    return read_within


def _without_jumps(table: Table, column: Column, numbers: pl.Series, item_ids: pl.Series) -> pl.Series:
    """Return numbers, with NaN for those far from the median of their item.

    Raises:
        DataError: There is one, and it is not to be skipped.
    """
    import polars as pl

    if column.jump is None:
        return numbers
    frame = pl.DataFrame({"number": numbers.fill_nan(None), "item": item_ids})
    number, median = pl.col("number"), pl.col("number").median().over("item")
    far = frame.select((number > median * column.jump) | (number * column.jump < median))["number"]
    indices = far.fill_null(value=False).arg_true()
    if len(indices) and column.invalid == "error":
        index = indices[0]
        problem = f"expected 1/{column.jump:g} to {column.jump:g} times the median of its item"
        problem += f", found {quote(table.column(column.column)[index])}"
        raise table.error(index, column.column, problem, hint=SKIP_HINT)
    return numbers.scatter(indices, math.nan if column.invalid == "skip" else None)


def _counting(
    table: Table, columns: Sequence[tuple[Column | None, pl.Series]], report: ImportReport
) -> pl.Series:
    """Tell which rows have no value for which they are skipped, and report the others.

    Raises:
        DataError: No row would be left.
    """
    import polars as pl

    counting = pl.Series([True]).new_from_index(0, len(table))
    for column, numbers in columns:
        indices = numbers.is_nan().fill_null(value=False).arg_true()
        if column is None or not len(indices):
            continue
        example = f"{quote(table.column(column.column)[indices[0]])} in row {table.rows[indices[0]]}"
        if len(indices) == len(table):
            problem = f"every row would be skipped, such as {example}"
            raise DataError(
                table.file, None, column.column, problem, hint="correct at_least, at_most or unit"
            )
        report.left_out[f"events with an invalid {column.column}, such as {example}"] += len(indices)
        counting = counting.scatter(indices, [False])
    return counting


def _filled(texts: pl.Series, missing: Sequence[str]) -> pl.Series:
    """Tell which cells have a value, unlike those that stand for none."""
    filled = texts != ""
    if missing:
        whole = texts.str.replace(r"^(-?[0-9]+)\.0+$", "${1}")
        filled &= ~(texts.is_in(missing) | whole.is_in(missing))
    return filled


def _read_distinct(
    table: Table, column: Column, texts: pl.Series, rest: pl.Series, read: Callable[[str], float]
) -> dict[str, float | None]:
    """Read each distinct text of `rest`, a part of the column `texts`."""
    cells: dict[str, float | None] = {}
    for text in rest.unique(maintain_order=True):
        try:
            cells[text] = read(with_point(table, text))
        except InvalidValue as error:
            if column.invalid == "error":
                index = texts.index_of(text)
                hint = hint_for_invalid(error, table, text, _is_mostly_valid(table, texts, read))
                raise table.error(index or 0, column.column, str(error), hint=hint) from error
            cells[text] = math.nan if column.invalid == "skip" else None
    return cells


def _is_mostly_valid(table: Table, texts: pl.Series, read: Callable[[str], float]) -> bool:
    invalid = 0
    filled = texts.filter(texts != "")
    for text, count in filled.value_counts().iter_rows():
        try:
            read(with_point(table, text))
        except InvalidValue:
            invalid += count
    return 2 * invalid <= len(filled)


def _timestamps(table: Table, column: Column | None) -> pl.Series:
    """Read times. Without a unit, numbers that are rather dates are errors."""
    unit = column.unit if column else None
    seconds = _read_column(table, column, times.time_reader(unit), times.plain_times(unit))
    if column is None or unit is not None:
        return seconds
    low = seconds.is_between(0, times.LAST_DATE_NUMBER, closed="left").fill_null(value=False).arg_true()
    texts = [with_point(table, text) for text in table.column(column.column).gather(low)]
    for place in _dates_as_numbers(texts, seconds.gather(low).to_list()):
        try:
            times.require_no_date(texts[place])
        except InvalidTime as error:
            hint = error.setting() + ', or unit = "s" if it is seconds'
            raise table.error(low[place], column.column, str(error), hint=hint) from error
    return seconds


def _dates_as_numbers(texts: Sequence[str], seconds: Sequence[float]) -> list[int]:
    """Return where seconds look like dates that the column does not count up to.

    A column that counts seconds from 0 has 2,009 and 45,352 too, but then it has most numbers below as well.
    """
    numbers = [
        (second, index) for index, second in enumerate(seconds) if values.finite(texts[index]) is not None
    ]
    largest, dates = 0.0, []
    for second, index in sorted(numbers):
        if times.likely_units(texts[index]) and second > COUNTING_STEP * largest:
            dates.append(index)
        else:
            largest = second
    return sorted(dates)


def _contexts(table: Table, columns: Mapping[str, Column]) -> pl.Series:
    """Return the facts of each row as JSON, null without any."""
    import polars as pl

    if not columns:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(table))
    cells = {column.column: _comparable(table.columns[column.column]) for column in columns.values()}
    frame = pl.DataFrame(cells).with_row_index("row")
    distinct = frame.unique(list(cells), keep="first", maintain_order=True)
    facts = facts_of(table.take(distinct["row"]), columns)
    texts = pl.Series("facts as JSON", map(context_text, facts), dtype=pl.String)
    distinct = distinct.drop("row").with_columns(texts)
    return frame.join(distinct, on=list(cells), how="left", maintain_order="left")[texts.name]


def _comparable(cells: pl.Series | list[object]) -> pl.Series:
    import polars as pl

    if isinstance(cells, list):
        return pl.Series([json.dumps(cell, default=str) for cell in cells], dtype=pl.String)
    return cells


def _without_repeated(frame: pl.DataFrame, report: ImportReport) -> pl.DataFrame:
    """Keep each event once, where it came first and as it came last."""
    import polars as pl

    frame = frame.with_row_index("row")
    is_repeated = frame.select(KEY).is_duplicated()
    repeated = frame.filter(is_repeated)
    if not len(repeated):
        return frame.drop("row")
    content = ("rating", "context")
    changed = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in content)
    again = pl.int_range(pl.len()) > 0
    counts = repeated.select(
        replaced=(changed & again).over(KEY).sum(), duplicates=(~changed & again).over(KEY).sum()
    )
    report.replaced += counts["replaced"].item()
    if duplicates := counts["duplicates"].item():
        report.duplicates["interactions"] += duplicates
    last = repeated.group_by(KEY).agg(pl.col("row").first(), pl.col(content).last())
    return pl.concat([frame.filter(~is_repeated), last.select(frame.columns)]).sort("row").drop("row")


def _ids(table: Table, column: Column) -> pl.Series:
    texts = table.column(column.column)
    for index in (texts == "").arg_true().head(1):
        raise table.error(index, column.column, "expected a value, found nothing")
    distinct = texts.unique()
    return texts.replace_strict(distinct, values.whole_ids([values.identifier(text) for text in distinct]))


def _of_known(
    table: Table,
    mapping: InteractionTable,
    known_items: Collection[str],
    known_users: Collection[str] | None,
    report: ImportReport,
) -> tuple[Table, pl.Series, pl.Series]:
    """Return the rows of known items and users, with both ids of each."""
    user_ids, item_ids = _ids(table, mapping.user), _ids(table, mapping.item)
    item_ids, is_known = _known(table, mapping, (mapping.item, item_ids), known_items, "items", report)
    if known_users is not None:
        user_ids, of_known = _known(table, mapping, (mapping.user, user_ids), known_users, "users", report)
        is_known &= of_known
    if is_known.all():
        return table, user_ids, item_ids
    return table.take(is_known.arg_true()), user_ids.filter(is_known), item_ids.filter(is_known)


def _known(
    table: Table,
    mapping: InteractionTable,
    column_ids: tuple[Column, pl.Series],
    known: Collection[str],
    where: str,
    report: ImportReport,
) -> tuple[pl.Series, pl.Series]:
    """Return ids in their known forms, and which of them are known."""
    column, ids = column_ids
    distinct = ids.unique(maintain_order=True).to_list()
    forms = [_known_form(row_id, known) for row_id in distinct]
    ids = ids.replace_strict(distinct, forms)
    unknown = [form for form in forms if form not in known]
    is_known = ~ids.is_in(unknown)
    if unknown:
        indices = (~is_known).arg_true()
        if mapping.unknown == "error" or len(indices) == len(ids):
            raise _unknown_error(table, column, ids, indices, known, where)
        report.skipped[where] = len(indices)
        report.skipped_ids[where] = list(islice(dict.fromkeys(unknown), SAMPLE))
    return ids, is_known


def _known_form(row_id: str, known: Collection[str]) -> str:
    """Return the id that is known: "7" for "7.0" and the other way round."""
    if row_id in known:
        return row_id
    forms = (values.whole_id(row_id), f"{row_id}.0")
    return next((form for form in forms if form in known), row_id)


def _unknown_error(
    table: Table, column: Column, ids: pl.Series, indices: pl.Series, known: Collection[str], where: str
) -> DataError:
    row_id = ids[indices[0]]
    problem = f"expected an id from the table of {where}, found {quote(row_id)}"
    problem += f" ({len(indices):,} of {len(ids):,} events name no known id)"
    similar = [other for other in known if other.casefold().lstrip("0") == row_id.casefold().lstrip("0")]
    if table.positional and indices.to_list() == [0]:
        hint = "remove header = false if line 1 names the columns"
    elif similar:
        hint = f"write ids the same in both files: the table of {where} has {quote(similar[0])}"
    elif len(indices) == len(ids):
        example = quote(min(known, default=""))
        hint = f"map another column, or another id of {where}: there they are such as {example}"
    else:
        hint = f'add it to the table of {where}, or set unknown = "skip" under [interactions]'
    return table.error(indices[0], column.column, problem, hint=hint)
