"""Every value that a door takes is bounded: HTTP by its document, MCP by its tools."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

import anyio
from fastapi import FastAPI
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from mcp import Client

from recsys.recommender.recommender import Recommender
from recsys.service.api.mcp import build_server
from recsys.service.options import ServiceOptions
from recsys.service.state import Service

BOUNDED: dict[str, list[set[str]]] = {
    "string": [{"maxLength"}, {"pattern"}, {"format"}],
    "integer": [{"minimum", "maximum"}],
    "number": [{"minimum", "maximum"}],
    "array": [{"maxItems"}],
}  # type -> sets of keywords of which one is needed; also bounded is what has `enum` or `const`


def unbounded(schema: dict[str, Any], document: dict[str, Any], where: str) -> Iterator[str]:
    """Yield the places in a schema at which a value may be as large as anybody likes."""
    if reference := schema.get("$ref"):
        if f"<{reference}>" not in where:
            target = document
            for part in reference.removeprefix("#/").split("/"):
                target = target[part]
            yield from unbounded(target, document, f"{where}<{reference}>")
        return
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from unbounded(choice, document, where)
    kind = schema.get("type")
    keywords = BOUNDED.get(kind or "", [set()])
    if not {"enum", "const"} & schema.keys() and not any(words <= schema.keys() for words in keywords):
        yield f"{where}: {kind}"
    if kind == "array":
        yield from unbounded(schema["items"], document, f"{where}[]")
    if kind == "object":
        yield from _unbounded_object(schema, document, where)
    if not {"type", "anyOf", "oneOf", "allOf", "enum", "const"} & schema.keys():
        yield f"{where}: anything"


def _unbounded_object(schema: dict[str, Any], document: dict[str, Any], where: str) -> Iterator[str]:
    for name, value in schema.get("properties", {}).items():
        yield from unbounded(value, document, f"{where}.{name}")
    more = schema.get("additionalProperties", True)
    if more is False:
        return
    if "maxProperties" not in schema or "propertyNames" not in schema:
        yield f"{where}: any number of properties with any names"
    yield from unbounded({"type": "string"} | schema.get("propertyNames", {}), document, f"{where}.<name>")
    yield from unbounded({} if more is True else more, document, f"{where}.*")


def unbounded_inputs(document: dict[str, Any]) -> list[str]:
    """Return the places of an OpenAPI document at which a request may be as large as anybody likes."""
    found: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            for parameter in operation.get("parameters", ()):
                found += unbounded(parameter["schema"], document, f"{name} {parameter['name']}")
            for content in operation.get("requestBody", {}).get("content", {}).values():
                found += unbounded(content["schema"], document, name)
    return found


def test_every_input_of_the_document_is_bounded(client: TestClient) -> None:
    """Latitude 1e308, a profile of 200 kB and filters of any size were taken."""
    assert unbounded_inputs(client.get("/openapi.json").json()) == []


def test_every_input_of_the_tools_is_bounded(recommender: Recommender) -> None:
    async def tools() -> Any:
        server = build_server(Service({"films": recommender}, ServiceOptions(warm=False)))
        async with Client(server) as client:
            return (await client.list_tools()).tools

    faults = [
        fault
        for tool in anyio.run(tools)
        for fault in unbounded(
            tool.input_schema | {"additionalProperties": False}, tool.input_schema, tool.name
        )
    ]
    assert faults == []


def test_the_walk_finds_what_is_not_bounded() -> None:
    document = {"definitions": {"Text": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {
            "text": {"$ref": "#/definitions/Text"},
            "number": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
            "list": {"type": "array", "items": {"type": "string", "maxLength": 3}},
            "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "any": {},
            "fine": {"type": "array", "maxItems": 2, "items": {"enum": ["a", "b"]}},
        },
        "additionalProperties": False,
    }
    found = {re.match(r"x\.\w+", fault)[0] for fault in unbounded(schema, document, "x")}  # type: ignore[index]
    assert found == {"x.text", "x.number", "x.list", "x.map", "x.any"}


PLACES = [{"latitude": 1e308}, {"longitude": -181}, {"city": "x" * 201}, {"timezone": "x" * 100_000}]
ZONES = ["../../etc/passwd", "/etc/passwd", "..", "America", "x" * 200]


def test_a_place_that_is_none_is_refused(client: TestClient) -> None:
    for place in PLACES:
        assert client.put("/v1/users/p", json={"id": "p", "home": place}).status_code == 422, place
        assert client.post("/v1/recommendations", json={"place": place}).status_code == 422, place
    for zone in ZONES:
        response = client.post(
            "/v1/recommendations", json={"place": {"timezone": zone}, "at": "Friday 21:00"}
        )
        assert (response.status_code, "time zone" in response.text) == (422, True), zone


def test_no_value_of_a_field_breaks_a_page(client: TestClient) -> None:
    """The name of a template went to the file system: 500."""
    app = cast(FastAPI, client.app)
    pages = [route for route in app.routes if isinstance(route, APIRoute) and not route.include_in_schema]
    tried = 0
    for route in pages:
        fields = [parameter.alias for parameter in get_flat_dependant(route.dependant).query_params]
        for field, value in itertools.product(fields, ["9" * 30, "\0", "x" * 5000, "nan"]):
            response = client.get(route.path, params=dict.fromkeys(fields, "f1") | {field: value})
            assert response.status_code < 500, (route.path, field, value)
            tried += response.status_code != 405
    assert tried > 50


def test_a_profile_of_any_size_is_refused(client: TestClient) -> None:
    for profile in ({"job": "x" * 200_000}, {"x" * 300: "y"}, {f"fact {n}": "" for n in range(51)}):
        assert client.put("/v1/users/p", json={"id": "p", "profile": profile}).status_code == 422


def test_an_item_of_any_size_is_refused_at_each_door(client: TestClient) -> None:
    for field in (
        {"title": "x" * 501},
        {"description": "x" * 20_001},
        {"attributes": {"genre": list(map(str, range(201)))}},
    ):
        item = {"id": "f80", "title": "Eighty"} | field
        assert client.put("/v1/items/f80", json=item).status_code == 422
        assert client.post("/v1/items", json={"items": [item]}).status_code == 422
        assert client.post("/v1/import", content=json.dumps({"item": item})).status_code == 422
    assert client.get("/v1/items/f80").status_code == 404


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


NUMBERS = ["9" * 30, "-" + "9" * 30, "1e999", "-1e999", "nan", "inf", "1_0", "", "x", "9" * 250, "\u0663"]


def test_a_cursor_that_somebody_changed_is_refused(client: TestClient) -> None:
    """A number beyond the database's integers gave 500."""
    for number, address in itertools.product(NUMBERS, ("/v1/interactions", "/v1/recommendations")):
        response = client.get(address, params={"cursor": encoded(number), "user_id": "ann"})
        assert (response.status_code, "no cursor" in response.text) == (422, True), (number, address)


def test_the_cursor_after_the_longest_id_is_taken(client: TestClient) -> None:
    """It was longer than a cursor may be."""
    for number in range(2):
        user = f"{number}" + "\U0001f3ac" * 199
        assert client.put(f"/v1/users/{quote(user)}", json={"id": user}).status_code == 201
    cursor = client.get("/v1/users", params={"limit": 1}).json()["next_cursor"]
    second = client.get("/v1/users", params={"limit": 1, "cursor": cursor}).json()
    assert second["data"][0]["id"].startswith("1\U0001f3ac")
