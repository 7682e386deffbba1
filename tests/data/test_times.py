"""Times that are not seconds: refused with the unit that fits, or converted by a stated unit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.config.tables import TimeUnit
from recsys.data.batch import ImportReport
from recsys.data.importers.times import plain_times, time_reader
from recsys.data.importers.values import number, plain_numbers
from tests.data.films import BARE, make_domain, read, read_error

ITEMS = "id,title\n1,Alpha\n2,Beta\n3,Gamma\n"


def domain_of(folder: Path, times: list[str], unit: str | None = None, **options: Any) -> Any:
    rows = "".join(f"u{n},{1 + n % 3},4,{time}\n" for n, time in enumerate(times))
    column: Any = "time" if unit is None else {"column": "time", "unit": unit}
    return make_domain(
        folder,
        ITEMS,
        None,
        "user,item,rating,time\n" + rows,
        item_columns=BARE,
        event_columns={"context": {}, "timestamp": column, **options},
    )


TIMES = [
    ("20240301", "yyyymmdd", "2024-03-01"),
    ("20240301.0", "yyyymmdd", "2024-03-01"),
    ("19981231", "yyyymmdd", "1998-12-31"),
    ("45352", "excel", "2024-03-01"),
    ("45352.5", "excel", "2024-03-01T12:00"),
    ("19783", "days", "2024-03-01"),
    ("2009", "yyyy", "2009-01-01"),
    ("202403", "yyyymm", "2024-03-01"),
    ("202403011305", "yyyymmddhhmm", "2024-03-01T13:05"),
    ("20240301130507", "yyyymmddhhmmss", "2024-03-01T13:05:07"),
    ("1709298307000", "ms", "2024-03-01T13:05:07"),
    ("1709298307000000", "us", "2024-03-01T13:05:07"),
    ("1709298307000000000", "ns", "2024-03-01T13:05:07"),
    ("1.709298307e12", "ms", "2024-03-01T13:05:07"),
    ("2024/03/01", "%Y/%m/%d", "2024-03-01"),
    ("31.03.2024 13:05", "%d.%m.%Y %H:%M", "2024-03-31T13:05"),
    ("31/03/2024", "%d/%m/%Y", "2024-03-31"),
    ("01-Mar-2024", "%d-%b-%Y", "2024-03-01"),
    ("2019-10-01 00:00:00 UTC", "%Y-%m-%d %H:%M:%S UTC", "2019-10-01"),
]


@pytest.mark.parametrize(("text", "unit", "iso"), TIMES)
def test_a_time_in_another_unit_is_refused_with_the_unit_that_reads_it(
    tmp_path: Path, text: str, unit: str, iso: str
) -> None:
    for others in ([], ["1700000000"], ["100", "200", "150"]):
        error = read_error(domain_of(tmp_path, [*others, text]))
        assert (error.row, error.field) == (2 + len(others), "time")
        assert f'unit = "{unit}"' in error.hint
        assert "invalid" not in error.hint
    moment = dt.datetime.fromisoformat(iso).replace(tzinfo=dt.UTC)
    assert read(domain_of(tmp_path, [text], unit)).interactions[0].timestamp == moment.timestamp()


def test_both_orders_of_day_and_month_are_offered_where_both_fit(tmp_path: Path) -> None:
    hint = read_error(domain_of(tmp_path, ["03/04/2024"])).hint
    assert 'unit = "%d/%m/%Y" or unit = "%m/%d/%Y"' in hint


def test_a_column_that_counts_seconds_has_numbers_that_are_no_dates(tmp_path: Path) -> None:
    counted = [str(second) for second in range(0, 60_000, 500)]
    report = read(domain_of(tmp_path, counted)).report
    assert "120 of 120 events are before 1990" in report.warnings[0]
    assert not read(domain_of(tmp_path, counted, "s")).report.warnings


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("20241301", "yyyymmdd"),
        ("2024-03-01", "ms"),
        ("1700000000", "ms/1000"),
        ("45352", "yyyymmdd"),
        ("soon", "excel"),
        ("1700000000000", "s"),
        ("0001-01-01", None),
        ("1e300", None),
        ("-1e30", None),
        ("9999-12-31", None),
    ],
)
def test_what_is_no_time_in_the_unit_is_refused(tmp_path: Path, text: str, unit: str | None) -> None:
    if unit == "ms/1000":
        with pytest.raises(ValidationError, match="expected one of s, ms"):
            domain_of(tmp_path, [text], unit)
        return
    error = read_error(domain_of(tmp_path, [text], unit))
    assert (error.row, error.field) == (2, "time")
    assert repr(text) in error.message
    assert error.hint


def report_of(folder: Path, ratings: list[str], **options: Any) -> ImportReport:
    rows = "".join(f"u{n % 2},{1 + n % 3},{rating},17000000{n:02}\n" for n, rating in enumerate(ratings))
    domain = make_domain(
        folder,
        ITEMS,
        None,
        "user,item,rating,time\n" + rows,
        item_columns=BARE,
        event_columns={"context": {}, **options},
    )
    feedback = domain.feedback.model_copy(update={"liked_at_least": 4.0, "disliked_at_most": 2.0})
    return read(domain.model_copy(update={"feedback": feedback})).report


def test_the_report_has_the_span_of_time_and_how_many_events_there_are(tmp_path: Path) -> None:
    report = report_of(tmp_path, ["5", "4", "3", "2", "1"])
    assert report.time_span == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:13:24+00:00")
    assert report.events_per == {"user": {"median": 2.5, "max": 3}, "item": {"median": 2, "max": 2}}
    assert report.feedback == {"liked": 2, "disliked": 2, "neither": 1}
    assert report.warnings == []


@pytest.mark.parametrize(
    ("ratings", "warning"),
    [
        (["0.5", "1", "0.1", "1"], "every rated event counts as disliked"),
        (["-1", "9", "7", "-1", "10"], "2 ratings are -1"),
        (["70", "80", "90", "100", "60"], "every rated event counts as liked: ratings are from 60 to 100"),
        (["3", "3", "2.5"], "every rated event counts as neither"),
        (["", "", ""], "no row has a readable rating"),
    ],
)
def test_ratings_that_look_wrong_are_a_warning(tmp_path: Path, ratings: list[str], warning: str) -> None:
    assert warning in " ".join(report_of(tmp_path, ratings).warnings)


def test_times_of_the_future_are_a_warning(tmp_path: Path) -> None:
    assert "1 of 1 events are in the future" in read(domain_of(tmp_path, ["4000000000"])).report.warnings[0]


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ("['Drama', 'Crime']", "lists written as text"),
        ('["Drama", "Crime"]', "lists written as text"),
        ("[{'id': 16, 'name': 'Animation'}]", "lists written as text"),
        ("Drama|Crime", 'set separator = "|"'),
        ("Drama; Crime", 'set separator = ";"'),
    ],
)
def test_one_attribute_value_that_is_several_is_a_warning(tmp_path: Path, value: str, warning: str) -> None:
    quoted = value.replace('"', '""')
    items = f'id,title,genre\n1,Alpha,"{quoted}"\n'
    columns = {**BARE, "attributes": {"genre": "genre"}}
    (message,) = read(make_domain(tmp_path, items, None, None, item_columns=columns)).report.warnings
    assert warning in message


TEXTS = (
    *(
        "0",
        "-1",
        "881250949",
        "881250949.25",
        "1e3",
        "+5",
        " 7",
        "1_0",
        "nan",
        "99999999999",
        "45352.5",
        "20240229",
    ),
    *(
        "2024-02-29",
        "2023-02-29",
        "2024-2-1",
        "20240229T101112",
        "0001-01-01",
        "2200-01-01",
        "2024",
        "202402",
    ),
    *("2024-02-29 10:11:12", "2024-02-29T10:11:12", "2024-02-29T10:11:12Z", "2024-02-29 10:11:12.5"),
    *(
        "2024-02-29T10:11:12.123456Z",
        "2024-02-29T10:11:12.1234567",
        "2024-02-29T24:00:00",
        "2024-02-29T10:11:60",
    ),
    *(
        "2024-02-29T10:11:12+02:00",
        "2024-02-29T10:11",
        "29/02/2024 10:11",
        "9/2/2024 10:11",
        "31/02/2024 10:11",
    ),
    *(
        "20240229101112",
        "20240229106112",
        "1709201472000",
        "1709201472",
        "Feb 29, 2024",
        "\u0662\u0660\u0662\u0664",
    ),
)


@pytest.mark.parametrize("unit", [None, *get_args(TimeUnit), "%d/%m/%Y %H:%M", "%b %d, %Y", "%Y.%m"])
def test_a_column_is_read_as_its_cells_are(unit: str | None) -> None:
    read = time_reader(unit)
    for reader in plain_times(unit):
        found = pl.select(reader(pl.lit(pl.Series(TEXTS)))).to_series()
        for text, seconds in zip(TEXTS, found, strict=True):
            assert seconds is None or seconds == read(text), text


@given(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), st.integers().map(str), st.text())
)
def test_a_column_of_numbers_is_read_as_its_cells_are(text: str) -> None:
    (found,) = pl.select(plain_numbers(pl.lit(pl.Series([text])))).to_series()
    assert found is None or found == number(text)
    if text.isascii() and text.isdigit() and len(text) < 16:
        assert found is not None
