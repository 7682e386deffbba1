"""Delimited text as records; the separator is detected unless it is stated."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from recsys.config.tables import FileTable
from recsys.errors import DataError

Records = Iterator[tuple[int, list[str]]]
"""Number of the first line and fields, of each record that is not empty."""

SEPARATORS = (",", ";", "\t", "|", "::")
SAMPLE_CHARACTERS, SAMPLE_RECORDS = 65_536, 50  # from which the separator is found out

_SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)


def delimited_records(
    file: str, text: str, options: FileTable, default: str, wanted: Sequence[str]
) -> tuple[str, Records]:
    """Return the separator of a text and its records.

    The option `separator` wins, then a first line "sep=;", which spreadsheets write, then what fits best.

    Args:
        file: For messages.
        text: All of it.
        options: How the file is written.
        default: The separator that is tried first.
        wanted: Columns that the separator should yield.
    """
    first = 1
    stated = _SEP_LINE.match(text)
    if stated:
        text, first = text[stated.end() :], 2
    separator = options.separator or (stated[1] if stated else "")
    separator = separator or _likely_separator(text, default, wanted, options.header)
    return separator, _split(file, text, separator, first)


def _split(file: str, text: str, separator: str, first: int = 1) -> Records:
    if len(separator) > 1:
        for number, line in enumerate(text.split("\n"), start=first):
            if line.strip():
                yield number, line.removesuffix("\r").split(separator)
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = first
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "double quotes go around a whole value and are doubled inside; "
            hint += 'for tabs without quoting set format = "recbole"'
            raise DataError(file, number, None, f"cannot be split: {error}", hint=hint) from error
        if fields:
            yield number, fields
        number = reader.line_num + first  # a quoted value may span several lines


def _likely_separator(text: str, default: str, wanted: Sequence[str], header: bool) -> str:
    """Return the separator that fits the wanted columns; ties go to the default."""
    sample = text[:SAMPLE_CHARACTERS]
    if len(sample) < len(text):
        sample = sample[: sample.rfind("\n") + 1]
    candidates = sorted(SEPARATORS, key=lambda separator: separator != default)
    fit = _fit_of_header if header else _fit_of_positions
    return max(candidates, key=lambda separator: fit(_sample_records(sample, separator), wanted))


def _sample_records(sample: str, separator: str) -> list[list[str]]:
    records = []
    try:
        for _, fields in islice(_split("", sample, separator), SAMPLE_RECORDS):
            records.append(fields)
    except DataError:
        pass  # the whole file is read with an error that names the line
    return records


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
