"""The service over the small world of films, spoken to as a client would, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions


@pytest.fixture
def serve(recommender: Recommender) -> Iterator[Callable[..., TestClient]]:
    """Clients of the films under other options: `serve(queue=0)`."""
    opened: list[TestClient] = []

    def build(**options: Any) -> TestClient:
        app = create_app({"films": recommender}, ServiceOptions(**options))
        opened.append(
            TestClient(app, "http://localhost", raise_server_exceptions=False, client=("127.0.0.1", 5000))
        )
        return opened[-1].__enter__()

    yield build
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()
