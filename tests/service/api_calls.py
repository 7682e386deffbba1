"""Requests to the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

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
