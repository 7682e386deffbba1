"""HTTP, JSON lines and MCP take and refuse the same events as an import."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.recommender.recommender import Recommender
from tests.data.test_event_validation import CLEANED, WRONG
from tests.service.api_calls import send
from tests.service.test_mcp import call

GOOD: dict[str, Any] = {"user_id": "ann", "item_id": "f1"}
SENT_AS_JSON = [(fields, message) for fields, message in WRONG if "event" not in fields]


def test_every_door_refuses_what_is_no_event(client: TestClient, recommender: Recommender) -> None:
    before = recommender.store.counts("films")["interactions"]
    for fields, message in SENT_AS_JSON:
        event = GOOD | fields
        answer = send(client, event)
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True), (fields, answer.text)
        answer = client.post("/v1/import", content=json.dumps({"interaction": event}))
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True), (fields, answer.text)
        assert message in call(recommender, "add_events", events={"events": [event]})
    for fields, message in WRONG:
        if "event" in fields:
            assert message in send(client, GOOD | fields).json()["detail"]
            assert message in call(recommender, "add_events", events={"events": [GOOD | fields]})
    assert recommender.store.counts("films")["interactions"] == before


def test_every_door_cleans_events_alike(client: TestClient, recommender: Recommender) -> None:
    for fields, _ in CLEANED:
        event = GOOD | {"timestamp": 1_600_000_000} | fields | {"item_id": "f1"}
        assert send(client, event).json()["added"] + send(client, event).json()["updated"] in (1, 2)
        if "event" not in fields:
            answer = client.post("/v1/import", content="\ufeff" + json.dumps({"interaction": event}))
            assert answer.json()["interactions"]["added"] == 0  # the same user, item and time
        again = call(recommender, "add_events", events={"events": [event]})
        assert again == {"added": 0, "updated": 1, "feedback": 0}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_lines_are_read_by_their_byte_order_mark(client: TestClient, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    lines = mark + '{"user": {"id": " Zoë "}}\n{"interaction": {"user_id": "Zoë", "item_id": "f1"}}\n'
    answer = client.post("/v1/import", content=lines.encode(encoding))
    assert answer.json()["interactions"]["added"] == 1
    assert client.get("/v1/users/Zoë").status_code == 200


def test_the_document_says_what_an_event_may_hold(client: TestClient) -> None:
    event = client.get("/openapi.json").json()["components"]["schemas"]["UserEvent"]["properties"]
    assert {kind["type"] for kind in event["timestamp"]["anyOf"]} == {"number", "string", "null"}
    assert {kind["type"] for kind in event["item_id"]["anyOf"]} == {"string", "integer"}


def test_every_door_takes_a_number_as_the_id_of_an_item(client: TestClient) -> None:
    assert client.post("/v1/items", json={"items": [{"id": 7, "title": "Seven"}]}).json()["added"] == 1
    assert client.put("/v1/items/7", json={"id": 7.0, "title": "Seven"}).json()["id"] == "7"
    answer = client.post("/v1/import", content='{"item": {"id": 7, "title": "Seven"}}')
    assert answer.json()["items"]["unchanged"] == 1
