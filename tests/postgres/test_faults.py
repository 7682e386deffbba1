"""PostgreSQL is restarted under a running service."""

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
from tests.service.api_calls import send
from tests.service.processes import DEADLINE_S, is_refusal

WRITERS, EACH = 3, 8
PAUSE_S = 0.05  # after a refusal; clients that never pause keep the database from its core


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


def recommend(client: TestClient) -> Any:
    return client.post("/v1/recommendations", json={"user": "cat", "k": 2})


def items(client: TestClient, user: str) -> list[str]:
    done = client.get("/v1/interactions", params={"user_id": user, "limit": 1000})
    return [event["item_id"] for event in done.json()["data"]][::-1]


def test_database_restarted_between_requests(postgres: PostgresServer, client: TestClient) -> None:
    assert write(client, "ann", "f1", "before").json()["added"] == 1
    postgres.stop()
    try:
        for refused in (
            write(client, "ann", "f5", "meanwhile"),
            recommend(client),
            client.get("/v1/users/ann"),
        ):
            assert is_refusal(refused), refused.text
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
    finally:
        postgres.start()
    assert client.get("/readyz").status_code == 200
    assert write(client, "ann", "f1", "before").json()["added"] == 1
    assert write(client, "ann", "f5", "meanwhile").json()["added"] == 1
    assert items(client, "ann")[-2:] == ["f1", "f5"]
    assert recommend(client).json()["degraded"] == []


class Load:
    """Writers and a reader that keep sending requests while the database is restarted."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.deadline = client, time.monotonic() + DEADLINE_S
        self.half_done = threading.Barrier(WRITERS + 1)
        self.restarted, self.over = threading.Event(), threading.Event()
        self.unexpected: list[str] = []  # responses that are neither answers nor documented refusals
        self.refused: list[str] = []

    def write_events(self, number: int) -> int:
        """Write until the database is back; return how many events were stored."""
        stored = 0
        while stored < EACH or not self.restarted.is_set():
            if stored == EACH // 2:
                self.half_done.wait(DEADLINE_S)
            key = f"{number} {stored}"
            while (response := write(self.client, f"u{number}", "f1", key)).status_code != 200:
                self.refused.append(response.text)
                if not is_refusal(response) or time.monotonic() > self.deadline:
                    self.unexpected.append(response.text)
                    return stored
                time.sleep(PAUSE_S)
            stored += 1
        return stored

    def read(self) -> None:
        """Request lists until `over`."""
        while not self.over.is_set():
            response = recommend(self.client)
            if response.status_code != 200:
                time.sleep(PAUSE_S)
                if not is_refusal(response):
                    self.unexpected.append(response.text)


def test_database_restarted_during_requests(postgres: PostgresServer, client: TestClient) -> None:
    """An event repeated with its key until it is accepted is stored once, in order."""
    load = Load(client)
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(load.read)
        writers = [pool.submit(load.write_events, number) for number in range(WRITERS)]
        try:
            load.half_done.wait(DEADLINE_S)
            postgres.stop()
            postgres.start()
            load.restarted.set()
            stored = [writer.result() for writer in writers]
        finally:
            load.restarted.set()
            load.over.set()
        reader.result()
    assert load.unexpected == []
    assert load.refused
    assert [items(client, f"u{number}") for number in range(WRITERS)] == [["f1"] * count for count in stored]
    assert recommend(client).json()["degraded"] == []


def test_traces_wait_for_exclusive_writers_but_not_for_each_other(
    recommender: Recommender, client: TestClient
) -> None:
    store = recommender.store
    with store.transaction(writes=True, exclusive=False):
        assert recommend(client).json()["degraded"] == []
    with store.transaction(writes=True):
        (note,) = recommend(client).json()["degraded"]
        assert note.startswith("trace: ")
        assert "locked" in note
    assert recommend(client).json()["degraded"] == []


def test_no_trace_of_many_at_once_is_lost(recommender: Recommender) -> None:
    app = create_app({"films": recommender}, ServiceOptions(concurrency=6, warm=False))
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        recommend(client)  # so that the fake tokenizer knows every word
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: recommend(client).json(), range(24)))
        assert [answer["degraded"] for answer in answers] == [[]] * 24
        for answer in answers:
            kept = client.get(f"/v1/recommendations/{answer['recommendation_id']}")
            assert kept.json()["answer"] == answer
