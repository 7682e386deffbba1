"""Requests to the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

Serve = Callable[..., TestClient]


def recommend(client: TestClient, headers: dict[str, str] | None = None, **body: Any) -> Any:
    response = client.post("/v1/recommendations", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer: Any) -> list[str]:
    return [line["item"]["id"] for line in answer["recommendations"]]


def send(client: TestClient, *events: dict[str, Any], **headers: str) -> Any:
    return client.post("/v1/interactions", json={"events": events}, headers=headers)


def events_of(text: str) -> list[tuple[str, Any]]:
    """Parse server-sent events to (event, data) pairs."""
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], json.loads(fields["data"])))
    return events


def call_tools(app: FastAPI, headers: dict[str, str], *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Call tools over HTTP."""

    async def ask() -> list[Any]:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http,
            Client(streamable_http_client("http://localhost/mcp/", http_client=http)) as client,
        ):
            return [await client.call_tool(tool, arguments) for tool, arguments in calls]

    return anyio.run(ask)
