"""Files of every format give the same rows, and malformed files the line that is wrong."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config.tables import Source
from recsys.errors import ConfigError, MissingDependency
from recsys.types import Interaction, Item, Place, User
from tests.data.films import BARE, EVENTS, ITEMS, USERS, make_domain, read, read_error

EXPECTED_ITEMS = (
    Item(
        id="1",
        title="Toy Story",
        year=1995,
        attributes={"genre": ("Animation", "Comedy")},
        description="Toys come alive",
    ),
    Item(id="2", title="Heat", year=1995, attributes={"genre": ("Action",)}),
)
EXPECTED_USERS = (
    User(id="ann", profile={"age": "24"}, home=Place(city="Minneapolis")),
    User(id="bob", profile={"age": "53"}, home=Place(city="Mountain View")),
)
EXPECTED_EVENTS = (
    Interaction(user_id="ann", item_id="1", rating=5, timestamp=100, context={"device": "phone"}),
    Interaction(user_id="ann", item_id="2", rating=3, timestamp=200),
    Interaction(user_id="bob", item_id="1", rating=4, timestamp=150, context={"device": "tv"}),
)
TABLES = (ITEMS, USERS, EVENTS)


def _tabs(csv: str) -> str:
    return csv.replace(",", "\t")


def _recbole(csv: str) -> str:
    header, _, rest = _tabs(csv).partition("\n")
    return "\t".join(f"{name}:token" for name in header.split("\t")) + "\n" + rest


def _jsonl(csv: str) -> str:
    return "".join(json.dumps(row) + "\n" for row in pl.read_csv(io.StringIO(csv)).to_dicts())


def _parquet(csv: str) -> bytes:
    out = io.BytesIO()
    pl.read_csv(io.StringIO(csv)).write_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("csv", str), ("tsv", _tabs), ("item", _recbole), ("jsonl", _jsonl), ("parquet", _parquet)],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, write: Any) -> None:
    batch = read(make_domain(tmp_path, *map(write, TABLES), suffix=suffix))
    assert batch.items == EXPECTED_ITEMS
    assert batch.users == EXPECTED_USERS
    assert batch.interactions == EXPECTED_EVENTS
    assert batch.report.rows == {"items": 2, "users": 2, "interactions": 3}


def test_format_in_the_domain_wins_over_the_suffix(tmp_path: Path) -> None:
    domain = make_domain(
        tmp_path, _tabs(ITEMS), users=None, events=None, suffix="txt", item_columns={"format": "tsv"}
    )
    assert read(domain).items == EXPECTED_ITEMS


def test_a_suffix_without_format_is_a_configread_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"items\.txt"):
        read(make_domain(tmp_path, suffix="txt"))


def test_quotes_in_recbole_files_are_text(tmp_path: Path) -> None:
    content = 'id:token\ttitle:token_seq\n1\t"Heat" and, dust\n2\t"open\n'
    domain = make_domain(
        tmp_path,
        content,
        None,
        None,
        suffix="item",
        item_columns={"year": None, "description": None, "attributes": {}},
    )
    assert [item.title for item in read(domain).items] == ['"Heat" and, dust', '"open']


def test_windows_line_ends_byte_order_mark_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + ITEMS.replace("\n", "\r\n").encode() + b"\r\n\r\n"
    assert read(make_domain(tmp_path, content)).items == EXPECTED_ITEMS
    recbole = b"\xef\xbb\xbf" + _recbole(ITEMS).replace("\n", "\r\n").encode()
    assert read(make_domain(tmp_path, recbole, None, None, suffix="item")).items == EXPECTED_ITEMS


def test_line_numbers_count_the_lines_within_quotes(tmp_path: Path) -> None:
    error = read_error(make_domain(tmp_path, ITEMS + '3,"over\nthree\nlines",1990,,\n4,X,no,,\n'))
    assert (error.row, error.field) == (7, "year")


def test_ids_that_are_numbers_in_json_and_parquet_are_the_same_ids(tmp_path: Path) -> None:
    rows = '{"id": 1, "title": "A", "genres": ["X", "Y", "X"], "year": 1990.0, "plot": null}\n'
    rows += '{"id": 2.0, "title": 1984}\n'
    batch = read(make_domain(tmp_path, rows, None, None, suffix="jsonl"))
    assert batch.items == (
        Item(id="1", title="A", year=1990, attributes={"genre": ("X", "Y")}),
        Item(id="2", title="1984"),
    )


def test_parquet_lists_and_times_areread(tmp_path: Path) -> None:
    domain = make_domain(tmp_path, _parquet(ITEMS), None, _parquet(EVENTS), suffix="parquet")
    pl.DataFrame(
        {"id": [7], "title": ["A"], "year": [1990.0], "plot": [None], "genres": [["X", "Y"]]}
    ).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame(
        {"user": ["u"], "item": [7], "rating": [1], "time": [dt.datetime(1970, 1, 2)], "device": [True]}
    ).write_parquet(tmp_path / "events.parquet")
    batch = read(domain)
    assert batch.items == (Item(id="7", title="A", year=1990, attributes={"genre": ("X", "Y")}),)
    assert batch.interactions == (
        Interaction(user_id="u", item_id="7", rating=1, timestamp=86400, context={"device": "true"}),
    )


def test_an_error_in_parquet_names_the_row_counted_from_one(tmp_path: Path) -> None:
    error = read_error(
        make_domain(tmp_path, _parquet(ITEMS.replace("Heat", "")), None, None, suffix="parquet")
    )
    assert (error.row, error.field) == (2, "title")


def test_missing_file_is_named(tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        error = read_error(
            make_domain(tmp_path, users=None, events=None, item_columns={"file": f"nowhere.{suffix}"})
        )
        assert error.file == str(tmp_path / f"nowhere.{suffix}")
        assert "no such file" in error.message


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read" in read_error(make_domain(tmp_path, item_columns={"file": "folder.csv"})).message


@pytest.mark.parametrize("content", ["", " \n\n", b"\xef\xbb\xbf"])
def test_empty_file_is_anread_error(tmp_path: Path, content: str | bytes) -> None:
    for suffix in ("csv", "item", "jsonl"):
        assert "empty" in read_error(make_domain(tmp_path, content, None, None, suffix=suffix)).message


def test_catalogue_of_a_header_alone_is_an_error_but_interactions_may_be_none(
    tmp_path: Path,
) -> None:
    header = ITEMS.splitlines()[0]
    assert "no rows" in read_error(make_domain(tmp_path, header)).message
    assert read(make_domain(tmp_path, events=EVENTS.splitlines()[0])).interactions == ()


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("csv", str), ("tsv", _tabs), ("item", _recbole), ("jsonl", _jsonl), ("parquet", _parquet)],
)
def test_missing_column_is_named_with_those_that_are_there(tmp_path: Path, suffix: str, write: Any) -> None:
    error = read_error(
        make_domain(tmp_path, write(ITEMS), None, None, suffix=suffix, item_columns={"year": "released"})
    )
    assert error.field == "released"
    assert "there are: id, title, year, genres, plot" in error.message


def test_a_column_named_twice_is_anread_error(tmp_path: Path) -> None:
    error = read_error(make_domain(tmp_path, "id,title,id\n1,A,2\n"))
    assert (error.row, error.field) == (1, "id")


@pytest.mark.parametrize("row", ["3,Short", "3,Long,1990,a,b,c"])
@pytest.mark.parametrize(
    ("suffix", "write"), [("csv", str), ("tsv", _tabs), ("item", _recbole)], ids=["csv", "tsv", "recbole"]
)
def test_wrong_number_of_fields_names_the_line(tmp_path: Path, suffix: str, write: Any, row: str) -> None:
    error = read_error(make_domain(tmp_path, write(ITEMS + row + "\n"), None, None, suffix=suffix))
    assert error.row == 4
    assert f"expected 5 fields as in the header, found {row.count(',') + 1}" in error.message


@pytest.mark.parametrize("row", ['3,"A"b,1990,,', '3,"never closed,1990,,'])
def test_broken_quotes_name_the_line(tmp_path: Path, row: str) -> None:
    error = read_error(make_domain(tmp_path, ITEMS + row + "\n"))
    assert error.row == 4
    assert "recbole" in error.hint


@pytest.mark.parametrize("suffix", ["csv", "item", "jsonl"])
def test_bytes_that_are_not_utf8_name_the_line(tmp_path: Path, suffix: str) -> None:
    error = read_error(
        make_domain(tmp_path, ITEMS.encode() + b"3,Am\xe9lie,2001,,\n", None, None, suffix=suffix)
    )
    assert error.row == 4
    assert "UTF-8, found the byte 0xe9" in error.message
    assert "UTF-8" in error.hint


@pytest.mark.parametrize("line", ["{", "[1]", "7", '{"id": ' + "9" * 5000 + "}", "[" * 100_000])
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, line: str) -> None:
    content = '{"id": "1", "title": "A"}\n\n' + line + "\n"
    error = read_error(make_domain(tmp_path, content, None, None, suffix="jsonl"))
    assert error.row == 3
    assert len(error.message) < 400


def test_a_json_object_where_text_belongs_is_anread_error(tmp_path: Path) -> None:
    error = read_error(
        make_domain(
            tmp_path, '{"id": {"a": 1}, "title": "A"}\n', None, None, suffix="jsonl", item_columns=BARE
        )
    )
    assert (error.row, error.field) == (1, "id")


@pytest.mark.parametrize("title", ["a\\u0000b", "a\\ud800b"])
def test_nul_bytes_and_half_characters_are_errors(tmp_path: Path, title: str) -> None:
    content = f'{{"id": "1", "title": "{title}"}}\n'
    error = read_error(make_domain(tmp_path, content, None, None, suffix="jsonl", item_columns=BARE))
    assert (error.row, error.field) == (1, "title")


def test_nul_byte_in_csv_is_anread_error(tmp_path: Path) -> None:
    error = read_error(make_domain(tmp_path, ITEMS.replace("Heat", "He\0at")))
    assert (error.row, error.field) == (3, "title")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"no parquet at all"])
def test_damaged_parquet_is_a_dataread_error(tmp_path: Path, content: bytes) -> None:
    assert (
        "not readable as Parquet"
        in read_error(make_domain(tmp_path, content, None, None, suffix="parquet")).message
    )


def test_a_package_that_is_not_installed_is_a_missing_dependency(tmp_path: Path) -> None:
    domain = make_domain(tmp_path).model_copy(update={"source": Source(package="no-such-package-here")})
    with pytest.raises(MissingDependency) as caught:
        read(domain)
    assert caught.value.hint == "pip install --no-deps no-such-package-here"


def test_files_of_an_installed_package_are_found_without_importing_it(tmp_path: Path) -> None:
    source = Source(package="pytest", path="pytest")
    domain = make_domain(tmp_path).model_copy(update={"source": source})
    error = read_error(
        domain.model_copy(update={"items": domain.items.model_copy(update={"file": "no.csv"})})
    )
    assert error.file == str(Path(pytest.__file__).parent / "no.csv")


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("csv", str), ("tsv", _tabs), ("item", _recbole), ("jsonl", _jsonl), ("parquet", _parquet)],
)
def test_files_are_read_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, write: Any
) -> None:
    monkeypatch.setattr("recsys.data.importers.delimited.CHUNK", 2)
    monkeypatch.setattr("recsys.data.importers.readers.CHUNK", 2)
    events = EVENTS + "bob,2,3,300,\nann,2,1,400,tv\n"
    read_at_once = read(make_domain(tmp_path, *map(write, (ITEMS, USERS, events)), suffix=suffix))
    assert read_at_once.items == EXPECTED_ITEMS
    assert read_at_once.interactions[:3] == EXPECTED_EVENTS
    assert [event.timestamp for event in read_at_once.interactions] == [100, 200, 150, 300, 400]
    error = read_error(
        make_domain(tmp_path, *map(write, (ITEMS, USERS, events + "eve,1,,,\n")), suffix=suffix)
    )
    assert error.row == (6 if suffix in ("jsonl", "parquet") else 7)


def test_line_numbers_count_the_lines_of_every_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.data.importers.delimited.CHUNK", 2)
    rows = '3,"two\r\nlines",1990,,\n\n4,"a\rb",1991,,\n5,"c\n\nd",1992,,\n\n'
    assert [
        item.title for item in read(make_domain(tmp_path, ITEMS + rows, users=None, events=None)).items
    ] == [
        "Toy Story",
        "Heat",
        "two lines",
        "a b",
        "c d",
    ]
    assert read_error(make_domain(tmp_path, ITEMS + rows + "6,X,no,,\n")).row == 13
    assert read_error(make_domain(tmp_path, ITEMS + rows + '6,"X"y,1993,,\n')).row == 13
    assert read_error(make_domain(tmp_path, ITEMS + rows + "6,X,1993,,,\n")).row == 13


def test_a_byte_that_is_not_utf8_is_named_where_it_is_far_into_the_file(tmp_path: Path) -> None:
    rows = "".join(f"{number},Title,1990,,\n" for number in range(3, 20_003))
    content = (ITEMS + rows).encode() + b"x,Am\xe9lie,2001,,\n"
    assert read_error(make_domain(tmp_path, content, None, None)).row == 20_004
