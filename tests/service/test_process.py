"""`recsys serve` as a process of its own, whose engine is nowhere: it degrades, takes events, and drains at SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys.client import Client
from tests.fakes import write_films

SERVE = """
import sys
from recsys.cli import main
from recsys import engine, pipeline
from recsys.engine import weights
from tests.fakes import FakeTokenizer
from tests.retrieval.contract import HashEmbedder
pipeline.SentenceEmbedder = lambda name: HashEmbedder()
engine.load_tokenizer = lambda model: FakeTokenizer()  # else a minute goes into importing transformers
weights.prepare_model = lambda *_: "model"
sys.argv = ["recsys", "serve", "--domain", sys.argv[1], "--port", sys.argv[2]]
main()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running service and its address; the engine is a server that nobody runs."""
    port = free_port()
    own = {
        "WHYREC_ENGINE": f"http://127.0.0.1:{free_port()}",
        "WHYREC_DATA_DIR": str(tmp_path / "data"),
    }
    films = write_films(tmp_path / "films")
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(films), str(port)], env=os.environ | own, stderr=log, text=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", process, tmp_path / "log")
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


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


def test_without_an_engine_it_degrades_and_what_it_took_is_there_after_sigterm(
    server: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, url = server
    with Client(url) as client:
        answer, given = client.recommend("ann", k=3)
        assert answer.strategy == "retriever"
        assert any(note.startswith("engine: ") for note in answer.degraded)
        assert {line.explanation.source for line in answer if line.explanation} == {"template"}
        best = answer[0].item.id
        event = {"user_id": "ann", "item_id": best, "event": "liked", "recommendation_id": given}
        assert client.send(event)["feedback"] == 1
        assert best not in {line.item.id for line in client.recommend("ann", k=9)[0]}

        taken: list[Any] = []

        def ask() -> None:
            taken.append([name for name, _ in client.stream("ann", k=3)])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        while not taken:  # some are done, others are under way
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
    assert process.wait(60) == -signal.SIGTERM  # uvicorn ends itself by it once all is done
    assert all(names[-1] == "done" for names in taken)
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    requests = [line for line in logged if line["message"] == "request"]
    assert all(line["request_id"] and line["route"].startswith("/v1/") for line in requests)
    assert "ann" not in "".join(line["route"] for line in requests)
    assert not [line for line in logged if "traceback" in line]
