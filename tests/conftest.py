"""What every test may use. No test touches the data folder of the person who runs it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from recsys.config import Domain, Settings, load_domain
from recsys.engine.adapters import registry
from recsys.recommender.recommender import Recommender
from tests.fakes import FakeTokenizer, ScriptedEngine, build_recommender, write_films
from tests.postgres.server import PostgresServer

pytest.register_assert_rewrite("tests.contracts")

# rich keeps the first width that it sees: not that of pytest-xdist's processes, nor of a test.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)
importlib.import_module("recsys.cli.output")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes cores of its own.

    Two engines on the same cores wait for each other's threads at every layer: the suite then
    takes several times as long.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or not hasattr(os, "sched_setaffinity"):
        return
    cores, count = sorted(os.sched_getaffinity(0)), worker["workercount"]
    own = cores[int(worker["workerid"].removeprefix("gw")) % count :: count]
    if own:
        os.sched_setaffinity(0, own)


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Default settings point to an empty folder; the cache of converted weights stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHYREC_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.delenv("WHYREC_STORE_URL", raising=False)
        yield


@pytest.fixture(scope="session")
def movies_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with the store and index of the movies, made once for all processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, finished = shared / "movies-data", shared / "movies-data.finished"
    with FileLock(shared / "movies-data.lock"):
        if not finished.exists():
            Recommender.load("movies", data_dir=folder).close()
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started by the first test that asks for it."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind; a test that asks for it runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def tokenizer() -> FakeTokenizer:
    return FakeTokenizer()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")


@pytest.fixture
def films(tmp_path: Path) -> Domain:
    return load_domain(write_films(tmp_path / "films"))


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def recommender(films: Domain, settings: Settings, scripted: ScriptedEngine) -> Iterator[Recommender]:
    with build_recommender(films, settings, scripted) as recommender:
        yield recommender


@pytest.fixture
def nothing_shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no domain came with an adapter."""
    empty = tmp_path_factory.mktemp("domains")
    monkeypatch.setattr(registry, "shipped_domains", lambda: empty)
