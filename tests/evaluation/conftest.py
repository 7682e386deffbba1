"""Drawing takes most of the time of a small run: only the tests of the page do it."""

from __future__ import annotations

import pytest

from recsys.evaluation.results import plots


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page without its drawings."""
    for name in ("forest", "recall_curves", "reliability", "catalogue"):
        monkeypatch.setattr(plots, name, lambda result: "")
    monkeypatch.setattr(plots, "segments", lambda result: {})
