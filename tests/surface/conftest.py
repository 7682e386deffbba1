"""MovieLens-100K, imported once into a temporary folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.recommender.recommender import Recommender

DEAD_ADDRESS = "http://127.0.0.1:9"  # the discard port, which refuses connections


@pytest.fixture(scope="session")
def movies_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with the store and index of the movies."""
    folder = tmp_path_factory.mktemp("movies-data")
    Recommender.load("movies", data_dir=folder).close()
    return folder


@pytest.fixture
def movies_environment(movies_data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make `recsys` use that folder, in this process and in children."""
    monkeypatch.setenv("WHYREC_DATA_DIR", str(movies_data))
    monkeypatch.setenv("COLUMNS", "120")
    return dict(os.environ)


@pytest.fixture
def no_engine(movies_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an engine address where nothing listens."""
    monkeypatch.setenv("WHYREC_ENGINE", DEAD_ADDRESS)
