"""Commands that use MovieLens-100K."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEAD_ADDRESS = "http://127.0.0.1:9"  # the discard port, which refuses connections


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
