"""The pages with the real engine, model and data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from recsys.recommender.recommender import Recommender
from recsys.service.options import ServiceOptions
from tests.pages.conftest import TIMEOUT_MS, Server, Tab


@pytest.fixture
def movies_tab(context: BrowserContext, movies_data: Path) -> Iterator[Tab]:
    """Open a tab of a service with MovieLens-100K, vLLM and the packaged model."""
    with Recommender.load("movies", data_dir=movies_data) as movies:
        server = Server({"movies": movies}, ServiceOptions(warm=False))
        try:
            tab = Tab(context, server.url)
            tab.page.set_default_timeout(TIMEOUT_MS * 5)
            yield tab
            assert tab.errors == []
        finally:
            server.close()


@pytest.mark.engine
def test_the_real_model_recommends_explains_and_shows_its_prompt(movies_tab: Tab) -> None:
    page = movies_tab.open()
    recommend(movies_tab)
    assert page.locator(".card h3").count() == page.locator(".card .reason").count() == 3
    assert page.locator(".card .chip .value").count() > 0
    assert "on vllm" in page.locator(".made").inner_text()
    movies_tab.screenshot("movies")
    prompt = page.locator(".made").get_by_role("link", name="prompt").get_attribute("href")
    title = page.locator("#card-1 h3").inner_text().rsplit(" ", 1)[0]
    page.locator("#card-1").get_by_role("link", name="Why this?").click()
    page.wait_for_selector("#effects-title")
    assert title in page.locator("article h3").first.inner_text()
    assert page.locator("tbody tr").count() > 0
    assert "on vllm" in page.locator(".made").inner_text()
    page = movies_tab.open(prompt or "")
    assert page.locator("#user").input_value() == "196"
    page.get_by_label("ask the model").check()
    page.get_by_role("button", name="Inspect").click()
    page.wait_for_selector("#answer-title")
    assert page.locator("#prompt-text mark").count() > 5
    assert page.locator("tbody tr").count() == 5
    expect(page.locator("#cached")).to_contain_text("computed")
    movies_tab.screenshot("movies-prompt")


def recommend(tab: Tab) -> None:
    """Fill in the form and wait for the answer."""
    page = tab.page
    page.locator("#user").fill("196")
    page.get_by_label("When").fill("Friday 21:00")
    page.get_by_label("Where").fill("Minneapolis, MN")
    page.get_by_text("Filters, style and size").click()
    page.get_by_label("How many").fill("3")
    page.get_by_role("button", name="Recommend").click()
    page.wait_for_selector(".card")  # the ranked list comes before the reasons
    tab.wait_for_answer()
