"""Typed attributes are checked at import: wrong values name file, row and field, or are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import load_domain
from recsys.data.batch import ImportBatch
from recsys.data.importers import read_domain
from recsys.errors import ConfigError, DataError

TOML = """
name = "my-shop"
noun = "product"
plural = "products"
[items]
file = "items.csv"
id = "id"
title = {title}
[items.attributes]
price = {price}
weight = "weight"
[attributes.price]
type = "money"
currency = "USD"
[attributes.weight]
type = "number"
unit = "lb"
"""
MISSING = '{ column = "price", invalid = "missing" }'


def shop(folder: Path, rows: str, *, price: str = '"price"', title: str = '"title"', more: str = "") -> Path:
    (folder / "items.csv").write_text("id,title,price,weight\n" + rows)
    (folder / "domain.toml").write_text(TOML.replace("{title}", title).replace("{price}", price) + more)
    return folder


def read(folder: Path) -> ImportBatch:
    return read_domain(load_domain(folder))


def test_values_are_stored_as_they_are_shown(tmp_path: Path) -> None:
    batch = read(shop(tmp_path, "1,Milk,2.5,8.60\n2,Air,,\n"))
    assert batch.items[0].attributes == {"price": ("$2.50",), "weight": ("8.6 lb",)}
    assert batch.items[1].attributes == {}
    assert not batch.report.missing


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ("2,Ice,-1,1", "price", "at least 0, found '-1'"),
        ("2,Ice,€2,1", "price", "an amount in USD, such as $2.49, found '€2'"),
        ("2,Ice,2,CTN", "weight", "a number in lb, found 'CTN'"),
        ("2,,2,1", "title", "expected a value, found nothing"),
    ],
)
def test_a_wrong_value_names_file_row_and_field(tmp_path: Path, row: str, field: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read(shop(tmp_path, f"1,Milk,2.5,8.6\n{row}\n"))
    error = caught.value
    assert (error.file, error.row, error.field) == (str(tmp_path / "items.csv"), 3, field)
    assert problem in error.message
    assert 'invalid = "missing"' in error.hint or field == "title"


def test_wrong_values_may_be_missing_and_products_without_a_name_left_out(tmp_path: Path) -> None:
    title = '{ column = "title", invalid = "missing" }'
    batch = read(shop(tmp_path, "1,Milk,-1,8.6\n2,,2,1\n3,Ice,€2,1\n", price=MISSING, title=title))
    assert [(item.id, sorted(item.attributes)) for item in batch.items] == [
        ("1", ["weight"]),
        ("3", ["weight"]),
    ]
    assert batch.report.missing == {"price": 2, "title (row left out)": 1}


def test_a_hundredfold_price_is_warned_of(tmp_path: Path) -> None:
    rows = "".join(f"{number},Item,{2 + number / 10},1\n" for number in range(5))
    assert not read(shop(tmp_path, rows)).report.warnings
    (warning,) = read(shop(tmp_path, rows + "9,Cents,249,1\n")).report.warnings
    assert "1 of 6 values of price are over a hundred times the median of $2.30" in warning
    assert "$249.00" in warning


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('[attributes.colour]\ntype = "text"\n', "[items.attributes] has no 'colour'"),
        ('[ranker]\nattributes = ["colour"]\n', "[items.attributes] has no 'colour'"),
        ('[attributes.size]\ntype = "money"\n', "money needs a currency"),
    ],
)
def test_a_type_without_a_column_is_refused(tmp_path: Path, more: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(shop(tmp_path, "1,Milk,2,1\n", more=more))
    assert problem in caught.value.message


def test_an_untyped_attribute_has_no_wrong_values(tmp_path: Path) -> None:
    folder = shop(tmp_path, "1,Milk,2,1\n", price=MISSING)
    toml = (
        (folder / "domain.toml")
        .read_text()
        .replace('[attributes.price]\ntype = "money"\ncurrency = "USD"\n', "")
    )
    (folder / "domain.toml").write_text(toml)
    with pytest.raises(ConfigError, match="need its type"):
        read(folder)
