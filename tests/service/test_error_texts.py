"""Texts that a client gets name no folder of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from mcp import Client

from recsys.errors import ModelError, RecsysError, StoreError
from recsys.recommender.recommender import Recommender
from recsys.service.api.mcp import build_server
from recsys.service.transport.problems import without_paths
from tests.service.api_calls import recommend


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/tmp/a/model holds no tokenizer", "model holds no tokenizer"),
        ("cannot open sqlite:////tmp/a/whyrec.db: no room", "cannot open sqlite:whyrec.db: no room"),
        ("'/usr/lib/a b' is odd", "'a b' is odd"),
        (f"{Path.home()}/my films/x.toml: wrong", "my films/x.toml: wrong"),
        ("restore '/etc/x/rank/pointwise.j2', then /tmp/b/c.", "restore 'pointwise.j2', then c."),
        ("see /docs and GET /v1/users/tmp/x", "see /docs and GET /v1/users/tmp/x"),
        (
            "https://models.example/tmp/x and rank/pointwise",
            "https://models.example/tmp/x and rank/pointwise",
        ),
    ],
)
def test_a_path_is_cut_to_its_last_name(text: str, shown: str) -> None:
    assert without_paths(text) == shown


class TestDoors:
    """An error that names a folder is met at every door."""

    folder = "/tmp/secret-folder/deeper"

    @pytest.fixture
    def client(
        self, client: TestClient, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
    ) -> TestClient:
        def no_engine() -> Any:
            raise ModelError(
                f"{self.folder}/model holds no tokenizer", hint=f"copy it to {self.folder}/model"
            )

        monkeypatch.setattr(recommender, "engine", no_engine)
        monkeypatch.setattr(recommender, "load_notes", (f"{self.folder}/index was built again",))
        return client

    def test_answers_that_are_degraded(self, client: TestClient) -> None:
        answer = recommend(client, user="ann", k=1)
        assert "model holds no tokenizer" in answer["degraded"][0]
        texts = [
            str(answer),
            str(recommend(client, users=["ann"], k=1)),
            client.get(f"/v1/recommendations/{answer['recommendation_id']}").text,
            client.post("/v1/explanations", json={"user": "ann", "item": "Fargo"}).text,
            client.post(
                "/v1/recommendations", json={"user": "ann"}, headers={"Accept": "text/event-stream"}
            ).text,
            client.get("/?user=ann&whole=1").text,
            client.get("/recommend/stream?user=ann").text,
            client.get("/health").text,
            client.get("/domains").text,
        ]
        assert [text for text in texts if "secret-folder" in text] == []
        assert sum("tokenizer" in text for text in texts) >= 7

    @pytest.mark.parametrize("kind", [ModelError, StoreError, RecsysError])
    def test_problems(
        self, client: TestClient, recommender: Recommender, monkeypatch: pytest.MonkeyPatch, kind: Any
    ) -> None:
        def fails(*_: Any, **__: Any) -> Any:
            raise kind(f"{self.folder}/data is damaged", hint=f"delete {self.folder}/data")

        monkeypatch.setattr(recommender, "prepare", fails)
        monkeypatch.setattr(Recommender, "pinned", lambda self: self)
        for address, body in {
            "/v1/recommendations": {"user": "ann"},
            "/v1/explanations": {"item": "Fargo"},
            "/v1/prompts/render": {"user": "ann"},
        }.items():
            problem = client.post(address, json=body).json()
            assert (problem["detail"], problem["hint"]) == ("data is damaged", "delete data"), address
        page = client.get("/?user=ann&whole=1").text
        assert "data is damaged" in page
        assert "secret-folder" not in page

        async def call() -> Any:
            async with Client(build_server(client.app.state.service)) as tools:  # type: ignore[attr-defined]
                return await tools.call_tool("recommend", {"request": {"user": "ann"}})

        assert anyio.run(call).content[0].text.endswith("data is damaged\n  -> delete data")
