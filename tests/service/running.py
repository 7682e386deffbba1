"""`recsys serve` and the model server it asks, each a process of its own, for tests that break one of them."""

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
from recsys import engine
from recsys.engine.checkpoints import weights
from recsys.recommender import recommender
from tests.fakes import FakeTokenizer
from tests.retrieval.contract import HashEmbedder
recommender.SentenceEmbedder = lambda name: HashEmbedder()
engine.load_tokenizer = lambda model: FakeTokenizer()  # else a minute goes into importing transformers
weights.prepare_model = lambda *_: "model"
sys.argv = ["recsys", "serve", "--domain", sys.argv[1], "--port", sys.argv[2]]
main()
"""
# Waits that are long for people are short here.
HASTY = """
from recsys.engine import manager
from recsys.data.store import Store
manager.FIRST_PAUSE = manager.LONGEST_PAUSE = 0.2
Store.__init__.__kwdefaults__["busy_timeout"] = 0.5
"""
DEADLINE_S = 500.0  # of whatever is waited for; nothing that works comes near it


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
    """The process that runs `code` to serve the films, once it is ready, and its address."""
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


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for what another process does."""
    ends = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


class ModelServer:
    """A fake vLLM server that can be held, killed and stopped, and started again at the same address."""

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
        until(self._listens, "the model server did not start")

    def hold(self, kind: str) -> None:
        """Answer no more requests of this kind: "labels" or "text"."""
        (self._folder / f"hold-{kind}").touch()

    def release(self) -> None:
        for file in self._folder.iterdir():
            file.unlink()

    def wait_until_held(self) -> None:
        until((self._folder / "held").exists, "nothing was asked")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """It hangs: connections are taken by the kernel, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/models").is_success
        except httpx.TransportError:
            return False


class Service:
    """A running service: how it is asked, and what it answered."""

    def __init__(self, process: subprocess.Popen[str], url: str, data: Path) -> None:
        self.process, self.data = process, data
        self.http = httpx.Client(base_url=url, timeout=DEADLINE_S)

    def recommend(self, user: str = "cat", **body: Any) -> Any:
        done = self.http.post("/v1/recommendations", json={"user": user, "k": 3} | body)
        assert done.status_code == 200, done.text
        return done.json()

    def send(self, user: str, item: str, key: str) -> httpx.Response:
        """One event that happens now."""
        body = {"events": [{"user_id": user, "item_id": item}]}
        return self.http.post("/v1/interactions", json=body, headers={"Idempotency-Key": key})

    def events(self, user: str) -> list[str]:
        """Items of a user's events, in the order of their arrival."""
        done = self.http.get("/v1/interactions", params={"user_id": user, "limit": 500})
        assert done.status_code == 200, done.text
        return [event["item_id"] for event in done.json()["data"]][::-1]

    @contextmanager
    def stream(self, user: str = "cat") -> Iterator[Iterator[tuple[str, Any]]]:
        """(event, data) of a list that is streamed, as they come."""
        body, headers = {"user": user, "k": 3}, {"Accept": "text/event-stream"}
        with self.http.stream("POST", "/v1/recommendations", json=body, headers=headers) as answer:
            assert answer.status_code == 200
            yield _events(answer.iter_lines())

    def heals(self) -> None:
        """Wait until an answer is whole again."""
        until(lambda: not self.recommend()["degraded"], "it does not recover")


@contextmanager
def running(folder: Path, engine: str, data: Path, **options: str) -> Iterator[Service]:
    """The films, served with their data in `data`; `options` are environment variables."""
    own = {"WHYREC_ENGINE": engine, "WHYREC_DATA_DIR": str(data), "WHYREC_CACHE_DIR": str(folder / "cache")}
    with served(HASTY + SERVE, folder, own | options) as (process, url):
        yield Service(process, url, data)


def sources(answer: Any) -> set[str]:
    """Who wrote the reasons."""
    return {line["explanation"]["source"] for line in answer["recommendations"]}


def is_refusal(answer: Any) -> bool:
    """Whether a response is the declared 503: what went wrong, what to do next, and when."""
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
