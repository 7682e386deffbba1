"""Single items in JSON lines: what is read, and how a wrong line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data.importers.item_lines import read_item_lines
from recsys.errors import DataError
from recsys.types import Item


def written(folder: Path, text: str) -> Path:
    path = folder / "new.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_is_an_item_and_white_space_does_not_matter(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '\ufeff{"id": " a ", "title": " My  film ", "year": 1998, '
        '"attributes": {"genre": ["Noir", " ", "Noir"], "star": []}}\n'
        '\n{"id": "b", "title": "Other"}\r\n',
    )
    assert read_item_lines(path) == [
        Item(id="a", title="My film", year=1998, attributes={"genre": ("Noir",)}),
        Item(id="b", title="Other"),
    ]


def test_an_item_that_was_shown_can_be_read_again(tmp_path: Path) -> None:
    item = Item(
        id="a", title='A "B" é', year=1950, attributes={"genre": ("x", "y")}, description="Two. Lines"
    )
    assert read_item_lines(written(tmp_path, item.model_dump_json())) == [item]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "row 2: not valid JSON"),
        ("[1]", "row 2: expected a JSON object"),
        ('{"title": "X"}', "row 2, field 'id': Field required"),
        ('{"id": "x"}', "row 2, field 'title': Field required"),
        ('{"id": [7], "title": "X"}', "row 2, field 'id'"),
        ('{"id": "x", "title": " "}', "row 2, field 'title': expected a value"),
        ('{"id": "x", "title": "X", "year": "soon"}', "row 2, field 'year'"),
        ('{"id": "x", "title": "X", "year": 98}', "row 2, field 'year': expected a year from 1000"),
        ('{"id": "x", "title": "X", "genre": ["Noir"]}', "row 2, field 'genre': no such field"),
        ('{"id": "x", "title": "X", "attributes": {"genre": "Noir"}}', "row 2, field 'attributes.genre'"),
        ('{"id": "x", "title": "X\\u0000"}', "row 2, field 'title': holds a NUL byte"),
        (
            '{"id": "x", "title": "X", "attributes": {"genre": ["\\ud800"]}}',
            "row 2, field 'attributes.genre': holds",
        ),
        ('{"id": "fine", "title": "Twin"}', "row 2, field 'id': 'fine' is in line 1 already"),
    ],
)
def test_a_wrong_line_is_named_with_its_field(line: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": "fine", "title": "Fine"}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_item_lines(path)
    assert f"{path}, {message}" in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        read_item_lines(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="the file is empty"):
        read_item_lines(written(tmp_path, " \n"))


@pytest.mark.parametrize(("number", "text"), [("7", "7"), ("7.0", "7"), ("-3", "-3")])
def test_an_id_that_is_a_number_is_a_text_as_in_an_import(tmp_path: Path, number: str, text: str) -> None:
    (item,) = read_item_lines(written(tmp_path, f'{{"id": {number}, "title": "A"}}\n'))
    assert item.id == text


@pytest.mark.parametrize("number", ["1.5", "true", "NaN", "Infinity"])
def test_an_id_that_is_no_whole_number_is_refused(tmp_path: Path, number: str) -> None:
    with pytest.raises(DataError) as caught:
        read_item_lines(written(tmp_path, f'{{"id": {number}, "title": "A"}}\n'))
    assert (caught.value.row, caught.value.field) == (1, "id")
