"""The page that documents the HTTP API, from the service's OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from recsys.service.pages.rendering import RecommenderDep, page_router, render_page
from recsys.service.security.auth import requires

router = page_router()


@dataclass(frozen=True)
class Field:
    """A parameter of a route, or a field of a schema."""

    name: str
    type_name: str  # as `_type_name` writes it
    required: bool
    description: str


@dataclass(frozen=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    description: str
    parameters: list[Field]
    takes: str  # type of the request body, "" for none
    returns: str  # type of the response body, "" for none


@router.get("/docs", dependencies=requires("read"))
def api_page(request: Request, recommender: RecommenderDep) -> Response:
    """Show every route by its tag, and the fields of every schema."""
    document: dict[str, Any] = request.app.openapi()
    routes_by_tag: dict[str, list[Route]] = {}
    for tag, route in _routes(document):
        routes_by_tag.setdefault(tag, []).append(route)
    components = document.get("components", {}).get("schemas", {})
    schemas = {name: (_description(schema), _fields(schema)) for name, schema in sorted(components.items())}
    return render_page(
        request,
        "api.html",
        recommender,
        routes_by_tag=routes_by_tag,
        schemas=schemas,
        server=str(request.base_url),
    )


def _routes(document: dict[str, Any]) -> Iterator[tuple[str, Route]]:
    """Yield (tag, route) for every operation of an OpenAPI document."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            success = responses.get("200", responses.get("201", {}))
            route = Route(
                method=method.upper(),
                path=path,
                description=_description(operation),
                parameters=[_parameter(parameter) for parameter in operation.get("parameters", [])],
                takes=_body_type(operation.get("requestBody", {}).get("content", {})),
                returns=_body_type(success.get("content", {})),
            )
            yield next(iter(operation.get("tags", [])), "service"), route


def _parameter(parameter: dict[str, Any]) -> Field:
    description = "; ".join(filter(None, (parameter["in"], parameter.get("description", ""))))
    return Field(
        name=parameter["name"],
        type_name=_type_name(parameter["schema"]),
        required=bool(parameter.get("required")),
        description=description,
    )


def _fields(schema: dict[str, Any]) -> list[Field]:
    required = schema.get("required", [])
    return [
        Field(name, _type_name(prop), name in required, prop.get("description", ""))
        for name, prop in schema.get("properties", {}).items()
    ]


def _body_type(content: dict[str, Any]) -> str:
    """Name the types of a body, or its media type where it has no schema."""
    return " or ".join(
        _type_name(body["schema"]) if "schema" in body else media_type for media_type, body in content.items()
    )


def _type_name(schema: dict[str, Any]) -> str:
    """Name the type of a JSON schema: `integer`, `list of Event`, `Trace or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type_name, alternatives)))
    if "enum" in schema or "const" in schema:
        return " or ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type_name(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {_type_name(values)}"
    return str(schema.get("type", "any"))


def _description(schema: dict[str, Any]) -> str:
    """Return the description as paragraphs: single line breaks become spaces."""
    text = str(schema.get("description") or schema.get("summary") or "")
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)
