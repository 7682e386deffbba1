"""`recsys serve` and its model server as processes that tests can break."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import write_films

SERVE = """
import sys
from recsys.cli import main
from recsys.engine import loading
from recsys.engine.checkpoints import weights
from recsys.recommender import recommender
from tests.fakes import FakeTokenizer
from tests.retrieval.contract import HashEmbedder
recommender.SentenceEmbedder = lambda name: HashEmbedder()
loading.load_tokenizer = lambda model: FakeTokenizer()  # else importing transformers takes a minute
weights.prepare_model = lambda *_: "model"
sys.argv = ["recsys", "serve", "--domain", sys.argv[1], "--port", sys.argv[2]]
main()
"""
# Shortens waits.
SHORT_WAITS = """
from recsys.engine import manager
from recsys.data.store import Store
manager.FIRST_PAUSE = manager.LONGEST_PAUSE = 0.2
Store.__init__.__kwdefaults__["busy_timeout"] = 0.5
"""
DEADLINE_S = 500.0  # for any wait; far more than anything that works takes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[str], log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text("utf-8")
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(log.read_text("utf-8"))


@contextmanager
def served(
    code: str, folder: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `code` in a process that serves the films; yield it and its address."""
    port, log = free_port(), folder / "log"
    films = write_films(folder / "films")
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(films), str(port)],
            env=os.environ | environment,
            stderr=out,
            text=True,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", process, log)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def until(condition: Callable[[], object], failure: str) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.02)


class ModelServer:
    """A fake vLLM server that can be held, stopped, killed and restarted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        for file in self._folder.iterdir():
            file.unlink()
        script = str(Path(__file__).with_name("fake_vllm.py"))
        self._process = subprocess.Popen([sys.executable, script, str(self._port), str(self._folder)])
        until(self._is_listening, "the model server did not start")

    def hold(self, kind: str) -> None:
        """Keep requests of a kind, "labels" or "text", without an answer."""
        (self._folder / f"hold-{kind}").touch()

    def release(self) -> None:
        for file in self._folder.iterdir():
            file.unlink()

    def wait_until_held(self) -> None:
        until((self._folder / "held").exists, "no request came")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Suspend the process: the kernel accepts connections, nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _is_listening(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/models").is_success
        except httpx.TransportError:
            return False


class Service:
    """A running service and its client."""

    def __init__(self, process: subprocess.Popen[str], url: str, data: Path) -> None:
        self.process, self.data = process, data
        self.http = httpx.Client(base_url=url, timeout=DEADLINE_S)

    def recommend(self, user: str = "cat", **body: Any) -> Any:
        response = self.http.post("/v1/recommendations", json={"user": user, "k": 3} | body)
        assert response.status_code == 200, response.text
        return response.json()

    def send(self, user: str, item: str, key: str) -> httpx.Response:
        """Send an event that happens now."""
        body = {"events": [{"user_id": user, "item_id": item}]}
        return self.http.post("/v1/interactions", json=body, headers={"Idempotency-Key": key})

    def events(self, user: str) -> list[str]:
        """Return the items of a user's events in order of arrival."""
        response = self.http.get("/v1/interactions", params={"user_id": user, "limit": 500})
        assert response.status_code == 200, response.text
        return [event["item_id"] for event in response.json()["data"]][::-1]

    @contextmanager
    def stream(self, user: str = "cat") -> Iterator[Iterator[tuple[str, Any]]]:
        """Stream a list as (event, data) pairs."""
        body, headers = {"user": user, "k": 3}, {"Accept": "text/event-stream"}
        with self.http.stream("POST", "/v1/recommendations", json=body, headers=headers) as answer:
            assert answer.status_code == 200
            yield _events(answer.iter_lines())

    def heals(self) -> None:
        """Wait until an answer is not degraded."""
        until(lambda: not self.recommend()["degraded"], "it does not recover")


@contextmanager
def running(folder: Path, engine: str, data: Path, **options: str) -> Iterator[Service]:
    """Serve the films with their data in `data`; `options` are environment variables."""
    environment = {
        "WHYREC_ENGINE": engine,
        "WHYREC_DATA_DIR": str(data),
        "WHYREC_CACHE_DIR": str(folder / "cache"),
    }
    with served(SHORT_WAITS + SERVE, folder, environment | options) as (process, url):
        yield Service(process, url, data)


def sources(answer: Any) -> set[str]:
    """Return what wrote the reasons."""
    return {line["explanation"]["source"] for line in answer["recommendations"]}


def is_refusal(answer: Any) -> bool:
    """Return whether a response is a 503 as documented."""
    problem = answer.json()
    return bool(
        answer.status_code == 503
        and answer.headers["content-type"] == "application/problem+json"
        and int(answer.headers["Retry-After"]) > 0
        and problem["retryable"] is True
        and problem["detail"]
        and problem["hint"]
    )


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
