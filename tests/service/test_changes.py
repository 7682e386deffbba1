"""The index, the adapter or the clock changes while the service answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.config import Domain
from recsys.data import idempotency
from recsys.engine import manager
from recsys.errors import EngineError, StoreError
from recsys.recommender import recommender as recommender_module
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.security.keys import KeyRing
from tests.adapter_files import World
from tests.fakes import FakeTokenizer, ScriptedEngine, build_recommender, film, hashed_score
from tests.service.api_calls import Serve, events_of, ids, recommend, send

HOUR, DAY = 3600.0, 86_400.0


# --- the index ---------------------------------------------------------------------


def lines(answer: Any) -> Any:
    """Return an answer without ids and times."""
    return {name: answer[name] for name in ("recommendations", "strategy", "context", "degraded", "notes")}


def test_a_request_answers_from_the_index_that_it_began_with(
    client: TestClient, recommender: Recommender, scripted: ScriptedEngine
) -> None:
    """The whole catalogue is rewritten between candidates and reasons."""
    before = recommend(client, user="ann", k=3)
    changed = threading.Event()

    def change_catalogue(text: str, label: str) -> float:
        if not changed.is_set():
            changed.set()
            recommender.remove_items({"f3"})  # of her history
            rewritten = [item.model_copy(update={"description": "Rewritten"}) for item in recommender.catalog]
            recommender.add_items(rewritten)
        return hashed_score(text, label)

    scripted.score = change_catalogue
    during = recommend(client, user="ann", k=3)
    assert changed.is_set()
    assert lines(during) == lines(before)
    after = recommend(client, user="ann", k=3)
    assert {line["item"]["description"] for line in after["recommendations"]} == {"Rewritten"}
    assert after["degraded"] == []


def test_no_request_is_dropped_while_the_index_is_swapped(
    serve: Serve, recommender: Recommender, scripted: ScriptedEngine
) -> None:
    """Two films are added and removed together; an answer has both or neither."""
    client = serve(concurrency=2)
    pair = [film("p1", "First half", "Noir"), film("p2", "Second half", "Noir")]
    body: dict[str, Any] = {"user": "new", "k": 20, "n_candidates": 40, "reasons": False}
    answers: list[set[str]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(set(ids(recommend(client, **body))))

    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(ask) for _ in range(2)]
        try:
            for _ in range(6):
                recommender.add_items(pair)
                recommender.remove_items(["p1", "p2"])
        finally:
            over.set()
        for future in clients:
            future.result()
    permanent = {item.id for item in recommender.catalog}
    assert answers
    assert all(answer in (permanent, permanent | {"p1", "p2"}) for answer in answers)


# --- the adapter --------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedEngine]:
    """Collect the engines that the service opens, one per adapter."""
    engines: list[ScriptedEngine] = []
    tokenizer = FakeTokenizer()

    def open_engine(*_: Any, adapter: Any = None, **__: Any) -> ScriptedEngine:
        engines.append(ScriptedEngine(tokenizer=tokenizer, adapter=adapter.ref if adapter else None))
        return engines[-1]

    monkeypatch.setattr(recommender_module, "open_engine", open_engine)
    return engines


@pytest.mark.usefixtures("nothing_shipped")
def test_no_request_is_dropped_while_an_adapter_is_promoted(
    films: Domain, world: World, started: list[ScriptedEngine]
) -> None:
    published = world.publish()
    answers: list[Any] = []
    over = threading.Event()
    with build_recommender(films, world.settings, None) as recommender:
        app = create_app({"films": recommender}, ServiceOptions(concurrency=2))
        with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:

            def ask() -> None:
                while not over.is_set():
                    answers.append(recommend(client, user="ann", k=2))

            def stream() -> None:
                while not over.is_set():
                    headers = {"Accept": "text/event-stream"}
                    response = client.post(
                        "/v1/recommendations", json={"user": "cat", "k": 2}, headers=headers
                    )
                    events = events_of(response.text)
                    (_, first), (name, last) = events[0], events[-1]
                    assert name == "done"
                    adapter = first["answer"]["model"].get("adapter")
                    assert adapter == last["model"]["adapter"], "one engine for the whole stream"
                    answers.append(last)

            for user in ("ann", "cat"):  # so that the fake tokenizer knows every word
                recommend(client, user=user, k=2)
            with ThreadPoolExecutor(2) as pool:
                clients = [pool.submit(ask), pool.submit(stream)]
                try:
                    wait_for(lambda: len(answers) > 3)
                    response = client.post("/v1/adapters/promote", json={"ref": published.ref, "force": True})
                    assert response.status_code == 200, response.text
                    wait_for(lambda: answers[-1]["model"]["adapter"] == published.ref)
                finally:
                    over.set()
                for future in clients:
                    future.result()
            assert started[0].closed, "the old one is no longer used"
    assert all(answer["degraded"] == [] for answer in answers)
    assert {answer["model"]["adapter"] for answer in answers} == {None, published.ref}
    assert [engine.adapter for engine in started] == [None, published.ref]


def wait_for(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(30_000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen")


# --- the clock ----------------------------------------------------------------------


class Wall:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.off = 0.0
        self._time = time.time

    def __call__(self) -> float:
        return self._time() + self.off


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(time, "time", wall)
    return wall


@pytest.mark.parametrize("jump", [-HOUR, DAY])
def test_rates_hold_when_the_clock_is_set(
    serve: Serve, recommender: Recommender, wall: Wall, jump: float
) -> None:
    text, _ = KeyRing(recommender.store).create("app")
    client, key = serve(rate="3/day"), {"Authorization": f"Bearer {text}"}
    statuses = [client.get("/v1/domains", headers=key).status_code for _ in range(2)]
    wall.off = jump
    statuses += [client.get("/v1/domains", headers=key).status_code for _ in range(2)]
    assert statuses == [200, 200, 200, 429]


@pytest.mark.parametrize("jump", [-HOUR, DAY + 1])
def test_a_key_is_done_once_and_a_session_lives_when_the_clock_is_set(
    client: TestClient, wall: Wall, jump: float
) -> None:
    event, key = {"user_id": "ann", "item_id": "f1"}, {"Idempotency-Key": "one"}
    first = send(client, event, **key).json()
    session = client.post("/v1/sessions", json={"liked": ["Heat"]}).json()["id"]
    wall.off = jump
    assert send(client, event, **key).json() == first
    assert client.post(f"/v1/sessions/{session}", json={"liked": ["Fargo"]}).json()["liked"] == ["f2", "f7"]
    wall.off = 0.0
    assert send(client, event, **key).json() == first
    assert client.get(f"/v1/sessions/{session}").status_code == 200
    events = client.get("/v1/interactions", params={"user_id": "ann"}).json()["data"]
    assert [event["item_id"] for event in events].count("f1") == 1


def test_events_that_happen_now_come_after_those_before_whatever_the_clock_says(
    client: TestClient, recommender: Recommender, wall: Wall
) -> None:
    sent = []
    for off, item in [(0.0, "f1"), (-HOUR, "f5"), (-HOUR, "f1"), (DAY, "f6"), (0.0, "f7"), (0.0, "f6")]:
        wall.off = off
        assert send(client, {"user_id": "ann", "item_id": item}).json()["added"] == 1
        sent.append(item)
    known = recommender.store.history("films", "ann")
    assert [event.item_id for event in known][-len(sent) :] == sent
    stamps = [event.timestamp or 0.0 for event in known]
    assert stamps == sorted(set(stamps))


def test_an_event_from_a_far_future_does_not_date_those_that_follow(client: TestClient) -> None:
    ahead = time.time() + 365 * DAY
    send(client, {"user_id": "ann", "item_id": "f1", "timestamp": ahead})
    send(client, {"user_id": "ann", "item_id": "f5"})
    events = client.get("/v1/interactions", params={"user_id": "ann"}).json()["data"]
    assert events[0]["timestamp"] < ahead - 364 * DAY


def test_the_newest_trace_is_kept_when_the_clock_is_set_back(serve: Serve, wall: Wall) -> None:
    client = serve(traces=2)
    body: dict[str, Any] = {"user": "ann", "k": 1, "reasons": False}
    given = [recommend(client, **body) for _ in range(2)]
    wall.off = -HOUR
    given.append(recommend(client, **body))
    kept = [trace["recommendation_id"] for trace in client.get("/v1/recommendations").json()["data"]]
    assert kept == [answer["recommendation_id"] for answer in given[:0:-1]]
    about = {"user_id": "ann", "item_id": ids(given[-1])[0], "event": "shown"}
    response = send(client, about | {"recommendation_id": given[-1]["recommendation_id"]})
    assert response.json() == {"added": 0, "updated": 0, "feedback": 1}


def test_an_engine_that_does_not_start_is_left_alone_for_as_long_when_the_clock_is_set(
    films: Domain, world: World, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise EngineError("no memory")

    monkeypatch.setattr(recommender_module, "open_engine", refuse)
    monkeypatch.setattr(manager, "FIRST_PAUSE", 1e6)
    with build_recommender(films, world.settings, None) as recommender:
        for off in (0.0, DAY, -HOUR):
            wall.off = off
            assert recommender.recommend("ann", k=1).degraded
    assert len(tries) == 1


# --- keys and their work ---------------------------------------------------------------


@pytest.mark.parametrize("step", ["claim", "keep_answer"])
def test_an_event_whose_answer_was_lost_is_not_kept_twice(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The database fails before or after the work; neither work nor key is kept."""
    event, key = {"user_id": "ann", "item_id": "f1"}, {"Idempotency-Key": "one"}

    def fail(*_: Any) -> Any:
        error = StoreError("the database cannot be reached", hint="check that the server runs")
        error.retryable = True
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, step, fail)
        refused = send(client, event, **key)
    assert (refused.status_code, refused.json()["retryable"]) == (503, True)
    assert send(client, event, **key).json()["added"] == 1
    assert send(client, event, **key).json()["added"] == 1
    events = client.get("/v1/interactions", params={"user_id": "ann"}).json()["data"]
    assert [event["item_id"] for event in events].count("f1") == 1


def test_the_same_key_at_once_is_done_once(client: TestClient) -> None:
    event, key = {"user_id": "ann", "item_id": "f1"}, {"Idempotency-Key": "one"}
    ready = threading.Barrier(4)

    def ask(_: int) -> Any:
        ready.wait()
        return send(client, event, **key).json()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert answers == [{"added": 1, "updated": 0, "feedback": 0}] * 4


def test_items_whose_answer_could_not_be_kept_are_there_and_said(
    client: TestClient, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise StoreError("the database has no room to grow")

    monkeypatch.setattr(idempotency, "keep_answer", fail)
    body = {"items": [{"id": "f50", "title": "Solaris"}]}
    response = client.post("/v1/items", json=body, headers={"Idempotency-Key": "one"})
    assert response.json()["added"] == 1
    assert recommender.catalog.get("f50") is not None
