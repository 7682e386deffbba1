"""The routes for programs, out of the service's own OpenAPI document: no script and no other host is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from recsys.service.pages.rendering import TheRecommender, needs, page, views

router = views()


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body. `kind` is its type in words."""

    name: str
    kind: str
    required: bool
    words: str


@dataclass(frozen=True)
class Route:
    """One operation. `body` is the name of what is sent, "" for nothing."""

    method: str
    path: str
    words: str
    parameters: list[Field]
    body: str
    gives: str


@router.get("/docs", dependencies=needs("read"))
def api(request: Request, recommender: TheRecommender) -> Response:
    """Every route by its tag, and the fields of what is sent and given."""
    document: dict[str, Any] = request.app.openapi()
    tags: dict[str, list[Route]] = {}
    for tag, route in _routes(document):
        tags.setdefault(tag, []).append(route)
    schemas = document.get("components", {}).get("schemas", {})
    shapes = {name: (_words(found), _fields(found)) for name, found in sorted(schemas.items())}
    return page(request, "api.html", recommender, tags=tags, shapes=shapes, server=str(request.base_url))


def _routes(document: dict[str, Any]) -> Iterator[tuple[str, Route]]:
    for path, methods in document["paths"].items():
        for method, found in methods.items():
            sent = found.get("requestBody", {}).get("content", {})
            given = found["responses"].get("200", found["responses"].get("201", {})).get("content", {})
            parameters = [
                Field(
                    one["name"],
                    _kind(one["schema"]),
                    bool(one.get("required")),
                    f"{one['in']}; {words}" if (words := one.get("description", "")) else one["in"],
                )
                for one in found.get("parameters", [])
            ]
            yield (
                next(iter(found.get("tags", [])), "service"),
                Route(
                    method=method.upper(),
                    path=path,
                    words=_words(found),
                    parameters=parameters,
                    body=_content(sent),
                    gives=_content(given),
                ),
            )


def _content(content: dict[str, Any]) -> str:
    return " or ".join(_kind(one["schema"]) if "schema" in one else media for media, one in content.items())


def _fields(schema: dict[str, Any]) -> list[Field]:
    required = schema.get("required", [])
    return [
        Field(name, _kind(found), name in required, found.get("description", ""))
        for name, found in schema.get("properties", {}).items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words: `integer`, `list of Event`, `Trace or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_kind, several)))
    if "enum" in schema or "const" in schema:
        return " or ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(more := schema.get("additionalProperties"), dict):
        return f"object of {_kind(more)}"
    return str(schema.get("type", "any"))


def _words(found: dict[str, Any]) -> str:
    """Its description in paragraphs; a line that only ends in the source does not end here."""
    text = str(found.get("description") or found.get("summary") or "")
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)
