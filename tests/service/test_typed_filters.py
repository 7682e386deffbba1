"""Typed attributes over HTTP: compared by a rule, and checked where items are added."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from recsys.config.attributes import AttributeType
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.types import Item


@pytest.fixture
def shop(recommender: Recommender) -> Iterator[TestClient]:
    """A service whose films have prices, two of which are known."""
    prices = {"price": AttributeType(type="money", currency="USD")}
    priced = recommender.with_state(domain=recommender.domain.model_copy(update={"attributes": prices}))
    priced.add_items(
        [
            Item(id="cheap", title="Cheap", attributes={"price": ("2.5",)}),
            Item(id="dear", title="Dear", attributes={"price": ("$7",)}),
        ]
    )
    app = create_app({"films": priced}, ServiceOptions())
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        yield client


def test_a_rule_compares(shop: TestClient) -> None:
    compare = [{"attribute": "price", "operator": "<=", "value": "5"}]
    answer = shop.post("/v1/recommendations", json={"rule": {"compare": compare}, "reasons": False})
    assert answer.status_code == 200, answer.text
    (line,) = answer.json()["recommendations"]
    assert (line["item"]["id"], line["item"]["attributes"]) == ("cheap", {"price": ["$2.50"]})


def test_a_comparison_with_another_currency_says_what_is_expected(shop: TestClient) -> None:
    compare = [{"attribute": "price", "operator": "<=", "value": "€5"}]
    answer = shop.post("/v1/recommendations", json={"rule": {"compare": compare}, "reasons": False})
    assert 400 <= answer.status_code < 500
    assert "an amount in USD, such as $2.49" in answer.text


def test_an_item_with_another_currency_is_refused(shop: TestClient) -> None:
    answer = shop.put("/v1/items/odd", json={"id": "odd", "title": "Odd", "attributes": {"price": ["€5"]}})
    assert 400 <= answer.status_code < 500
    assert "attributes.price: expected an amount in USD" in answer.text


def test_a_bulk_import_checks_types_too(shop: TestClient) -> None:
    line = '{"item": {"id": "odd", "title": "Odd", "attributes": {"price": ["%s"]}}}\n'
    headers = {"content-type": "application/x-ndjson"}
    refused = shop.post("/v1/import", content=line % "€5", headers=headers)
    assert 400 <= refused.status_code < 500
    assert "attributes.price: expected an amount in USD" in refused.text
    assert shop.post("/v1/import", content=line % "5", headers=headers).status_code == 200
    assert shop.get("/v1/items/odd").json()["attributes"] == {"price": ["$5.00"]}
