"""In a private domain nothing that is known of a person is in a log, a trace or a span."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from recsys.config import Privacy, Rule, load_domain
from recsys.data import audit
from recsys.errors import EngineError
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.observability import telemetry
from recsys.service.options import ServiceOptions
from recsys.types import Interaction, Item, User
from tests.fakes import ScriptedEngine, reconfigure

DISEASE, DRUG, WISH, FACT = "Zqdisease", "Zqdrug", "zqwish", "zqfact"
PLANTED = (DISEASE, DRUG, WISH, FACT)
REMARK: dict[str, object] = {"do": "remark", "when": 'user.age != ""', "say": {"en": "You have {user.age}"}}
FORBID: dict[str, object] = {
    "do": "forbid",
    "missing": "allow",
    "when": f'item.title == "Heat" && user.age == "{DISEASE}"',
}
BODY: dict[str, object] = {
    "user": "pat",
    "k": 6,
    "wish": f"for {WISH}",
    "extra": {"note": FACT},
    "liked": [DRUG],
}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def private(recommender: Recommender, spans: InMemorySpanExporter) -> Iterator[TestClient]:
    """A service of a private domain that knows a person with a disease and a medication."""
    rules = tuple(Rule.model_validate({"name": f"r{n}"} | rule) for n, rule in enumerate((REMARK, FORBID)))
    reconfigure(recommender, privacy=Privacy(private=True), rules=rules)
    recommender.add_items([Item(id="drug", title=DRUG)])
    recommender.store.put_user("films", User(id="pat", profile={"age": DISEASE}))
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = create_app({"films": recommender}, ServiceOptions())
    client = TestClient(
        telemetry.TracingMiddleware(app, provider), "http://localhost", client=("127.0.0.1", 5000)
    )
    with client:
        event = Interaction(user_id="pat", item_id="drug", rating=5, timestamp=100.0)
        sent = client.post("/v1/interactions", json={"events": [event.model_dump(exclude={"context"})]})
        assert sent.status_code in (200, 201), sent.text
        yield client


def ask_every_way(client: TestClient) -> list[str]:
    """Ask all that says something about the person; return the answers."""
    answers = [
        client.post("/v1/recommendations", json=BODY, headers={"Idempotency-Key": "one"}),
        client.post("/v1/recommendations", json=BODY, headers={"Accept": "text/event-stream"}),
        client.post("/v1/explanations", json={"user": "pat", "item": "Heat", "wish": WISH}),
        client.post("/v1/similar", json={"user": "pat", "item": DRUG}),
        client.get("/", params={"user": "pat", "whole": "1", "wish": WISH, "liked": DRUG}),
        client.get("/why", params={"user": "pat", "item": "Heat"}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers), answers[0].text
    return [answer.text for answer in answers]


def kept(client: TestClient, recommender: Recommender, log_file: Path, spans: InMemorySpanExporter) -> str:
    """Return all that is kept of requests: traces, the audit log, logs and spans."""
    traces = client.get("/v1/recommendations", params={"limit": 50}).json()
    assert len(traces["data"]) >= 3
    entries = audit.entries(recommender.store, action="rules.")
    assert entries
    finished = [span.to_json() for span in spans.get_finished_spans()]
    assert finished
    logged = log_file.read_text(encoding="utf-8")
    return "\n".join([json.dumps(traces), *map(str, entries), *finished, logged])


def test_facts_of_a_person_reach_them_and_no_trace_log_or_span(
    private: TestClient, recommender: Recommender, log_file: Path, spans: InMemorySpanExporter
) -> None:
    answers = ask_every_way(private)
    assert f"You have {DISEASE}." in answers[0], "the person is told"
    assert f"You have {DISEASE}." in answers[1]
    text = kept(private, recommender, log_file, spans)
    assert [word for word in PLANTED if word.casefold() in text.casefold()] == []


def test_failures_log_nothing_of_the_person(
    private: TestClient,
    recommender: Recommender,
    scripted: ScriptedEngine,
    log_file: Path,
    spans: InMemorySpanExporter,
) -> None:
    scripted.fail_in["labels"] = EngineError("gone")
    ask_every_way(private)
    for wrong in ({"liked": [f"{DRUG} unknown"]}, {"at": WISH}, {"wish": 7}, {"place": FACT}):
        private.post("/v1/recommendations", json=BODY | wrong)
    text = kept(private, recommender, log_file, spans)
    assert [word for word in PLANTED if word.casefold() in text.casefold()] == []


def test_a_repeated_request_gets_the_same_items_and_is_told_why_reasons_lack(private: TestClient) -> None:
    answers: list[dict[str, Any]] = [
        private.post("/v1/recommendations", json=BODY, headers={"Idempotency-Key": "two"}).json()
        for _ in range(2)
    ]
    first, again = ([line["item"]["id"] for line in answer["recommendations"]] for answer in answers)
    assert first == again
    assert answers[0]["recommendation_id"] == answers[1]["recommendation_id"]
    assert any("keeps no reasons" in note for note in answers[1]["notes"])


def test_other_domains_keep_their_reasons(recommender: Recommender, client: TestClient) -> None:
    given = client.post("/v1/recommendations", json={"user": "ann", "k": 2, "wish": "a thriller"}).json()
    trace = client.get(f"/v1/recommendations/{given['recommendation_id']}").json()
    assert trace["request"]["wish"] == "a thriller"
    assert trace["answer"]["recommendations"][0]["explanation"]["text"]


@pytest.mark.parametrize("name", ["medicine", "finance"])
def test_the_domains_of_private_facts_are_private(name: str) -> None:
    assert load_domain(name).privacy.private
