"""Experiments over HTTP: assignment to arms, exposures, credit for feedback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from recsys.config import Domain, load_domain
from recsys.data.database import EXPOSURES
from recsys.evaluation.online import evaluate_online
from recsys.recommender.experiments import assigned, unit_of
from recsys.recommender.recommender import Recommender
from tests.fakes import DOMAIN, write_films
from tests.service.api_calls import Serve, events_of, recommend, send

SCENARIO = """
[[scenarios.way.arms]]
name = "control"
share = 1
[[scenarios.way.arms]]
name = "letters"
share = 1
ranker = { strategy = "listwise" }
"""


@pytest.fixture
def films(tmp_path: Path) -> Domain:
    return load_domain(write_films(tmp_path / "films", toml=DOMAIN + SCENARIO))


def person(films: Domain, arm: str) -> str:
    """Return a known user who is in this arm."""
    people = ("ann", "bob", "cat", "dan", "eve")
    scenario = films.scenarios["way"]
    return next(name for name in people if assigned("way", scenario, unit_of(name)).name == arm)


def exposures(recommender: Recommender) -> list[dict[str, Any]]:
    with recommender.store.transaction() as connection:
        return [dict(row) for row in connection.execute(sa.select(EXPOSURES)).mappings()]


def series(client: TestClient, name: str) -> dict[str, float]:
    """Map the labels of a metric to its values."""
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name}{{")]
    return {line.partition("{")[2].rpartition("}")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_each_gets_their_arm_which_answer_trace_stream_and_explanation_name(
    client: TestClient, films: Domain
) -> None:
    for arm, strategy in (("control", "pointwise"), ("letters", "listwise")):
        user = person(films, arm)
        for _ in range(2):
            recommended = recommend(client, user=user, k=2, reasons=False)
            assert (recommended["arms"], recommended["strategy"]) == ({"way": arm}, strategy)
        trace = client.get(f"/v1/recommendations/{recommended['recommendation_id']}").json()
        assert trace["answer"]["arms"] == {"way": arm}
        body, accept = {"user": user, "k": 1}, {"Accept": "text/event-stream"}
        steps = events_of(client.post("/v1/recommendations", json=body, headers=accept).text)
        assert [step["answer"]["arms"] for name, step in steps if name == "ranked"] == [{"way": arm}]
        assert steps[-1][1]["arms"] == {"way": arm}
        why = client.post("/v1/explanations", json={"user": user, "item": "Metropolis"}).json()
        assert why["arms"] == {"way": arm}
    users = [person(films, arm) for arm in ("control", "letters")]
    answers = recommend(client, users=users, k=1, reasons=False)["answers"]
    assert [answer["arms"]["way"] for answer in answers] == ["control", "letters"]


def test_the_page_names_the_arm(client: TestClient, films: Domain) -> None:
    page = client.get("/", params={"user": person(films, "letters"), "whole": "true"}).text
    assert "way: arm letters" in page


def test_who_has_no_name_is_in_the_control_and_not_counted(
    client: TestClient, recommender: Recommender
) -> None:
    recommended = recommend(client, liked=["Heat"], k=1, reasons=False)
    assert recommended["arms"] == {"way": "control"}
    assert exposures(recommender) == []
    assert series(client, "whyrec_arm_answers_total") == {}


def test_sessions_are_divided_and_their_ids_are_not_kept(
    client: TestClient, recommender: Recommender
) -> None:
    arms = set()
    for _ in range(12):
        session = client.post("/v1/sessions", json={"liked": ["Heat"]}).json()["id"]
        first, again = (recommend(client, session=session, k=1, reasons=False) for _ in range(2))
        assert first["arms"] == again["arms"]
        arms.add(first["arms"]["way"])
        assert session not in json.dumps(exposures(recommender))
    assert arms == {"control", "letters"}
    assert len({row["unit"] for row in exposures(recommender)}) == 12


@pytest.mark.parametrize("wish", [{"arm": "letters"}, {"arms": {"way": "letters"}}, {"scenario": "way"}])
def test_a_client_cannot_choose_an_arm(wish: dict[str, Any], client: TestClient) -> None:
    response = client.post("/v1/recommendations", json={"user": "ann"} | wish)
    assert response.status_code == 422
    assert client.post("/v1/recommendations", json={"user": "ann"}, params=wish).json()["arms"] == {
        "way": recommend(client, user="ann", k=1, reasons=False)["arms"]["way"]
    }


def test_feedback_is_credited_to_the_arm_that_made_the_list(
    client: TestClient, films: Domain, recommender: Recommender
) -> None:
    for arm in ("control", "letters"):
        user = person(films, arm)
        recommended = recommend(client, user=user, k=2, reasons=False)
        refers = {"user_id": user, "recommendation_id": recommended["recommendation_id"]}
        item = recommended["recommendations"][0]["item"]["id"]
        events = [refers | {"item_id": item, "event": "clicked"}]
        if arm == "letters":
            events.append(refers | {"item_id": item, "event": "liked"})
        assert send(client, *events).json()["feedback"] == len(events)
    of = 'arm="{}",domain="films",{}scenario="way"'.format
    assert series(client, "whyrec_arm_answers_total") == {of("control", ""): 1, of("letters", ""): 1}
    assert series(client, "whyrec_arm_feedback_total") == {
        of("control", 'event="clicked",'): 1,
        of("letters", 'event="clicked",'): 1,
        of("letters", 'event="liked",'): 1,
    }
    (compared,) = evaluate_online(recommender.store, films)
    assert [(arm.users, arm.feedback) for arm in compared.arms] == [
        (1, {"clicked": 1}),
        (1, {"clicked": 1, "liked": 1}),
    ]


def test_what_was_served_is_counted_when_its_trace_is_gone(
    serve: Serve, films: Domain, recommender: Recommender
) -> None:
    client = serve(traces=1)
    first = recommend(client, user="ann", k=1, reasons=False)["recommendation_id"]
    recommend(client, user="bob", k=1, reasons=False)
    assert client.get(f"/v1/recommendations/{first}").status_code == 404
    assert sum(arm.served for arm in evaluate_online(recommender.store, films)[0].arms) == 2


def test_a_request_that_came_twice_is_one_list(client: TestClient, recommender: Recommender) -> None:
    for _ in range(2):
        recommend(client, {"Idempotency-Key": "once"}, user="ann", k=1, reasons=False)
    assert len(exposures(recommender)) == 1
    assert sum(series(client, "whyrec_arm_answers_total").values()) == 1


def test_a_deleted_person_is_no_longer_counted(client: TestClient, recommender: Recommender) -> None:
    for user in ("ann", "bob"):
        recommend(client, user=user, k=1, reasons=False)
    assert client.delete("/v1/users/ann").json()["rows"]["exposures"] == 1
    assert [row["user_id"] for row in exposures(recommender)] == ["bob"]
    assert unit_of("ann") not in {row["unit"] for row in exposures(recommender)}
