"""The tools as the official MCP client sees them: in memory and over HTTP."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp import Client

from recsys.recommender.recommender import Recommender
from recsys.service.api.mcp import build_server
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.security.keys import KeyRing
from recsys.service.state import Service
from recsys.types import Recommendations, Why
from tests.service.api_calls import Serve, call_tools

TOOLS = {"domains", "recommend", "explain", "similar", "item", "user", "add_events"}


def call(recommender: Recommender, tool: str, **arguments: Any) -> Any:
    """Call a tool in memory; return its structured content, or the text of its error."""

    async def ask() -> Any:
        async with Client(build_server(Service({"films": recommender}, ServiceOptions()))) as client:
            response = await client.call_tool(tool, arguments)
            return response.content[0].text if response.is_error else response.structured_content  # type: ignore[union-attr]

    return anyio.run(ask)


def test_every_verb_is_listed_with_a_description(recommender: Recommender) -> None:
    async def ask() -> list[Any]:
        async with Client(build_server(Service({"films": recommender}, ServiceOptions()))) as client:
            return list((await client.list_tools()).tools)

    tools = anyio.run(ask)
    assert {tool.name for tool in tools} == TOOLS
    assert all(tool.description for tool in tools)


def test_recommend_returns_the_nouns_of_the_library(recommender: Recommender) -> None:
    recommended = call(recommender, "recommend", request={"user": "ann", "k": 2})
    del recommended["recommendation_id"]
    answer = Recommendations.model_validate(recommended)
    assert (answer.user, len(answer)) == ("ann", 2)
    assert all(line.explanation and line.explanation.grounded for line in answer)


def test_explain_similar_item_and_user_answer(recommender: Recommender) -> None:
    why = Why.model_validate(call(recommender, "explain", request={"user": "ann", "item": "Fargo"}))
    assert why.item.item.id == "f7"
    similar = call(recommender, "similar", request={"item": "Heat", "k": 2})["result"]
    assert similar == [line.model_dump(mode="json") for line in recommender.similar("Heat", k=2)]
    assert "f2" not in {line["item"]["id"] for line in similar}
    assert call(recommender, "item", name="Fargo")["id"] == "f7"
    assert call(recommender, "user", user_id="ann")["id"] == "ann"


def test_an_event_sent_is_known_to_the_next_answer(recommender: Recommender) -> None:
    first = call(recommender, "recommend", request={"user": "ann", "k": 1, "reasons": False})
    best = first["recommendations"][0]["item"]["id"]
    event = {
        "user_id": "ann",
        "item_id": best,
        "event": "liked",
        "recommendation_id": first["recommendation_id"],
    }
    assert call(recommender, "add_events", events={"events": [event]}) == {
        "added": 1,
        "updated": 0,
        "feedback": 1,
    }
    again = call(recommender, "recommend", request={"user": "ann", "k": 12, "reasons": False})
    assert best not in {line["item"]["id"] for line in again["recommendations"]}


def test_an_error_says_what_to_do_next(recommender: Recommender) -> None:
    message = call(recommender, "item", name="Fargoo")
    assert "did you mean: Fargo (1996)" in message
    assert "served are: films" in call(recommender, "item", name="Fargo", domain="books")


def test_over_http_a_key_needs_the_scope_of_the_tool(recommender: Recommender) -> None:
    secret, _ = KeyRing(recommender.store).create("reader", ["read"])
    headers = {"Authorization": f"Bearer {secret}"}
    app = create_app({"films": recommender}, ServiceOptions())
    event = {"user_id": "ann", "item_id": "f1"}
    reads, writes = call_tools(
        app, headers, ("item", {"name": "Fargo"}), ("add_events", {"events": {"events": [event]}})
    )
    assert not reads.is_error
    assert writes.is_error
    assert "may not write" in writes.content[0].text


@pytest.mark.parametrize("method", ["initialize", "server/discover", "tools/list", "tools/call"])
def test_over_http_nothing_is_told_without_a_key_once_there_is_one(
    recommender: Recommender, serve: Serve, method: str
) -> None:
    """The list of tools was."""
    KeyRing(recommender.store).create("reader", ["read"])
    asks = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
    answer = serve().post("/mcp/", json=asks, headers={"Accept": "application/json, text/event-stream"})
    assert answer.status_code == 401
    assert "recommend" not in answer.text
