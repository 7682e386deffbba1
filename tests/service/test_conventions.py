"""Problems, headers, bounds, idempotency; operation, prompt and adapter routes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.recommender.recommender import Recommender
from tests.fakes import ScriptedEngine
from tests.service.api_calls import Serve, recommend, send


class TestConventions:
    def test_problem_says_what_to_do_next(self, client: TestClient) -> None:
        response = client.post(
            "/v1/recommendations", json={"liked": ["Fargoo"]}, headers={"X-Request-Id": "r-1"}
        )
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json() == {
            "type": "urn:whyrec:error:UnknownItem",
            "title": "Not Found",
            "status": 404,
            "detail": "no item is called 'Fargoo'",
            "hint": "did you mean: Fargo (1996)?",
            "retryable": False,
            "request_id": "r-1",
        }

    @pytest.mark.parametrize(
        "body",
        [
            {"k": 0},
            {"k": 101},
            {"user": ""},
            {"user": "a\0b"},
            {"wish": "x" * 501},
            {"at": "sometime never"},
            {"n_candidates": 100000},
            {"strategy": "best"},
            {"unknown": 1},
            {"liked": ["x"] * 201},
            {"place": {"latitude": 1e999}},
            {"users": ["ann"], "user": "bob"},
            {"language": "xx"},
        ],
    )
    def test_request_that_cannot_be_meant_is_the_client_s_fault(
        self, client: TestClient, body: dict[str, Any]
    ) -> None:
        response = client.post(
            "/v1/recommendations", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 422, response.text
        assert response.json()["detail"]

    def test_request_id_goes_through_and_a_strange_one_is_replaced(self, client: TestClient) -> None:
        assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
        odd = client.get("/healthz", headers={"X-Request-Id": "a b\t{}"}).headers["X-Request-Id"]
        assert len(odd) == 32
        recommended = recommend(client, {"X-Request-Id": "abc-2"}, user="ann", k=1, reasons=False)
        trace = client.get(f"/v1/recommendations/{recommended['recommendation_id']}").json()
        assert trace["request_id"] == "abc-2"

    def test_what_the_client_has_is_not_sent_again(self, client: TestClient) -> None:
        first = client.get("/v1/items/f1")
        again = client.get("/v1/items/f1", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        client.put("/v1/items/f1", json={"id": "f1", "title": "Toy Story 2"})
        changed = client.get("/v1/items/f1", headers={"If-None-Match": first.headers["ETag"]})
        assert changed.json()["title"] == "Toy Story 2"

    def test_same_idempotency_key_is_done_once(self, client: TestClient) -> None:
        event = {"user_id": "ann", "item_id": "f1"}
        first = send(client, event, **{"Idempotency-Key": "one"})
        again = send(client, event, **{"Idempotency-Key": "one"})
        assert first.json() == again.json() == {"added": 1, "updated": 0, "feedback": 0}
        seen = client.get("/v1/interactions", params={"user_id": "ann"}).json()["data"]
        assert [e["item_id"] for e in seen].count("f1") == 1
        assert send(client, event | {"rating": 1}, **{"Idempotency-Key": "one"}).status_code == 422

    def test_request_that_failed_may_be_sent_again_with_its_key(self, client: TestClient) -> None:
        event = {"user_id": "ann", "item_id": "f50"}
        assert send(client, event, **{"Idempotency-Key": "two"}).status_code == 404
        client.put("/v1/items/f50", json={"id": "f50", "title": "Now it is there"})
        assert send(client, event, **{"Idempotency-Key": "two"}).json()["added"] == 1

    def test_recommendation_with_a_key_is_the_same_one_again(
        self, client: TestClient, scripted: ScriptedEngine
    ) -> None:
        first = recommend(client, {"Idempotency-Key": "k"}, user="ann", k=2)
        n_calls = len(scripted.calls)
        assert recommend(client, {"Idempotency-Key": "k"}, user="ann", k=2) == first
        assert len(scripted.calls) == n_calls
        other = client.post(
            "/v1/recommendations", json={"user": "ann", "k": 3}, headers={"Idempotency-Key": "k"}
        )
        assert other.status_code == 422

    def test_body_beyond_the_bound_is_refused_with_and_without_its_length(self, serve: Serve) -> None:
        client = serve(body_kb=1)
        big = {"liked": ["x" * 100] * 50}
        assert client.post("/v1/recommendations", json=big).status_code == 413
        chunks = (json.dumps(big).encode()[at : at + 100] for at in range(0, 5000, 100))
        headers = {"Content-Type": "application/json"}
        response = client.post("/v1/recommendations", content=chunks, headers=headers)
        assert response.status_code == 413
        assert response.headers["content-type"] == "application/problem+json"

    def test_other_origins_are_not_allowed_unless_named(self, serve: Serve) -> None:
        asks = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        assert "access-control-allow-origin" not in serve().options("/v1/users", headers=asks).headers
        named = serve(cors_origins=("https://shop.example",)).options("/v1/users", headers=asks)
        assert named.headers["access-control-allow-origin"] == "https://shop.example"

    def test_domain_that_is_not_served_is_named(self, client: TestClient) -> None:
        response = client.get("/v1/users", params={"domain": "books"})
        assert (response.status_code, response.json()["hint"]) == (404, "served are: films")

    def test_stranger_s_error_is_a_problem_without_its_text(
        self, client: TestClient, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("secret words")

        monkeypatch.setattr(recommender, "stream", broken)
        response = client.post("/v1/recommendations", json={"user": "ann"})
        assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
        assert "secret words" not in response.text

    def test_operation_routes(self, client: TestClient) -> None:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get("/version").json()["api"] == "v1"
        domain = client.get("/v1/domains").json()[0]
        assert (domain["name"], domain["counts"]["items"]) == ("films", 12)
        recommend(client, user="ann", k=2)
        text = client.get("/metrics").text
        for name in (
            "stage_seconds_count",
            "tokens_total",
            "parses_total",
            "label_mass_count",
            "log_odds_count",
        ):
            assert re.search(rf'^whyrec_{name}{{.*domain="films"', text, re.MULTILINE), name
        assert "whyrec_queue_length 0.0" in text


class TestPrompts:
    def test_templates_are_listed_shown_and_compared(self, client: TestClient) -> None:
        names = {template["name"] for template in client.get("/v1/prompts").json()}
        assert {"rank/pointwise", "rank/listwise", "explain/reason"} <= names
        assert "{% block" in client.get("/v1/prompts/rank/pointwise").json()["source"]
        both = {"a": "rank/pointwise", "b": "rank/listwise"}
        assert client.get("/v1/prompts/diff", params=both).json()["diff"]
        assert client.get("/v1/prompts/diff", params=both | {"b": both["a"]}).json()["diff"] == []
        assert client.get("/v1/prompts/../secrets").status_code == 404
        assert client.get("/v1/prompts/partials/person").status_code == 404

    def test_what_is_rendered_is_what_is_sent(self, client: TestClient, scripted: ScriptedEngine) -> None:
        body = {"user": "ann", "at": "2026-11-20T21:00", "n_candidates": 3}
        rendered = client.post("/v1/prompts/render", json=body).json()
        assert rendered["answer"] is None
        assert scripted.calls == []
        ran = client.post("/v1/prompts/run", json=body).json()
        assert ran["text"] == rendered["text"] == list(scripted.prompts)
        assert len(ran["answer"]["scores"]) == 3


class TestAdapters:
    def test_none_is_there_and_only_names_of_the_registry_are_taken(self, client: TestClient) -> None:
        assert client.get("/v1/adapters").json() == []
        for ref in ("/etc/passwd", "../films@abcd", "films", "films@../x"):
            assert client.post("/v1/adapters/load", json={"ref": ref}).status_code == 422
        assert client.post("/v1/adapters/load", json={"ref": "films@abcd"}).status_code == 409
        assert client.post("/v1/adapters/promote", json={"ref": "books@abcd"}).status_code == 422
        assert client.post("/v1/adapters/rollback").status_code == 422
        assert client.post("/v1/adapters/load", json={"ref": "none"}).json()["adapter"] == "none"
