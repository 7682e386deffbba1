"""The pages over the real engine, model and data."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from recsys.pipeline import Recommender
from recsys.service.options import ServiceOptions
from tests.pages.conftest import TIMEOUT_MS, Server, Tab


@pytest.mark.engine
def test_the_real_model_is_looked_into(context: BrowserContext, tmp_path: Path) -> None:
    """MovieLens-100K, vLLM and the packaged model behind the same pages."""
    with Recommender.load("movies", data_dir=tmp_path / "data") as movies:
        served = Server({"movies": movies}, ServiceOptions(warm=False))
        try:
            tab = Tab(context, served.url)
            tab.page.set_default_timeout(TIMEOUT_MS * 5)
            page = tab.open("/?user=196&at=Friday+21:00&place=Minneapolis,+MN&k=3")
            tab.answered()
            assert page.locator(".card h3").count() == 3
            assert "on vllm" in page.locator(".made").inner_text()
            tab.shoot("movies")
            page = tab.open("/prompts?user=196&run=1")
            assert page.locator("#prompt-text mark").count() > 5
            assert page.locator("tbody tr").count() == 5
            assert tab.errors == []
        finally:
            served.close()
