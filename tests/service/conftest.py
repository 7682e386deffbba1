"""Clients of a service for the films, without a network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.security.log_redaction import Redactor


@pytest.fixture
def serve(recommender: Recommender) -> Iterator[Callable[..., TestClient]]:
    """Return a function that creates a client by options: `serve(queue=0)`."""
    clients: list[TestClient] = []

    def build(**options: Any) -> TestClient:
        app = create_app({"films": recommender}, ServiceOptions(**options))
        clients.append(
            TestClient(app, "http://localhost", raise_server_exceptions=False, client=("127.0.0.1", 5000))
        )
        return clients[-1].__enter__()

    yield build
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Everything that the service logs, as `recsys serve` redacts it."""
    handler = logging.FileHandler(tmp_path / "run.log")
    handler.addFilter(Redactor())
    logger = logging.getLogger("recsys")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield tmp_path / "run.log"
    logger.setLevel(before)
    logger.removeHandler(handler)
    handler.close()
