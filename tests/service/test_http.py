"""The HTTP API: answers, freshness, feedback, users and items."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from recsys.client import Client
from recsys.data import audit, traces
from recsys.errors import EngineDead, StoreError
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import RequestOptions
from recsys.service.api.schemas import RecommendationRequest, RecommendationResponse
from recsys.types import Recommendations
from recsys.utils import clock
from tests.fakes import ScriptedEngine
from tests.service.api_calls import Serve, events_of, ids, recommend, send


class TestRecommendations:
    def test_answer_is_the_library_s_own_and_has_an_id(
        self, client: TestClient, recommender: Recommender
    ) -> None:
        recommended = recommend(client, user="ann", k=3)
        assert len(recommended.pop("recommendation_id")) == 32
        answer = Recommendations.model_validate(recommended)
        assert [line.item.id for line in answer] == [
            line.item.id for line in recommender.recommend("ann", k=3)
        ]
        assert all(line.explanation and line.explanation.grounded for line in answer)

    def test_every_part_of_a_request_can_be_said(self) -> None:
        assert set(RequestOptions.__annotations__) <= set(RecommendationRequest.model_fields)

    def test_history_context_and_filter_of_the_request_are_used(self, client: TestClient) -> None:
        recommended = recommend(
            client,
            liked=["Heat"],
            disliked=["Toy Story"],
            at="2026-11-20T21:00",
            wish="dark",
            rule={"where": {"genre": ["Noir", "Thriller"]}},
            k=3,
            reasons=False,
        )
        assert recommended["context"]["weekday"] == "Friday"
        assert recommended["context"]["wish"] == "dark"
        for line in recommended["recommendations"]:
            assert {"Noir", "Thriller"} & set(line["item"]["attributes"]["genre"])
            assert line["explanation"] is None

    def test_several_users_get_a_list_each(self, client: TestClient) -> None:
        answers = recommend(client, users=["ann", "bob"], k=2, reasons=False)["answers"]
        assert [answer["user"] for answer in answers] == ["ann", "bob"]

    def test_stream_brings_the_list_then_reasons_then_the_whole(self, client: TestClient) -> None:
        response = client.post(
            "/v1/recommendations", json={"user": "ann", "k": 2}, headers={"Accept": "text/event-stream"}
        )
        assert response.headers["content-type"].startswith("text/event-stream")
        steps = events_of(response.text)
        assert [name for name, _ in steps] == ["ranked", "reason", "reason", "done"]
        first, last = steps[0][1]["answer"], steps[-1][1]
        assert ids(first) == ids(last)
        texts = {data["rank"]: data["explanation"]["text"] for name, data in steps if name == "reason"}
        assert [texts[1], texts[2]] == [line["explanation"]["text"] for line in last["recommendations"]]
        assert client.get(f"/v1/recommendations/{last['recommendation_id']}").status_code == 200

    def test_wrong_request_for_a_stream_is_an_ordinary_problem(self, client: TestClient) -> None:
        response = client.post(
            "/v1/recommendations", json={"liked": ["Fargoo"]}, headers={"Accept": "text/event-stream"}
        )
        assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")

    def test_dead_engine_degrades_and_is_no_error(
        self, client: TestClient, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> Any:
            raise EngineDead("it is gone")

        scripted.fail_at[0] = EngineDead("it is gone")
        monkeypatch.setattr(client.app.state.service.recommender(None), "engine", fail)  # type: ignore[attr-defined]
        recommended = recommend(client, user="ann", k=2)
        assert recommended["strategy"] == "retriever"
        assert any("it is gone" in note for note in recommended["degraded"])
        assert {line["explanation"]["source"] for line in recommended["recommendations"]} == {"template"}
        assert 'whyrec_fallbacks_total{domain="films",kind="engine"} 1.0' in client.get("/metrics").text

    def test_explanation_and_similar_items(self, client: TestClient) -> None:
        why = client.post(
            "/v1/explanations", json={"user": "ann", "item": "Fargo", "instead_of": "f1"}
        ).json()
        assert (why["item"]["item"]["id"], why["other"]["item"]["id"]) == ("f7", "f1")
        similar = client.post("/v1/similar", json={"item": "Heat", "k": 3}).json()
        assert len(similar) == 3
        assert "f2" not in {line["item"]["id"] for line in similar}

    def test_similar_items_have_the_scores_of_the_library(
        self, client: TestClient, recommender: Recommender
    ) -> None:
        """They were the retriever's raw scores."""
        expected = recommender.similar("Heat", k=4)
        assert client.post("/v1/similar", json={"item": "Heat", "k": 4}).json() == [
            line.model_dump(mode="json") for line in expected
        ]
        assert tuple(Client("", http=cast(Any, client)).similar("Heat", k=4)) == expected

    def test_what_tells_who_somebody_is_reaches_neither_prompt_nor_trace(
        self, client: TestClient, scripted: ScriptedEngine
    ) -> None:
        wish = "something dark, write to jane.roe@example.org"
        recommended = recommend(client, user="ann", wish=wish, k=1)
        assert "dark" in recommended["context"]["wish"]
        trace = client.get(f"/v1/recommendations/{recommended['recommendation_id']}").text
        assert "jane.roe" not in "".join(scripted.prompts) + trace + json.dumps(recommended)


class TestFreshness:
    def test_event_sent_now_is_in_the_next_answer(self, client: TestClient, scripted: ScriptedEngine) -> None:
        before = ids(recommend(client, user="new", k=12, reasons=False))
        assert "f11" in before
        assert send(client, {"user_id": "new", "item_id": "f11", "event": "liked"}).status_code == 200
        scripted.calls.clear()
        assert "f11" not in ids(recommend(client, user="new", k=11, reasons=False))
        assert "Metropolis" in scripted.prompts[0]

    def test_item_sent_now_is_in_the_next_answer_and_a_deleted_one_is_not(self, client: TestClient) -> None:
        item = {"id": "f99", "title": "Brand New", "attributes": {"genre": ["Western"]}}
        assert client.put("/v1/items/f99", json=item).status_code == 201
        only: dict[str, Any] = {"rule": {"where": {"genre": ["Western"]}}, "k": 1, "reasons": False}
        assert ids(recommend(client, user="ann", **only)) == ["f99"]
        assert client.delete("/v1/items/f99").json()["removed"] == 1
        refused = client.post("/v1/recommendations", json={"user": "ann"} | only)
        assert (refused.status_code, refused.json()["detail"]) == (422, "no item has the genre 'Western'")
        assert "f99" not in ids(recommend(client, user="ann", k=20, reasons=False))

    def test_import_is_in_the_next_answer(self, client: TestClient) -> None:
        lines = [
            {"item": {"id": "f98", "title": "Imported", "attributes": {"genre": ["Western"]}}},
            {"user": {"id": "zoe", "profile": {"age": "60"}}},
            {"interaction": {"user_id": "zoe", "item_id": "f1", "rating": 5, "timestamp": 7}},
            {"interaction": {"user_id": "yan", "item_id": "f98", "timestamp": 8}},
        ]
        response = client.post("/v1/import", content="\n".join(map(json.dumps, lines)))
        assert {kind: counts["added"] for kind, counts in response.json().items()} == {
            "items": 1,
            "users": 2,
            "interactions": 2,
        }
        assert "f98" in ids(recommend(client, user="zoe", k=12, reasons=False))
        assert "f1" not in ids(recommend(client, user="zoe", k=12, reasons=False))

    def test_session_collects_what_somebody_likes(self, client: TestClient) -> None:
        begun = client.post("/v1/sessions", json={"liked": ["Heat"]})
        assert begun.status_code == 201
        address = f"/v1/sessions/{begun.json()['id']}"
        added = client.post(address, json={"liked": ["Fargo"], "disliked": ["Heat"]}).json()
        assert (added["liked"], added["disliked"]) == (["f7"], ["f2"])
        recommended = recommend(client, session=begun.json()["id"], k=10, reasons=False)
        assert not {"f2", "f7"} & set(ids(recommended))
        assert client.delete(address).status_code == 200
        assert client.get(address).status_code == 404

    def test_expired_session_is_gone(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        address = f"/v1/sessions/{client.post('/v1/sessions', json={}).json()['id']}"
        now, elapsed = time.time(), clock.elapsed()
        monkeypatch.setattr(time, "time", lambda: now + 3 * 3600)
        monkeypatch.setattr(clock, "elapsed", lambda: elapsed + 3 * 3600)
        assert client.get(address).status_code == 404


class TestFeedback:
    def test_feedback_refers_to_a_recommendation(self, client: TestClient) -> None:
        recommended = recommend(client, user="ann", k=2, reasons=False)
        best, other = ids(recommended)
        about = {"user_id": "ann", "recommendation_id": recommended["recommendation_id"]}
        response = send(
            client,
            about | {"item_id": best, "event": "liked"},
            about | {"item_id": other, "event": "dismissed"},
        )
        assert response.json() == {"added": 1, "updated": 0, "feedback": 2}
        seen = client.get("/v1/interactions", params={"user_id": "ann"}).json()["data"]
        assert (seen[0]["item_id"], seen[0]["rating"]) == (best, 4.0)
        assert other not in {event["item_id"] for event in seen}
        assert 'whyrec_feedback_total{domain="films",event="dismissed"} 1.0' in client.get("/metrics").text

    @pytest.mark.parametrize(
        ("change", "status"),
        [({"recommendation_id": "none"}, 404), ({"item_id": "f3"}, 422), ({"user_id": "bob"}, 422)],
    )
    def test_feedback_on_what_was_not_recommended_is_refused_whole(
        self, client: TestClient, change: dict[str, str], status: int
    ) -> None:
        recommended = recommend(client, user="ann", k=2, reasons=False)
        good = {
            "user_id": "ann",
            "item_id": ids(recommended)[0],
            "event": "liked",
            "recommendation_id": recommended["recommendation_id"],
        }
        assert send(client, good, good | change).status_code == status
        seen = client.get("/v1/interactions", params={"user_id": "ann"}).json()["data"]
        assert good["item_id"] not in {event["item_id"] for event in seen}

    def test_click_without_a_recommendation_says_what_is_missing(self, client: TestClient) -> None:
        response = send(client, {"user_id": "ann", "item_id": "f1", "event": "clicked"})
        assert response.status_code == 422
        assert "recommendation_id" in response.json()["detail"]

    def test_only_the_newest_traces_are_kept(self, serve: Serve) -> None:
        client = serve(traces=2)
        given = [recommend(client, user="ann", k=1, reasons=False)["recommendation_id"] for _ in range(3)]
        kept = [client.get(f"/v1/recommendations/{id_}").status_code for id_ in given]
        assert kept == [404, 200, 200]
        listed = client.get("/v1/recommendations").json()["data"]
        assert [trace["recommendation_id"] for trace in listed] == given[:0:-1]

    def test_store_that_cannot_keep_a_trace_costs_the_trace_alone(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise StoreError("the database has no room to grow")

        monkeypatch.setattr(traces, "add_trace", full)
        recommended = recommend(client, user="ann", k=1, reasons=False)
        assert RecommendationResponse.model_validate(recommended)
        assert any(note.startswith("trace: ") for note in recommended["degraded"])


class TestPeopleAndItems:
    def test_users_come_in_pages_that_have_each_once(self, client: TestClient) -> None:
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = client.get(
                "/v1/users", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
            ).json()
            seen += [user["id"] for user in page["data"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert seen == ["ann", "bob", "cat", "dan", "eve", "new"]

    @pytest.mark.parametrize("address", ["/v1/users", "/v1/items", "/v1/recommendations"])
    @pytest.mark.parametrize("cursor", ["!", "AAAA", "Zm9v8J-", "AA"])
    def test_cursor_that_is_none_of_ours_is_refused_or_harmless(
        self, client: TestClient, address: str, cursor: str
    ) -> None:
        assert client.get(address, params={"cursor": cursor}).status_code in (200, 422)

    def test_user_is_added_replaced_and_deleted_everywhere(
        self, client: TestClient, recommender: Recommender
    ) -> None:
        assert client.put("/v1/users/a/b", json={"id": "a/b", "profile": {"age": "7"}}).status_code == 201
        assert client.put("/v1/users/a/b", json={"id": "a/b"}).status_code == 200
        assert client.get("/v1/users/a/b").json()["profile"] == {}
        given = recommend(client, user="a/b", k=1, reasons=False)["recommendation_id"]
        send(client, {"user_id": "a/b", "item_id": "f1"})
        gone = client.delete("/v1/users/a%2Fb").json()
        assert (gone["rows"]["users"], gone["rows"]["interactions"], gone["rows"]["traces"]) == (1, 1, 1)
        assert client.get("/v1/users/a/b").status_code == 404
        assert client.get(f"/v1/recommendations/{given}").status_code == 404
        entry = audit.entries(recommender.store)[0]
        assert entry.action == "users.delete"
        assert "a/b" not in entry.target

    def test_one_wrong_item_keeps_all_out(self, client: TestClient) -> None:
        items = [{"id": "f90", "title": "Right"}, {"id": "f91", "title": "Wrong", "year": 12}]
        response = client.post("/v1/items", json={"items": items})
        assert response.status_code == 422
        assert "f91" in response.json()["detail"] or "items, row 2" in response.json()["detail"]
        assert client.get("/v1/items/f90").status_code == 404

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "row 2: not valid JSON"),
            ('{"thing": {}}', "row 2: expected an object"),
            ('{"interaction": {"user_id": "x", "item_id": "f1", "rating": "many"}}', "field 'rating'"),
            ('{"interaction": {"user_id": "x", "item_id": "f777"}}', "no item 'f777'"),
            ('{"user": {"id": "a\\u0000b"}}', "NUL"),
        ],
    )
    def test_wrong_line_of_an_import_is_named_and_nothing_is_kept(
        self, client: TestClient, line: str, message: str
    ) -> None:
        response = client.post("/v1/import", content='{"item": {"id": "f97", "title": "Right"}}\n' + line)
        assert response.status_code == 422
        assert message in response.json()["detail"]
        assert client.get("/v1/items/f97").status_code == 404

    def test_event_of_somebody_new_adds_them(self, client: TestClient) -> None:
        assert send(client, {"user_id": "stranger", "item_id": "f1", "rating": 5}).json()["added"] == 1
        assert client.get("/v1/users/stranger").json() == {"id": "stranger", "profile": {}, "home": None}

    def test_same_event_again_is_no_second_one(self, client: TestClient) -> None:
        event = {"user_id": "ann", "item_id": "f1", "rating": 5, "timestamp": 9.5}
        assert send(client, event).json()["added"] == 1
        assert send(client, event, event).json() == {"added": 0, "updated": 1, "feedback": 0}
