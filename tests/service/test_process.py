"""`recsys serve` as a process without an engine."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.client import Client
from tests.service.processes import SERVE, free_port, served


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a service whose engine does not exist; return it and its address."""
    environment = {
        "WHYREC_ENGINE": f"http://127.0.0.1:{free_port()}",
        "WHYREC_DATA_DIR": str(tmp_path / "data"),
    }
    with served(SERVE, tmp_path, environment) as process_and_url:
        yield process_and_url


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

        streams: list[Any] = []

        def ask() -> None:
            streams.append([name for name, _ in client.stream("ann", k=3)])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        while not streams:  # some have ended, others are running
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
    assert process.wait(60) == -signal.SIGTERM  # uvicorn raises it again once all requests have ended
    assert all(names[-1] == "done" for names in streams)
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    requests = [line for line in logged if line["message"] == "request"]
    assert all(line["request_id"] and line["route"].startswith("/v1/") for line in requests)
    assert "ann" not in "".join(line["route"] for line in requests)
    assert not [line for line in logged if "traceback" in line]
