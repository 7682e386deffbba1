"""A PostgreSQL that is restarted under a running service: between requests, and while it is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.config import Domain, Settings
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from tests.fakes import ScriptedEngine, build_recommender
from tests.postgres.server import PostgresServer
from tests.service.calling import send
from tests.service.running import DEADLINE_S, is_refusal

WRITERS, EACH = 3, 8


@pytest.fixture
def recommender(postgres: PostgresServer, films: Domain, settings: Settings) -> Iterator[Recommender]:
    settings = settings.model_copy(update={"store_url": postgres.new_database()})
    with build_recommender(films, settings, ScriptedEngine()) as recommender:
        yield recommender


@pytest.fixture
def client(recommender: Recommender) -> Iterator[TestClient]:
    app = create_app({"films": recommender}, ServiceOptions(concurrency=1, warm=False))
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        yield client


def write(client: TestClient, user: str, item: str, key: str) -> Any:
    return send(client, {"user_id": user, "item_id": item}, **{"Idempotency-Key": key})


def ask(client: TestClient) -> Any:
    return client.post("/v1/recommendations", json={"user": "cat", "k": 2})


def items(client: TestClient, user: str) -> list[str]:
    done = client.get("/v1/interactions", params={"user_id": user, "limit": 1000})
    return [event["item_id"] for event in done.json()["data"]][::-1]


def test_database_restarted_between_requests(postgres: PostgresServer, client: TestClient) -> None:
    assert write(client, "ann", "f1", "before").json()["added"] == 1
    postgres.stop()
    try:
        for refused in (write(client, "ann", "f5", "meanwhile"), ask(client), client.get("/v1/users/ann")):
            assert is_refusal(refused), refused.text
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
    finally:
        postgres.start()
    assert client.get("/readyz").status_code == 200
    assert write(client, "ann", "f1", "before").json()["added"] == 1
    assert write(client, "ann", "f5", "meanwhile").json()["added"] == 1
    assert items(client, "ann")[-2:] == ["f1", "f5"]
    assert ask(client).json()["degraded"] == []


def test_database_restarted_during_requests(postgres: PostgresServer, client: TestClient) -> None:
    """Who repeats a refused event with its key until it is taken has it there once, in order."""
    ends = time.monotonic() + DEADLINE_S
    half, again, over = threading.Barrier(WRITERS + 1), threading.Event(), threading.Event()
    odd: list[str] = []
    refused: list[str] = []

    def events(number: int) -> int:
        """Write until the database has come back; how many were taken."""
        taken = 0
        while taken < EACH or not again.is_set():
            if taken == EACH // 2:
                half.wait(DEADLINE_S)
            while (done := write(client, f"u{number}", "f1", f"{number} {taken}")).status_code != 200:
                refused.append(done.text)
                if not is_refusal(done) or time.monotonic() > ends:
                    odd.append(done.text)
                    return taken
            taken += 1
        return taken

    def lists() -> None:
        while not over.is_set():
            done = ask(client)
            if done.status_code != 200 and not is_refusal(done):
                odd.append(done.text)

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reading = pool.submit(lists)
        writing = [pool.submit(events, number) for number in range(WRITERS)]
        try:
            half.wait(DEADLINE_S)
            postgres.stop()
            postgres.start()
            again.set()
            taken = [one.result() for one in writing]
        finally:
            again.set()
            over.set()
        reading.result()
    assert odd == []
    assert refused
    assert [items(client, f"u{number}") for number in range(WRITERS)] == [["f1"] * count for count in taken]
    assert ask(client).json()["degraded"] == []


def test_traces_do_not_wait_for_each_other_but_for_who_must_be_alone(
    recommender: Recommender, client: TestClient
) -> None:
    store = recommender.store
    with store.transaction(writes=True, exclusive=False):
        assert ask(client).json()["degraded"] == []
    with store.transaction(writes=True):
        (note,) = ask(client).json()["degraded"]
        assert note.startswith("trace: ")
        assert "locked" in note
    assert ask(client).json()["degraded"] == []


def test_no_trace_of_many_at_once_is_lost(recommender: Recommender) -> None:
    app = create_app({"films": recommender}, ServiceOptions(concurrency=6, warm=False))
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        ask(client)  # the fake tokenizer has met every word then
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: ask(client).json(), range(24)))
        assert [answer["degraded"] for answer in answers] == [[]] * 24
        for answer in answers:
            kept = client.get(f"/v1/recommendations/{answer['recommendation_id']}")
            assert kept.json()["answer"] == answer
