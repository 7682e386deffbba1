"""An own shop of thirty products, with all settings as they are."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from recsys.config import Settings
from recsys.recommender.recommender import Recommender

TOML = """
name = "outdoor"
noun = "product"
plural = "products"
[items]
file = "products.csv"
id = "sku"
title = "name"
description = "text"
[items.attributes]
category = "category"
[interactions]
file = "orders.csv"
user = "customer"
item = "sku"
"""
PRODUCTS = """Down sleeping bag|Sleeping|Warm to minus ten degrees
Summer sleeping bag|Sleeping|Light, packs small
Inflatable mat|Sleeping|Insulated, eight centimetres
Foam mat|Sleeping|Folds like an accordion
Dome tent|Tents|For two, three seasons
Tunnel tent|Tents|For four, with a porch
Tarp|Tents|Keeps the sun off a camp
Climbing rope|Climbing|Sixty metres, dynamic
Harness|Climbing|Four loops for gear
Carabiner set|Climbing|Six pieces
Chalk bag|Climbing|With a brush
Helmet|Climbing|Light foam
Waterproof shell jacket|Clothing|A three-layer rain jacket with sealed seams
Fleece pullover|Clothing|Warm when it is dry
Down vest|Clothing|Fits under a shell
Merino shirt|Clothing|Does not smell
Hiking trousers|Clothing|Zip off at the knee
Wool socks|Clothing|Two pairs
Sun hat|Clothing|Wide brim
Hiking boots|Shoes|Leather, resoled on request
Trail runners|Shoes|Grip on mud
Sandals|Shoes|For camp and stream
65-litre trekking backpack|Bags|Carries twenty kilos
Day pack|Bags|Twenty litres
Dry bag|Bags|Roll top
Gas stove|Cooking|Boils a litre in three minutes
Titanium pot|Cooking|With a lid
Head torch|Light|Four hundred lumens
Bird guide|Books|All species of the coast
Star map|Books|Turns with the month"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "outdoor"
    folder.mkdir()
    (folder / "domain.toml").write_text(TOML, encoding="utf-8")
    products = [line.split("|") for line in PRODUCTS.splitlines()]
    draw = random.Random(0)
    orders = [("camper", sku) for sku in ("p0", "p4", "p19", "p25")]
    orders += [(f"c{n}", f"p{sku}") for n in range(12) for sku in draw.sample(range(len(products)), 5)]
    tables: dict[str, Iterable[Iterable[str]]] = {
        "products.csv": [("sku", "name", "category", "text")]
        + [(f"p{n}", name, category, text) for n, (name, category, text) in enumerate(products)],
        "orders.csv": [("customer", "sku"), *orders],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return folder


def test_the_rain_jacket_comes_first_for_who_wishes_for_one(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The untuned model put it 20th of 20. No engine is needed for the list."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.setattr("recsys.recommender.recommender.open_engine", refused)
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    with Recommender.load(shop, settings=settings) as recommender:
        for user in (None, "camper"):
            answer = recommender.recommend(user, wish="rain jacket", k=5, reasons=False)
            assert answer[0].item.title == "Waterproof shell jacket"
            assert any("the retriever's order leads" in note for note in answer.notes)
