"""Files as people bring them: separators, decimal commas, marks, headers, ids and unknown items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recsys.config import load_domain
from recsys.data.batch import ImportBatch
from tests.data.films import BARE, Columns, make_domain, read, read_error

ITEMS = "id,title\n1,Alpha\n2,Beta\n3,Gamma\n"
EVENTS = "user,item,rating,time\nu1,1,4.5,1700000000\nu1,2,2,1700000100\n"
POSITIONS: Columns = {"user": "1", "item": "2", "rating": "3", "timestamp": 4, "header": False}


def domain_of(
    folder: Path, items: str | bytes = ITEMS, events: str | bytes | None = EVENTS, **options: Any
) -> Any:
    """A domain of items and events without users; options are those of the events' table."""
    return make_domain(
        folder, items, None, events, item_columns=BARE, event_columns={"context": {}, **options}
    )


def ratings(batch: ImportBatch) -> list[tuple[str, str, float | None]]:
    return [(event.user_id, event.item_id, event.rating) for event in batch.interactions]


EXPECTED = [("u1", "1", 4.5), ("u1", "2", 2.0)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
def test_the_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    events = EVENTS.replace(",", separator)
    assert ratings(read(domain_of(tmp_path, ITEMS.replace(",", separator), events))) == EXPECTED


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
def test_the_separator_is_found_out_without_a_header(tmp_path: Path, separator: str) -> None:
    events = EVENTS.partition("\n")[2].replace(",", separator)
    assert ratings(read(domain_of(tmp_path, events=events, **POSITIONS))) == EXPECTED


@pytest.mark.parametrize("separator", ["~", "#", " ", "||", "^"])
def test_a_stated_separator_wins(tmp_path: Path, separator: str) -> None:
    events = EVENTS.replace(",", separator)
    assert ratings(read(domain_of(tmp_path, events=events, separator=separator))) == EXPECTED


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=|", "sep=\t"])
def test_a_first_line_names_the_separator(tmp_path: Path, first: str) -> None:
    separator = first.strip('"')[-1]
    events = f"{first}\r\n" + EVENTS.replace(",", separator)
    assert ratings(read(domain_of(tmp_path, events=events))) == EXPECTED
    events = events.replace("1700000100", "soon")
    assert read_error(domain_of(tmp_path, events=events)).row == 4


@pytest.mark.parametrize("number", ["4,5", "+4,50", "4.5", '"4,5"', "4,5000"])
def test_a_decimal_comma_is_read_where_columns_are_separated_by_semicolons(
    tmp_path: Path, number: str
) -> None:
    events = EVENTS.replace(",", ";").replace("4.5", number)
    assert ratings(read(domain_of(tmp_path, events=events))) == EXPECTED


def test_a_decimal_comma_elsewhere_is_an_option_that_the_error_names(tmp_path: Path) -> None:
    events = EVENTS.replace(",", "\t").replace("4.5", "4,5")
    error = read_error(domain_of(tmp_path, events=events))
    assert (error.row, error.hint) == (2, 'set decimal = "," for this table in domain.toml')
    assert ratings(read(domain_of(tmp_path, events=events, decimal=","))) == EXPECTED
    thousand = EVENTS.replace(",", ";").replace("4.5", "1,234")
    assert "decimal" in read_error(domain_of(tmp_path, events=thousand)).hint
    assert read(domain_of(tmp_path, events=thousand, decimal=",")).interactions[0].rating == 1.234


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_the_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    items = (mark + ITEMS.replace("Beta", "Amélie")).encode(encoding)
    assert read(domain_of(tmp_path, items)).items[1].title == "Amélie"


def test_an_encoding_without_a_mark_is_an_option_that_the_error_names(tmp_path: Path) -> None:
    items = ITEMS.replace("Beta", "Amélie")
    assert "encoding" in read_error(domain_of(tmp_path, items.encode("latin-1"))).hint
    assert "UTF-16" in read_error(domain_of(tmp_path, items.encode("utf-16-le"))).message
    domain = make_domain(
        tmp_path, items.encode("latin-1"), None, None, item_columns={**BARE, "encoding": "latin-1"}
    )
    assert read(domain).items[1].title == "Amélie"


def test_files_of_movielens_are_read(tmp_path: Path) -> None:
    items = "1::Toy Story (1995)::Animation|Comedy\n2::Heat, The (1995)::Action\n"
    domain = make_domain(
        tmp_path,
        items,
        None,
        "7::1::5::978300760\n7::2::3::978300761\n",
        suffix="dat",
        item_columns={
            **BARE,
            "header": False,
            "id": "1",
            "title": "2",
            "attributes": {"genre": {"column": "3", "separator": "|"}},
        },
        event_columns={**POSITIONS, "context": {}},
    )
    batch = read(domain)
    assert [(item.title, item.year) for item in batch.items] == [("Toy Story", 1995), ("Heat, The", 1995)]
    assert batch.items[0].attributes == {"genre": ("Animation", "Comedy")}
    assert ratings(batch) == [("7", "1", 5.0), ("7", "2", 3.0)]


def test_errors_about_columns_name_what_would_work(tmp_path: Path) -> None:
    bare = EVENTS.partition("\n")[2]
    assert "header = false" in read_error(domain_of(tmp_path, events=bare)).hint
    assert '"1" to "4"' in read_error(domain_of(tmp_path, events=bare, header=False)).hint
    assert "header = false" in read_error(domain_of(tmp_path, **POSITIONS)).hint
    assert "'item'" in read_error(domain_of(tmp_path, item="Item")).hint
    assert "separator" in read_error(domain_of(tmp_path, events=EVENTS.replace(",", "~"))).hint


@pytest.mark.parametrize(
    "items",
    ["id,title\na,Alpha\n", "movieId,film\n1,Alpha\n2,Beta\n", "sku,Title\na,Alpha\n", "ITEM_ID,x\n1,A\n"],
)
def test_a_header_is_never_taken_for_an_item(tmp_path: Path, items: str) -> None:
    columns = {**BARE, "id": "1", "title": "2", "header": False}
    error = read_error(make_domain(tmp_path, items, None, None, item_columns=columns))
    assert error.row == 1
    assert "header = false" in error.hint


def test_a_first_item_that_is_no_header_is_kept(tmp_path: Path) -> None:
    columns = {**BARE, "id": "1", "title": "2", "header": False}
    items = read(make_domain(tmp_path, "a1,Alpha\n2,Beta\nx,Name\n", None, None, item_columns=columns)).items
    assert [item.id for item in items] == ["a1", "2", "x"]


@pytest.mark.parametrize(
    ("item_ids", "event_ids"),
    [
        (("1", "2"), ("1.0", "2.0")),
        (("1.0", "2.0"), ("1", "2")),
        (("1.0", "2.0"), ("1.0", "2.0")),
        (("1", "A"), ("1.0", "A")),
        (("1.0", "A"), ("1", "A")),
        (("Amélie", "2"), ("Ame\u0301lie", "2")),
        (("Ame\u0301lie", "2"), ("\ufeffAmélie ", "2")),
    ],
)
def test_ids_that_are_written_in_two_ways_are_one(
    tmp_path: Path, item_ids: tuple[str, str], event_ids: tuple[str, str]
) -> None:
    items = "id,title\n" + "".join(f"{item_id},Title\n" for item_id in item_ids)
    events = "user,item,rating,time\n" + "".join(f"7.0,{item_id},5,1700000000\n" for item_id in event_ids)
    batch = read(domain_of(tmp_path, items, events))
    assert [event.item_id for event in batch.interactions] == [item.id for item in batch.items]
    assert [user.id for user in batch.users] == ["7"]


def test_versions_are_not_whole_numbers(tmp_path: Path) -> None:
    batch = read(domain_of(tmp_path, "id,title\n1.0,One\n1.5,Other\n", None))
    assert [item.id for item in batch.items] == ["1.0", "1.5"]


UNKNOWN = EVENTS + "".join(f"u{n},{90 + n},5,1700000{n}00\n" for n in range(2, 9))


def test_events_of_unknown_items_are_skipped_by_an_option_with_a_sample(tmp_path: Path) -> None:
    error = read_error(domain_of(tmp_path, events=UNKNOWN))
    assert (error.row, error.field) == (4, "item")
    assert "7 of 9" in error.message
    assert 'unknown = "skip"' in error.hint
    batch = read(domain_of(tmp_path, events=UNKNOWN, unknown="skip"))
    assert ratings(batch) == EXPECTED
    assert batch.report.skipped == {"items": 7}
    assert batch.report.skipped_ids == {"items": ["92", "93", "94", "95", "96"]}
    assert [user.id for user in batch.users] == ["u1"]


def test_events_of_unknown_users_are_skipped_likewise(tmp_path: Path) -> None:
    options: Columns = {"context": {}, "unknown": "skip"}
    users: Columns = {"home": None, "profile": {}}
    domain = make_domain(
        tmp_path,
        ITEMS,
        "id\nu1\n",
        EVENTS + "eve,1,5,1700000200\neve,99,5,1700000300\n",
        item_columns=BARE,
        user_columns=users,
        event_columns=options,
    )
    batch = read(domain)
    assert ratings(batch) == EXPECTED
    assert batch.report.skipped == {"items": 1, "users": 2}


@pytest.mark.parametrize(
    ("ids", "hint"),
    [("x1", "such as '1'"), ("01", "the same in both"), ("001", "'1'"), ("ID", "another"), ("-1", "another")],
)
def test_skipping_never_skips_every_event(tmp_path: Path, ids: str, hint: str) -> None:
    events = f"user,item,rating,time\nu1,{ids},5,1700000000\n"
    error = read_error(domain_of(tmp_path, events=events, unknown="skip"))
    assert hint in error.hint
    assert "unknown =" not in error.hint


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("event_columns", {"item": {"column": "item", "invalid": "missing"}}),
        ("event_columns", {"user": {"column": "user", "invalid": "missing"}}),
        ("event_columns", {"rating": {"column": "rating", "separator": "|"}}),
        ("event_columns", {"rating": {"column": "rating", "unit": "ms"}}),
        ("item_columns", {"id": {"column": "id", "invalid": "missing"}}),
        ("item_columns", {"title": {"column": "title", "separator": "|"}}),
        ("item_columns", {"attributes": {"genre": {"column": "g", "article": "front"}}}),
        ("item_columns", {"attributes": {"genre": {"column": "g", "invalid": "missing"}}}),
        ("item_columns", {"file": "items.parquet", "separator": ";"}),
        ("item_columns", {"file": "items.jsonl", "header": False}),
        ("item_columns", {"format": "recbole", "separator": ";"}),
        ("item_columns", {"format": "parquet", "encoding": "cp1252"}),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(tmp_path: Path, table: str, change: Any) -> None:
    options: dict[str, Any] = {"item_columns": BARE, "event_columns": {"context": {}}}
    options[table] = {**options[table], **change}
    with pytest.raises(ValidationError, match=r"would do nothing|need its type"):
        make_domain(tmp_path, ITEMS, None, EVENTS, **options)


def test_the_refused_option_of_an_item_names_that_which_works(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match='unknown = "skip"'):
        domain_of(tmp_path, item={"column": "item", "invalid": "missing"})


@pytest.mark.parametrize(
    "wrong",
    [{"separator": '"'}, {"separator": ""}, {"encoding": "utf-9"}, {"decimal": ";"}, {"unknown": "maybe"}],
)
def test_options_with_impossible_values_are_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        domain_of(tmp_path, **wrong)


@pytest.mark.parametrize("values", [("a", "b"), ("4,5", "3,5"), ("five", "six"), ("-", "-"), ("nan", "nan")])
def test_throwing_every_value_away_is_never_the_hint(tmp_path: Path, values: tuple[str, str]) -> None:
    events = "user\titem\trating\ttime\n" + "".join(f"u1\t1\t{value}\t1700000000\n" for value in values)
    error = read_error(domain_of(tmp_path, events=events))
    assert error.hint
    assert "invalid" not in error.hint


@pytest.mark.parametrize("text", ["-1", "N/A", "\\N", "null", "?"])
def test_texts_that_stand_for_no_value_are_missing(tmp_path: Path, text: str) -> None:
    events = EVENTS + f"u2,3,{text},1700000000\n"
    batch = read(domain_of(tmp_path, events=events, rating={"column": "rating", "missing": [text]}))
    assert batch.interactions[2].rating is None
    assert batch.report.missing == {"rating": 1}


def test_a_number_that_stands_for_no_value_may_have_a_point(tmp_path: Path) -> None:
    rating = {"column": "rating", "missing": ["-1"]}
    batch = read(domain_of(tmp_path, events=EVENTS.replace("4.5", "-1.0"), rating=rating))
    assert [event.rating for event in batch.interactions] == [None, 2.0]


def test_a_column_without_a_readable_value_is_a_warning(tmp_path: Path) -> None:
    columns = {**BARE, "year": {"column": "year", "invalid": "missing"}}
    items = "id,title,year\n1,Alpha,V\n2,Beta,?\n"
    (warning,) = read(make_domain(tmp_path, items, None, None, item_columns=columns)).report.warnings
    assert "no row has a readable year" in warning


def test_rows_and_columns_of_nothing_that_spreadsheets_add_do_not_matter(tmp_path: Path) -> None:
    batch = read(domain_of(tmp_path, "id,title,,\n1,Alpha,,\n2,Beta,,\n,,,\n,,,\n"))
    assert [item.title for item in batch.items] == ["Alpha", "Beta"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_byte_order_mark_of_a_domain_does_not_matter(tmp_path: Path, encoding: str) -> None:
    text = (
        'name = "films"\nnoun = "film"\nplural = "films"\n[items]\nfile = "i.csv"\nid = "id"\ntitle = "t"\n'
    )
    (tmp_path / "domain.toml").write_text(text, encoding=encoding)
    assert load_domain(tmp_path).name == "films"


LINES = (
    "user,item,rating,time,price,quantity\n"
    "u1,1,4,1700000000,2.50,1\n"
    "u1,2,3,1700000100,-2.50,1\n"
    "u1,1,2,1700000200,2.60,-1\n"
    "u2,1,1,1700000300,260,1\n"
    "u2,1,5,4102444799,2.40,1\n"
    "u2,3,5,1700000500,,1\n"
    "u2,1,9,1700000600,2.45,2\n"
)


def checked(**changes: Any) -> dict[str, Any]:
    """Columns of which every one has a rule that skips rows."""
    skip = {"invalid": "skip"}
    options = {
        "rating": {"column": "rating", "at_most": 5, **skip},
        "timestamp": {"column": "time", "future": "invalid", **skip},
        "checks": {
            "price": {"column": "price", "at_least": 0, "jump": 50, **skip},
            "quantity": {"column": "quantity", "at_least": 1, **skip},
        },
    }
    return options | changes


def test_rows_that_break_a_rule_are_skipped_and_counted_with_an_example(tmp_path: Path) -> None:
    batch = read(domain_of(tmp_path, events=LINES, **checked()))
    assert ratings(batch) == [("u1", "1", 4.0), ("u2", "3", 5.0)]
    assert batch.report.left_out == {
        "events with an invalid rating, such as '9' in row 8": 1,
        "events with an invalid time, such as '4102444799' in row 6": 1,
        "events with an invalid price, such as '-2.50' in row 3": 2,
        "events with an invalid quantity, such as '-1' in row 4": 1,
    }
    assert batch.report.missing == {}


@pytest.mark.parametrize(
    ("changes", "row", "field", "expected"),
    [
        (
            {"rating": {"column": "rating", "at_least": 1, "at_most": 5}},
            8,
            "rating",
            "at least 1 and at most 5",
        ),
        ({"timestamp": {"column": "time", "future": "invalid"}}, 6, "time", "a time that has passed"),
        ({"checks": {"n": {"column": "quantity", "at_least": 0}}}, 4, "quantity", "at least 0"),
        ({"checks": {"p": {"column": "price", "jump": 50}}}, 3, "price", "times the median of its item"),
    ],
)
def test_a_broken_rule_is_an_error_unless_rows_may_be_skipped(
    tmp_path: Path, changes: Any, row: int, field: str, expected: str
) -> None:
    error = read_error(domain_of(tmp_path, events=LINES, **changes))
    assert (error.row, error.field) == (row, field)
    assert expected in error.message
    assert 'invalid = "skip"' in error.hint


def test_rules_never_skip_every_event(tmp_path: Path) -> None:
    rule = {"q": {"column": "quantity", "at_least": 100, "invalid": "skip"}}
    error = read_error(domain_of(tmp_path, events=LINES, checks=rule))
    assert error.field == "quantity"
    assert "every row would be skipped" in error.message


def test_skipping_is_refused_where_no_row_can_be_skipped(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="interactions alone"):
        make_domain(tmp_path, item_columns={"year": {"column": "year", "invalid": "skip"}})
