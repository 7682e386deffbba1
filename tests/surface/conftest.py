"""MovieLens-100K imported once into a folder of the test run's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.recommender.recommender import Recommender

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing answers, at once


@pytest.fixture(scope="session")
def movies_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the movies store and index."""
    folder = tmp_path_factory.mktemp("movies-data")
    Recommender.load("movies", data_dir=folder).close()
    return folder


@pytest.fixture
def movies_environment(movies_data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment in which `recsys` uses that folder, for this process and for children."""
    monkeypatch.setenv("WHYREC_DATA_DIR", str(movies_data))
    monkeypatch.setenv("COLUMNS", "120")
    return dict(os.environ)


@pytest.fixture
def no_engine(movies_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine address where nothing listens."""
    monkeypatch.setenv("WHYREC_ENGINE", NOWHERE)
