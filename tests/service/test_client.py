"""The Python client: each of its calls is as the OpenAPI document describes."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from jsonschema_rs import Draft202012Validator

from recsys import client as module
from recsys.client import APIError, Client
from recsys.types import Item, User


@pytest.fixture
def document(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


@pytest.fixture
def sent() -> list[Any]:
    return []


@pytest.fixture
def api(client: TestClient, sent: list[Any]) -> Client:
    client.event_hooks["request"].append(sent.append)
    return Client("", http=cast(Any, client))


def call_everything(api: Client) -> None:
    """Call every method, with every kind of argument."""
    answer, given = api.recommend("ann", k=2, at="2026-11-20T21:00", rule={"without": {"genre": ["Noir"]}})
    list(api.stream("ann", k=1))
    api.explain("Fargo", "ann", instead_of="Toy Story")
    api.similar("Heat", k=2)
    liked = {"user_id": "ann", "item_id": answer[0].item.id, "event": "liked", "recommendation_id": given}
    api.send(liked, key="once")
    api.put_items([Item(id="f60", title="Sixty", year=1960, attributes={"genre": ("Noir",)})])
    api.put_user(User(id="a b/c", profile={"age": "9"}))
    api.delete_user("a b/c")


def test_every_call_is_as_the_document_says(api: Client, sent: list[Any], document: Any) -> None:
    sent.clear()  # the request for the document
    call_everything(api)
    called = set()
    for request in sent:
        path = request.url.path
        routes = [route for route in document["paths"] if re.fullmatch(re.sub(r"{\w+}", ".+", route), path)]
        operation = document["paths"][routes[0]][request.method.lower()]
        called.add((request.method, routes[0]))
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            whole = schema | {"components": document["components"]}
            Draft202012Validator(whole).validate(json.loads(request.content))
        parameters = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
        assert set(request.url.params) <= parameters
        assert "idempotency-key" not in request.headers or "idempotency-key" in parameters
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert len(called) == len(methods) - 1  # `stream` calls what `recommend` does


def test_answers_are_the_nouns_and_errors_keep_their_hint(api: Client) -> None:
    answer, given = api.recommend("ann", k=2)
    assert (answer.user, len(answer), len(given)) == ("ann", 2, 32)
    assert [name for name, _ in api.stream("ann", k=2)] == ["ranked", "reason", "reason", "done"]
    with pytest.raises(APIError) as caught:
        api.explain("Fargoo")
    assert (caught.value.status, caught.value.hint) == (404, "did you mean: Fargo (1996)?")
    with pytest.raises(APIError, match="k: Input should be"):
        list(api.stream("ann", k=0))


def test_it_stays_short() -> None:
    assert len(Path(str(module.__file__)).read_text("utf-8").splitlines()) <= 100
