"""Failures of engine, database, disk and process: the service goes on.

Acknowledged writes exist once; answers are degraded and say so; what cannot be done is a documented
503; and the service recovers without a restart.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsys.data.database import IDEMPOTENCY
from recsys.data.store import Store
from tests.service.api_calls import ids
from tests.service.processes import DEADLINE_S, ModelServer, Service, is_refusal, running, sources, until

DISK = 8 << 20  # bytes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    server = ModelServer(tmp_path_factory.mktemp("model") / "server")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder on a small disk of its own, if this process may mount one."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def service(model: ModelServer, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all failures here: it must recover from each."""
    folder = tmp_path_factory.mktemp("service")
    with running(folder, model.url, disk / "data", WHYREC_TIMEOUT_S="3") as started:
        yield started


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


@contextmanager
def no_room(service: Service) -> Iterator[None]:
    """Fill the disk of the service, or keep its files from growing."""
    folder = service.data.parent
    if folder.is_mount():
        fill(folder / "filler")
        try:
            yield
        finally:
            (folder / "filler").unlink()
    else:
        store = service.data / "whyrec.db-wal"
        pid, limits = service.process.pid, resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (store.stat().st_size, limits[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def check_degraded(answer: object) -> None:
    """Assert the retriever's order, template sentences, and a note about it."""
    assert isinstance(answer, dict)
    scores = [line["retriever_score"] for line in answer["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert (answer["strategy"], sources(answer)) == ("retriever", {"template"})
    assert answer["degraded"]


def test_engine_killed_in_ranking(service: Service, model: ModelServer) -> None:
    service.heals()
    model.hold("labels")
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(service.recommend)
        model.wait_until_held()
        assert service.send("ann", "f1", "in ranking").status_code == 200
        model.kill()
        answer = response.result()
    check_degraded(answer)
    assert answer["degraded"][0].startswith("ranking: ")
    check_degraded(service.recommend())
    assert service.http.get("/readyz").status_code == 200
    model.start()
    service.heals()
    assert service.events("ann").count("f1") == 1


def test_engine_killed_between_ranking_and_reasons(service: Service, model: ModelServer) -> None:
    service.heals()
    model.hold("text")
    with service.stream() as events:
        name, ranked = next(events)
        assert (name, ranked["answer"]["degraded"]) == ("ranked", [])
        model.wait_until_held()
        model.kill()
        *_, (last, answer) = events
    assert (last, answer["strategy"], sources(answer)) == ("done", "pointwise", {"template"})
    assert answer["degraded"]
    assert ids(ranked["answer"]) == ids(answer)
    model.start()
    service.heals()


def test_engine_hung(service: Service, model: ModelServer) -> None:
    service.heals()
    model.stop()
    try:
        for _ in range(2):  # one that waits, and one after it
            answer = service.recommend()
            check_degraded(answer)
            assert "no answer in time" in answer["degraded"][0]
        assert service.send("ann", "f5", "hung").status_code == 200
    finally:
        model.resume()
    service.heals()
    assert service.events("ann").count("f5") == 1


def test_batch_whose_client_left(service: Service, model: ModelServer) -> None:
    """Its other users were answered, for nobody."""
    service.heals()
    before = service.http.get("/v1/recommendations").json()["data"]
    model.hold("labels")
    body = b'{"users": ["ann", "bob", "cat"], "k": 3}'
    head = "POST /v1/recommendations HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\n"
    address = service.http.base_url.host, service.http.base_url.port or 80
    with socket.create_connection(address) as client:
        client.sendall(head.format(*address).encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        model.wait_until_held()
    until(lambda: "whyrec_running 1.0" in service.http.get("/metrics").text, "it does not run")
    model.release()
    until(lambda: "whyrec_running 0.0" in service.http.get("/metrics").text, "it goes on")
    assert service.http.get("/v1/recommendations").json()["data"] == before


def test_store_locked(service: Service) -> None:
    service.heals()
    other = sqlite3.connect(service.data / "whyrec.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        refused = service.send("ann", "f6", "locked")
        assert is_refusal(refused), refused.text
        assert "locked" in refused.json()["detail"]
        answer = service.recommend()  # reading still works
        assert [note.partition(":")[0] for note in answer["degraded"]] == ["trace"]
        assert service.http.get("/readyz").status_code == 200
    finally:
        other.close()
    for _ in range(2):
        assert service.send("ann", "f6", "locked").json()["added"] == 1
    assert service.events("ann").count("f6") == 1
    assert service.recommend()["degraded"] == []


def test_disk_full(service: Service) -> None:
    service.heals()
    kept = 0
    with no_room(service):
        while (answer := service.send("dan", "f7", f"full {kept}")).status_code == 200:
            kept += 1
            assert kept < 1000, "the disk has no end"
        assert is_refusal(answer), answer.text
        assert any(note.startswith("trace: ") for note in service.recommend()["degraded"])
        assert service.events("dan").count("f7") == kept, "what can be read is read"
    for number in range(kept + 1):  # all of them again, also the refused one
        assert service.send("dan", "f7", f"full {number}").json()["added"] == 1
    assert service.events("dan").count("f7") == kept + 1
    service.heals()


def test_sigterm_during_streams(model: ModelServer, tmp_path: Path) -> None:
    """Running streams end complete, new requests are refused, stored events are there."""
    data = tmp_path / "data"
    with running(tmp_path, model.url, data, WHYREC_SERVE_DRAIN_S="300") as service:
        model.hold("text")
        with service.stream("cat") as first, service.stream("bob") as second:
            assert [next(first)[0], next(second)[0]] == ["ranked", "ranked"]
            model.wait_until_held()
            assert service.send("ann", "f1", "before").json()["added"] == 1
            service.process.send_signal(signal.SIGTERM)
            until(lambda: service.http.get("/readyz").status_code == 503, "it does not drain")
            refused = service.http.post("/v1/recommendations", json={"user": "ann"})
            assert is_refusal(refused), refused.text
            assert is_refusal(service.send("ann", "f2", "after"))
            assert service.http.get("/healthz").status_code == 200
            model.release()
            for events in (first, second):
                *_, (last, answer) = events
                assert (last, len(answer["recommendations"])) == ("done", 3)
        assert service.process.wait(DEADLINE_S) == -signal.SIGTERM
    with Store(f"sqlite:///{data / 'whyrec.db'}") as store:
        kept = [event.item_id for event in store.history("films", "ann")]
    assert (kept.count("f1"), kept[-1]) == (1, "f1")


def test_killed_service_has_kept_what_it_acknowledged(model: ModelServer, tmp_path: Path) -> None:
    """Killed without draining: events and answers of keys are there afterwards."""
    data = tmp_path / "data"
    with running(tmp_path, model.url, data) as service:
        keys = [f"key {number}" for number in range(3)]
        assert [service.send("ann", "f1", key).json()["added"] for key in keys] == [1, 1, 1]
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
    with Store(f"sqlite:///{data / 'whyrec.db'}") as store, store.transaction() as connection:
        assert [event.item_id for event in store.history("films", "ann")].count("f1") == len(keys)
        answers = list(connection.scalars(sa.select(IDEMPOTENCY.c.answer)))
    assert [answer["added"] for answer in answers] == [1, 1, 1]
