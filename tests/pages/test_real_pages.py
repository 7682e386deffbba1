"""The pages over the real engine, model and data."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from recsys.recommender.recommender import Recommender
from recsys.service.options import ServiceOptions
from tests.pages.conftest import TIMEOUT_MS, Server, Tab


@pytest.mark.engine
def test_the_real_model_recommends_says_why_and_is_looked_into(
    context: BrowserContext, tmp_path: Path
) -> None:
    """MovieLens-100K, vLLM and the packaged model: one sitting from the form to the tokens of its prompt."""
    with Recommender.load("movies", data_dir=tmp_path / "data") as movies:
        served = Server({"movies": movies}, ServiceOptions(warm=False))
        try:
            tab = Tab(context, served.url)
            tab.page.set_default_timeout(TIMEOUT_MS * 5)
            page = tab.open()
            page.locator("#user").fill("196")
            page.get_by_label("When").fill("Friday 21:00")
            page.get_by_label("Where").fill("Minneapolis, MN")
            page.get_by_text("Filters, style and size").click()
            page.get_by_label("How many").fill("3")
            page.get_by_role("button", name="Recommend").click()
            page.wait_for_selector(".card")  # ranked; the reasons come one by one
            tab.answered()
            assert page.locator(".card h3").count() == page.locator(".card .reason").count() == 3
            assert page.locator(".card .chip .value").count() > 0
            assert "on vllm" in page.locator(".made").inner_text()
            tab.shoot("movies")
            inspect = page.locator(".made").get_by_role("link", name="prompt").get_attribute("href")
            title = page.locator("#card-1 h3").inner_text().rsplit(" ", 1)[0]
            page.locator("#card-1").get_by_role("link", name="Why this?").click()
            page.wait_for_selector("#effects-title")
            assert title in page.locator("article h3").first.inner_text()
            assert page.locator("tbody tr").count() > 0
            assert "on vllm" in page.locator(".made").inner_text()
            page = tab.open(inspect or "")
            assert page.locator("#user").input_value() == "196"
            page.get_by_label("ask the model").check()
            page.get_by_role("button", name="Inspect").click()
            page.wait_for_selector("#answer-title")
            assert page.locator("#prompt-text mark").count() > 5
            assert page.locator("tbody tr").count() == 5
            expect(page.locator("#cached")).to_contain_text("computed")
            tab.shoot("movies-prompt")
            assert tab.errors == []
        finally:
            served.close()
