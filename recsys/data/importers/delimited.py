"""Delimited text as chunks of records; the separator is found out unless stated."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice
from typing import TextIO

from recsys.config.tables import FileTable
from recsys.errors import DataError

Chunks = Iterator[tuple[Sequence[int], list[list[str]]]]
"""Successive records that are not empty: the number of the first line of each, and its fields."""

Lines = Callable[[str], TextIO]
"""Opens a text, for `io.open`'s `newline`: "" keeps line ends of all kinds, "\\n" splits there alone."""

CHUNK = 50_000  # records that are Python objects at the same time
SEPARATORS = (",", ";", "\t", "|", "::")
SAMPLE_CHARACTERS, SAMPLE_RECORDS = 65_536, 50  # from which the separator is found out

_SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_RECBOLE_TYPE = re.compile(r":(?:token|float)(?:_seq)?$")


def delimited_chunks(
    file: str, open_lines: Lines, options: FileTable, default: str, wanted: Sequence[str]
) -> tuple[str, Chunks]:
    """Return the separator of a text and its records.

    The option `separator` wins, then a first line "sep=;", which spreadsheets write, then what fits best.

    Args:
        file: For messages.
        open_lines: Opens the text.
        options: How the file is written.
        default: The separator that is tried first.
        wanted: Columns that the separator should yield.
    """
    with open_lines("") as text:
        sample = text.read(SAMPLE_CHARACTERS)
        is_whole = not text.read(1)
    stated = _SEP_LINE.match(sample)
    separator = options.separator or (stated[1] if stated else "")
    if not separator:
        sample = sample if is_whole else sample[: sample.rfind("\n") + 1]
        separator = _likely_separator(sample, default, wanted, options.header)
    return separator, _split(file, open_lines, separator, skipped=1 if stated else 0)


def recbole_chunks(open_lines: Lines) -> Chunks:
    """Return the records of a RecBole file: tabs, no quotes, types in the header."""
    first = 1
    with open_lines("\n") as text:
        while lines := list(islice(text, CHUNK)):
            rows = [line.rstrip("\n").removesuffix("\r").split("\t") for line in lines]
            if first == 1:
                rows[0] = [_RECBOLE_TYPE.sub("", name) for name in rows[0]]
            yield _filled(range(first, first + len(rows)), rows, lambda row: row != [""])
            first += len(lines)


def _split(file: str, open_lines: Lines, separator: str, skipped: int = 0) -> Chunks:
    """Split all but the first `skipped` lines."""
    if len(separator) > 1:
        with open_lines("\n") as text:
            yield from _split_lines(islice(text, skipped, None), separator, skipped + 1)
    else:
        with open_lines("") as text:
            yield from _split_quoted(file, islice(text, skipped, None), separator, skipped + 1)


def _split_lines(text: Iterator[str], separator: str, first: int) -> Chunks:
    while lines := list(islice(text, CHUNK)):
        rows = [line.rstrip("\n").removesuffix("\r").split(separator) for line in lines]
        yield _filled(range(first, first + len(rows)), rows, lambda row: len(row) > 1 or bool(row[0].strip()))
        first += len(lines)


def _split_quoted(file: str, text: Iterator[str], separator: str, first: int) -> Chunks:
    reader = csv.reader(text, delimiter=separator, strict=True)
    number, problem = first, None
    while problem is None:
        rows: list[list[str]] = []
        try:
            rows.extend(islice(reader, CHUNK))
        except csv.Error as error:  # the rows before it are kept, and looked at first
            problem = error
        if not rows and problem is None:
            return
        numbers: Sequence[int] = range(number, number + len(rows) + 1)
        if problem is not None or reader.line_num + first != numbers[-1]:  # a value spans several lines
            numbers = list(accumulate(map(_lines_of, rows), initial=number))
        number = numbers[-1]
        yield _filled(numbers[:-1], rows, bool)
    hint = "double quotes go around a whole value and are doubled inside; "
    hint += 'for tabs without quoting set format = "recbole"'
    raise DataError(file, number, None, f"cannot be split: {problem}", hint=hint) from problem


def _lines_of(fields: Sequence[str]) -> int:
    """Return how many lines a record takes."""
    return 1 + sum(len(_LINE_END.findall(field)) for field in fields)


def _filled(
    numbers: Sequence[int], rows: list[list[str]], is_filled: Callable[[list[str]], bool]
) -> tuple[Sequence[int], list[list[str]]]:
    """Return a chunk without its empty records."""
    kept = [is_filled(row) for row in rows]
    if all(kept):
        return numbers, rows
    filled = [(number, row) for number, row, keep in zip(numbers, rows, kept, strict=True) if keep]
    return [number for number, _ in filled], [row for _, row in filled]


def _likely_separator(sample: str, default: str, wanted: Sequence[str], header: bool) -> str:
    """Return the separator that fits the wanted columns; ties go to the default."""
    candidates = sorted(SEPARATORS, key=lambda separator: separator != default)
    fit = _fit_of_header if header else _fit_of_positions
    return max(candidates, key=lambda separator: fit(_sample_records(sample, separator), wanted))


def _sample_records(sample: str, separator: str) -> list[list[str]]:
    records: list[list[str]] = []
    try:
        for _, rows in _split("", lambda newline: io.StringIO(sample, newline=newline), separator):
            records += rows
    except DataError:
        pass  # the whole file is read with an error that names the line
    return records[:SAMPLE_RECORDS]


def _fit_of_header(records: Sequence[Sequence[str]], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return how many wanted columns the header names, then how many columns it names."""
    names = [name.strip().strip("\ufeff") for name in records[0]] if records else []
    return len(set(wanted) & set(names)), len(names)


def _fit_of_positions(records: Sequence[Sequence[str]], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return if the positions exist, then minus how many first fields could split."""
    counts = {len(record) for record in records}
    last = max((int(name) for name in wanted if name.isdecimal()), default=1)
    if len(counts) != 1 or min(counts) < max(last, 2):
        return (0, max(counts, default=0))
    unclean = sum(other in record[0] for record in records for other in SEPARATORS)
    return (1, -unclean)
