"""A model that cannot be asked is a clear refusal at every door; domains share an engine that can."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.config import Domain, Settings, load_domain
from recsys.errors import UnusableModel
from recsys.recommender import recommender as recommender_module
from recsys.recommender.recommender import Recommender
from recsys.recommender.shared_engines import share_engines
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from tests.fakes import ScriptedEngine, build_recommender, write_films
from tests.prompting.test_chat import tokenizer_with

UNUSABLE: dict[str, Callable[[], Any]] = {
    "System role not supported": lambda: ScriptedEngine(
        tokenizer=tokenizer_with("{{ raise_exception('System role not supported') }}")  # for users, too
    ),
    "the text of a turn is missing": lambda: ScriptedEngine(tokenizer=tokenizer_with("hello")),
    "chat template": lambda: ScriptedEngine(tokenizer=tokenizer_with("{{ broken")),
    "a probability of 1e-05": lambda: ScriptedEngine(label_mass=1e-5),
}


@contextmanager
def opened(engine: Callable[[], Any], films: Domain, settings: Settings) -> Iterator[Recommender]:
    """Build a recommender that opens such an engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommender_module, "open_engine", lambda *_, **__: engine())
        with build_recommender(films, settings, None) as recommender:
            yield recommender


@pytest.mark.parametrize("problem", UNUSABLE)
def test_model_that_cannot_be_asked_is_refused_at_every_door(
    problem: str, films: Domain, settings: Settings
) -> None:
    """It used to be a traceback, a 500 and a stream without any event."""
    with opened(UNUSABLE[problem], films, settings) as recommender:
        with pytest.raises(UnusableModel, match=problem):
            recommender.recommend("ann", k=2)
        app = create_app({"films": recommender}, ServiceOptions(warm=False))
        with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
            for _ in range(2):
                answer = client.post("/v1/recommendations", json={"user": "ann", "k": 2})
                assert answer.status_code == 503
                assert problem in answer.json()["detail"]
                assert answer.json()["hint"]
            stream = client.post(
                "/v1/recommendations",
                json={"user": "ann", "k": 2},
                headers={"Accept": "text/event-stream"},
            )
            *_, last = stream.text.strip().split("\n\n")
            name, data = (line.partition(": ")[2] for line in last.splitlines())
            assert name == "error"
            assert problem in json.loads(data)["detail"]
            assert json.loads(data)["status"] == 503


def test_engine_that_cannot_be_used_is_closed(films: Domain, settings: Settings) -> None:
    engine = ScriptedEngine(label_mass=1e-5)
    with opened(lambda: engine, films, settings) as recommender, pytest.raises(UnusableModel):
        recommender.engine()
    assert engine.closed


def test_domains_of_a_service_share_their_engine(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[ScriptedEngine] = []

    def open_engine(*_: Any, **__: Any) -> ScriptedEngine:
        engines.append(ScriptedEngine())
        return engines[-1]

    monkeypatch.setattr(recommender_module, "open_engine", open_engine)
    recommenders = {}
    for name in ("one", "two", "three"):
        folder = write_films(tmp_path / name)
        file = folder / "domain.toml"
        file.write_text(file.read_text("utf-8").replace('name = "films"', f'name = "{name}"'), "utf-8")
        recommenders[name] = build_recommender(load_domain(folder), settings, None)
    share_engines(list(recommenders.values()))
    app = create_app(recommenders, ServiceOptions())
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        for name in recommenders:
            answer = client.post(f"/v1/recommendations?domain={name}", json={"user": "ann", "k": 2})
            assert answer.status_code == 200, answer.text
            assert answer.json()["degraded"] == []
        assert len(engines) == 1
        assert not engines[0].closed
    assert engines[0].closed
