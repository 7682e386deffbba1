"""A server of several domains: the pages change between them, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from recsys.config import Settings, load_domain
from recsys.recommender.recommender import Recommender
from recsys.service.options import ServiceOptions
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, write_films
from tests.pages.conftest import TIMEOUT_MS, Server, Tab

expect.set_options(timeout=TIMEOUT_MS)
pytestmark = pytest.mark.timeout(600)

NOTICE = "for demonstration, not medical advice"
RENAMED = DOMAIN.replace('"films"', '"plays"').replace('noun = "film"', 'noun = "play"')
PLAYS = f'notice = "{NOTICE}"' + RENAMED.replace("model_weight = 1.0", "")
ITEMS = [(f"p{n}", title, "1600", "Drama", "") for n, title in enumerate(("Hamlet", "Othello", "Macbeth"))]


@pytest.fixture
def tab(
    recommender: Recommender, context: BrowserContext, settings: Settings, runs: Path, tmp_path: Path
) -> Iterator[Tab]:
    """Open a tab at a server of films and plays; it must log no errors."""
    plays = load_domain(write_films(tmp_path / "plays", ITEMS, [("will", "52", "")], [], PLAYS))
    with build_recommender(plays, settings, ScriptedEngine()) as other:
        recommenders = {"films": recommender, "plays": other}
        server = Server(recommenders, ServiceOptions(warm=False, runs=runs))
        opened = Tab(context, server.url)
        yield opened
        server.close()
        assert opened.errors == []


def test_the_switch_leads_to_the_other_domain_and_stays_there(tab: Tab) -> None:
    page = tab.open()
    expect(page.get_by_role("heading", level=1)).to_have_text("Films, with reasons")
    page.get_by_label("Domain").select_option("plays")
    expect(page.get_by_role("heading", level=1)).to_have_text("Plays, with reasons")
    page.locator("#user").fill("will")
    page.get_by_role("button", name="Recommend").click()
    tab.wait_for_answer()
    shown = page.locator(".card h3").all_inner_texts()
    assert {title.split()[0] for title in shown} == {"Hamlet", "Othello", "Macbeth"}
    assert len(shown) == 3
    assert NOTICE in page.locator("#answer").inner_text()
    assert "domain=plays" in page.url


@pytest.mark.parametrize("path", ["/prompts", "/domains", "/traces"])
def test_other_pages_keep_the_domain_that_was_chosen(tab: Tab, path: str) -> None:
    page = tab.open(f"{path}?domain=plays")
    expect(page.get_by_label("Domain")).to_have_value("plays")
    page.get_by_label("Domain").select_option("films")
    page.wait_for_url("**domain=films**")
    expect(page.get_by_label("Domain")).to_have_value("films")
    page.locator("header a.mark").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Films, with reasons")
