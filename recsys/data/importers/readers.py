"""Files, as tables of cells with row numbers for messages.

Rows of text formats are lines, of which the header is 1. Rows of Parquet are counted from 1.
"""

from __future__ import annotations

import codecs
import dataclasses
import datetime as dt
import difflib
import io
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from recsys.config.tables import FORMATS, FileTable, TableFormat
from recsys.data.importers.delimited import CHUNK, Chunks, delimited_chunks, recbole_chunks
from recsys.data.importers.values import NOT_TEXT, finite, quote
from recsys.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

MAX_NAMES = 20  # columns listed in a message

_MARKS = (  # the longer first where one begins another
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))  # what `str.strip` strips
_ENCODING_HINT = 'save the file as UTF-8, or set encoding = "cp1252" (or "utf-16-le" ...) for this table'

RowsRead = Callable[[int, int], None]
"""Called with the rows read so far, and about how many there are in all."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file."""

    file: str
    rows: pl.Series  # row number of each cell
    columns: Mapping[str, pl.Series | list[object]]  # text; a list if a cell is none, or no valid text
    decimal: str | None = "."  # decimal mark of numbers; None where it may be a comma, too
    positional: bool = False  # columns are named by position: the file has no header

    def __len__(self) -> int:
        return len(self.rows)

    def error(self, index: int, column: str, problem: str, *, hint: str = "") -> DataError:
        """Return a DataError about one cell; `index` counts from 0."""
        return DataError(self.file, self.rows[index], column, problem, hint=hint)

    def take(self, indices: list[int] | pl.Series) -> Table:
        """Return the table with these rows alone; indices count from 0."""
        columns = {
            name: [cells[index] for index in indices] if isinstance(cells, list) else cells.gather(indices)
            for name, cells in self.columns.items()
        }
        return dataclasses.replace(self, rows=self.rows.gather(indices), columns=columns)

    def column(self, column: str) -> pl.Series:
        """Return a column as stripped text, "" where there is no value.

        Raises:
            DataError: A cell holds a list, a NUL byte or broken Unicode.
        """
        import polars as pl

        cells = self.columns[column]
        if isinstance(cells, list):
            texts = [self._text(index, column, value) for index, value in enumerate(cells)]
            return pl.Series(texts, dtype=pl.String)
        for index in cells.str.contains("\0", literal=True).arg_true().head(1):
            self._text(index, column, cells[index])
        return cells.str.strip_chars(_BLANKS)

    def texts(self, column: str) -> list[str]:
        """Return what `column` returns as a list."""
        return self.column(column).to_list()

    def lists(self, column: str, separator: str | None) -> list[list[str]]:
        """Return a column as lists: of JSON or Parquet, or text split by `separator`.

        Raises:
            DataError: As `column`.
        """
        lists = []
        for index, value in enumerate(self.columns[column]):
            if isinstance(value, list):
                lists.append([self._text(index, column, part) for part in value])
            else:
                text = self._text(index, column, value)
                lists.append([part.strip() for part in text.split(separator)] if separator else [text])
        return lists

    def _text(self, index: int, column: str, value: object) -> str:
        if not isinstance(value, str):
            text = _as_text(value)
            if text is None:
                problem = f"expected text or a number, found {quote(value)}"
                raise self.error(index, column, problem, hint="lists are read as attributes only")
            return text
        if NOT_TEXT.search(value):
            raise self.error(index, column, f"holds a NUL byte or half a character: {quote(value)}")
        return value.strip()


def _as_text(value: object) -> str | None:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).lower()
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))  # an id that was read as the number 196.0
        case int() | float():
            return str(value)
        case dt.date():  # or a time, which is a date too
            return value.isoformat()
    return None


def _cells(values: list[object]) -> pl.Series | list[object]:
    """Return values as a column of text if every one is a text or a number."""
    import polars as pl

    texts = [value if isinstance(value, str) else _as_text(value) for value in values]
    if None in texts:
        return values
    try:
        return pl.Series(texts, dtype=pl.String)
    except UnicodeEncodeError:  # half a character, which an error will name
        return values


def _joined(parts: Sequence[pl.Series | list[object]]) -> pl.Series | list[object]:
    import polars as pl

    columns = [part for part in parts if not isinstance(part, list)]
    if len(columns) == len(parts):
        return pl.concat(columns) if columns else pl.Series(dtype=pl.String)
    return list(chain.from_iterable(part if isinstance(part, list) else part.to_list() for part in parts))


class TextFile:
    """A text file that can be opened several times.

    Args:
        path: The file.
        encoding: Its encoding if it has no byte order mark.

    Raises:
        DataError: It cannot be opened, or is empty.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        try:
            with path.open("rb") as file:
                start = file.read(4)
            self._size = path.stat().st_size
        except OSError as error:
            raise _cannot_open(path, error) from error
        self.path, self.encoding = path, encoding_of(start, encoding)
        _require_text(str(path), start, self.encoding)
        with self.open() as text:
            while (part := text.read(CHUNK)) and not part.strip():
                pass
            if not part:
                raise DataError(str(path), None, None, "the file is empty")

    def open(self, newline: str = "\n") -> TextIO:
        """Open the text after its byte order mark, for `newline` as in `io.open`."""
        self._raw = self.path.open("rb", buffering=0)
        text = io.TextIOWrapper(io.BufferedReader(self._raw), self.encoding, newline=newline)
        if text.read(1) != "\ufeff":
            text.seek(0)
        return text

    def total(self, rows: int) -> int:
        """Return about how many rows there are, of which so many were read."""
        done = self._size if self._raw.closed else self._raw.tell()
        return max(rows, rows * self._size // max(done, 1))


def read_table(
    path: Path,
    file_format: TableFormat | None,
    wanted: Sequence[str],
    options: FileTable | None = None,
    rows_read: RowsRead = lambda done, total: None,
) -> Table:
    """Read the `wanted` columns of a file; by default its suffix tells the format.

    Args:
        path: The file.
        file_format: Its format.
        wanted: Names of columns; their positions, from "1", without a header.
        options: How the file is written; by default all is found out.
        rows_read: Called with progress.

    Raises:
        DataError: The file is missing, empty or malformed, or lacks a column.
        ConfigError: The suffix tells no format.
    """
    options = options or FileTable(file=path.name, format=file_format)
    file_format = file_format or FORMATS.get(path.suffix.lower())
    if file_format is None:
        known = ", ".join(FORMATS)
        raise ConfigError(f"{path}: the suffix tells no format", hint=f"set format, or use {known}")
    if file_format == "parquet":
        return _read_parquet(path, wanted)
    if file_format == "sqlite":
        return _read_sqlite(path, options.table, wanted)
    encoding = options.encoding or "utf-8"
    try:
        return _read_text_table(TextFile(path, encoding), file_format, wanted, options, rows_read)
    except UnicodeError:
        decode_text(str(path), path.read_bytes(), encoding, hint=_ENCODING_HINT)  # raises, with the line
        raise


def _read_text_table(
    file: TextFile, file_format: TableFormat, wanted: Sequence[str], options: FileTable, rows_read: RowsRead
) -> Table:
    if file_format == "jsonl":
        return _read_jsonl(file, wanted, options.decimal or ".", rows_read)
    if file_format == "recbole":
        return _from_chunks(file, recbole_chunks(file.open), wanted, options, rows_read)
    default = "\t" if file_format == "tsv" else ","
    separator, chunks = delimited_chunks(str(file.path), file.open, options, default, wanted)
    table = _from_chunks(file, chunks, wanted, options, rows_read)
    return dataclasses.replace(table, decimal=options.decimal or (None if separator == ";" else "."))


def read_text(path: Path) -> str:
    """Read a UTF-8 file as `decode_text` does.

    Raises:
        DataError: It is empty or malformed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _cannot_open(path, error) from error
    text = decode_text(str(path), data, hint="save the file as UTF-8")
    if not text.strip():
        raise DataError(str(path), None, None, "the file is empty")
    return text


def encoding_of(start: bytes, encoding: str = "utf-8") -> str:
    """Return the encoding of a byte order mark in `start` (4 bytes), else `encoding`."""
    return next((name for mark, name in _MARKS if start.startswith(mark)), encoding)


def decode_text(source: str, data: bytes, encoding: str = "utf-8", *, hint: str) -> str:
    """Return text in an encoding, or that of its byte order mark, which is removed.

    Raises:
        DataError: A byte is not of the encoding; `hint` says what to do.
    """
    encoding = encoding_of(data[:4], encoding)
    _require_text(source, data[:4], encoding)
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, start) + 1
        problem = f"expected {encoding.upper()}, found the byte 0x{data[start]:02x}"
        raise DataError(source, line, None, problem, hint=hint) from error
    return text.removeprefix("\ufeff")


def _require_text(source: str, start: bytes, encoding: str) -> None:
    """Raise DataError if the first bytes are rather UTF-16."""
    if encoding == "utf-8" and b"\0" in start[:2]:
        problem = "every second byte is empty, as in UTF-16 without a byte order mark"
        raise DataError(
            source, 1, None, problem, hint='save the file as UTF-8, or set encoding = "utf-16-le"'
        )


def _cannot_open(path: Path, error: OSError) -> DataError:
    problem = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    return DataError(str(path), None, None, problem, hint="check source and file in domain.toml")


def _from_chunks(
    file: TextFile, chunks: Chunks, wanted: Sequence[str], options: FileTable, rows_read: RowsRead
) -> Table:
    import polars as pl

    chunks = (chunk for chunk in chunks if chunk[1])
    numbers, rows = next(chunks)  # there is one, for the file is not empty
    names = [name.strip().strip("\ufeff") for name in rows[0]]
    if not options.header:
        names = [str(position) for position in range(1, len(rows[0]) + 1)]
    _check_header(file.path, names, wanted, options, numbers[0])
    if options.header:
        numbers, rows = numbers[1:], rows[1:]
    lines: list[pl.Series] = []
    parts: dict[str, list[pl.Series | list[object]]] = {name: [] for name in wanted}
    done = 0
    for chunk_numbers, chunk_rows in chain([(numbers, rows)], chunks):
        numbers, rows = _rows_of_values(str(file.path), chunk_numbers, chunk_rows, len(names), options)
        lines.append(pl.Series(numbers, dtype=pl.Int64))
        for name, cells in parts.items():
            index = names.index(name)
            cells.append(_cells([row[index] for row in rows]))
        done += len(rows)
        rows_read(done, file.total(done))
    columns = {name: _joined(cells) for name, cells in parts.items()}
    return Table(str(file.path), pl.concat(lines), columns, options.decimal or ".", not options.header)


def _check_header(
    path: Path, names: Sequence[str], wanted: Sequence[str], options: FileTable, line: int
) -> None:
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(str(path), line, name, "the header names this column twice")
    _check_columns(path, names, wanted, _hint_of_header(names, wanted, options))


def _rows_of_values(
    file: str, numbers: Sequence[int], rows: list[list[str]], width: int, options: FileTable
) -> tuple[Sequence[int], list[list[str]]]:
    """Return the rows that hold anything; spreadsheets end in rows of nothing.

    Raises:
        DataError: A row has another number of fields than `width`.
    """
    if set(map(len, rows)) - {width}:
        number, fields = next((n, row) for n, row in zip(numbers, rows, strict=True) if len(row) != width)
        first = "header" if options.header else "first line"
        problem = f"expected {width} fields as in the {first}, found {len(fields)}: "
        hint = "double quotes go around a value that holds the separator"
        raise DataError(file, number, None, problem + quote(" | ".join(fields)), hint=hint)
    if all(map(any, rows)):
        return numbers, rows
    kept = [(number, row) for number, row in zip(numbers, rows, strict=True) if any(row)]
    return [number for number, _ in kept], [row for _, row in kept]


def _hint_of_header(names: Sequence[str], wanted: Sequence[str], options: FileTable) -> str:
    """Return what to do about a column that is not there, or "" for the usual."""
    if not options.header:
        return f'without a header columns are named by position, from "1" to "{len(names)}"'
    if any(finite(name) is not None for name in names) or all(name.isdecimal() for name in wanted):
        csv = "" if options.file_format in ("csv", "tsv") else 'format = "csv" and '
        return f'is line 1 data? set {csv}header = false for this table; columns are then "1", "2" ...'
    if len(names) == 1:
        return "set separator for this table in domain.toml to what is between the columns"
    return ""


def _check_columns(path: Path, names: Sequence[str], wanted: Sequence[str], hint: str = "") -> None:
    for name in wanted:
        if name not in names:
            known = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
            by_case = {other.casefold(): other for other in names}
            if close := difflib.get_close_matches(name.casefold(), by_case, 1):
                hint = hint or f"is it '{by_case[close[0]]}'? correct the columns in domain.toml"
            hint = hint or "correct the file or its columns in domain.toml"
            raise DataError(str(path), None, name, f"no such column; there are: {known}", hint=hint)


def _read_jsonl(file: TextFile, wanted: Sequence[str], decimal: str, rows_read: RowsRead) -> Table:
    import polars as pl

    numbers: list[int] = []
    names: dict[str, None] = {}
    parts: dict[str, list[pl.Series | list[object]]] = {name: [] for name in wanted}
    with file.open() as text:
        lines = ((number, line) for number, line in enumerate(text, start=1) if line.strip())
        while chunk := list(islice(lines, CHUNK)):
            rows = [_json_object(str(file.path), number, line.rstrip("\n")) for number, line in chunk]
            for row in rows:
                names.update(dict.fromkeys(row))
            for name, cells in parts.items():
                cells.append(_cells([row.get(name) for row in rows]))
            numbers += [number for number, _ in chunk]
            rows_read(len(numbers), file.total(len(numbers)))
    _check_columns(file.path, list(names), wanted)
    columns = {name: _joined(cells) for name, cells in parts.items()}
    return Table(str(file.path), pl.Series(numbers, dtype=pl.Int64), columns, decimal)


def _json_object(file: str, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(file, number, None, f"not valid JSON: {error}: {quote(line)}") from error
    if not isinstance(row, dict):
        raise DataError(file, number, None, f"expected a JSON object, found {quote(line)}")
    return row


def _read_parquet(path: Path, wanted: Sequence[str]) -> Table:
    import polars as pl

    try:
        _check_columns(path, list(pl.read_parquet_schema(path)), wanted)
        frame = pl.read_parquet(path, columns=list(dict.fromkeys(wanted)))
    except OSError as error:
        raise _cannot_open(path, error) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(str(path), None, None, f"not readable as Parquet: {error}") from error
    rows = pl.int_range(1, len(frame) + 1, eager=True)
    return Table(str(path), rows, {name: _column_of(frame[name]) for name in wanted})


def _read_sqlite(path: Path, table: str | None, wanted: Sequence[str]) -> Table:
    import polars as pl

    try:
        path.open("rb").close()
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            table = _sqlite_table(path, database, table)
            known = [name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", [table])]
            _check_columns(path, known, wanted)
            columns = list(dict.fromkeys(wanted))
            rows = database.execute(
                f"SELECT {', '.join(map(_quoted_name, columns))} FROM {_quoted_name(table)}"
            )
            cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    except OSError as error:
        raise _cannot_open(path, error) from error
    except sqlite3.Error as error:
        raise DataError(str(path), None, None, f"not readable as an SQLite database: {error}") from error
    numbers = pl.int_range(1, len(cells[0]) + 1, eager=True)
    return Table(str(path), numbers, {n: _cells(list(c)) for n, c in zip(columns, cells, strict=True)})


def _sqlite_table(path: Path, database: sqlite3.Connection, table: str | None) -> str:
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    names = [name for (name,) in database.execute(query)]
    if table is None and len(names) == 1:
        return str(names[0])
    if table is None or table not in names:
        problem = f"no such table; there are: {', '.join(names[:MAX_NAMES])}"
        raise DataError(str(path), None, table, problem, hint="set table for this file in domain.toml")
    return table


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _column_of(values: pl.Series) -> pl.Series | list[object]:
    """Return a column of any type as text, or as a list."""
    import polars as pl

    if values.dtype == pl.String or values.dtype.is_integer():
        return values.cast(pl.String).fill_null("")
    return _joined([_cells(values[at : at + CHUNK].to_list()) for at in range(0, len(values), CHUNK)])
