"""Long work shows its progress, and ends when the client leaves."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.fakes import ScriptedEngine
from tests.pages.conftest import TIMEOUT_MS, BlockedEngine, Server, Tab

expect.set_options(timeout=TIMEOUT_MS)
pytestmark = pytest.mark.timeout(600)
EDITED = "Would they love"


def begin_comparing(tab: Tab) -> Page:
    page = tab.open("/prompts?user=ann")
    source = page.get_by_label("Source", exact=True)
    source.fill(source.input_value().replace("Will this person enjoy", EDITED))
    page.get_by_role("button", name="Compare on ten users").click()
    return page


def test_a_comparison_grows_and_can_be_stopped(tab: Tab, server: Server, scripted: ScriptedEngine) -> None:
    blocked = BlockedEngine(scripted, EDITED, n_free=4)
    page = begin_comparing(tab)
    rows = page.locator("#compared tbody tr")
    expect(rows.first).to_be_visible()
    expect(page.locator("#compared .diff .added")).to_have_count(1)  # the changed lines are shown at once
    assert page.evaluate("document.getAnimations().length") == 0  # this browser prefers reduced motion
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#compared .note")).to_contain_text("Stopped after")
    expect(page.locator("form[aria-busy]")).to_have_count(0)
    n_rows, n_calls = rows.count(), blocked.n_calls
    assert 0 < n_rows < 6
    server.wait_for(0, blocked)
    assert blocked.n_calls <= n_calls + 2  # the current step was finished, no other begun
    assert rows.count() == n_rows


def test_leaving_the_page_ends_a_comparison(tab: Tab, server: Server, scripted: ScriptedEngine) -> None:
    blocked = BlockedEngine(scripted, EDITED, n_free=2)
    page = begin_comparing(tab)
    expect(page.locator("#compared progress[max='6']")).to_be_visible()
    tab.open("/health")
    n_calls = blocked.n_calls
    server.wait_for(0, blocked)
    assert blocked.n_calls <= n_calls + 2


def test_stopping_prevents_the_reasons(tab: Tab, server: Server, scripted: ScriptedEngine) -> None:
    blocked = BlockedEngine(scripted, "film", n_free=0)
    page = tab.open("/?user=ann")
    expect(page.locator("#answer .waiting")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#answer .note")).to_have_text("Stopped.")
    expect(page.locator("#answer[aria-busy]")).to_have_count(0)
    server.wait_for(0, blocked)
    assert scripted.of_kind("generate") == []


def test_a_waiting_client_is_told_why(tab: Tab, server: Server, scripted: ScriptedEngine) -> None:
    blocked = BlockedEngine(scripted, "film", n_free=0)
    places = server.service.options.concurrency
    tab.open("/health").evaluate(
        "places => { for (let n = 0; n < places; n++) fetch('/recommend/stream?user=ann') }", places
    )
    server.wait_for(places)
    other = Tab(tab.page.context, server.url)
    page = other.open("/?user=bob")
    expect(page.locator("#answer .live span")).to_contain_text("The model is busy")
    blocked.release()
    other.wait_for_answer()
    assert other.errors == []


def test_errors_of_the_connection_are_shown(tab: Tab) -> None:
    page = tab.open()
    answer = page.locator("#answer [role=alert]")
    address = re.compile("/recommend/stream")
    page.route(
        address, lambda route: route.fulfill(content_type="text/event-stream", body="event: state\n\n")
    )
    tab.open("/?user=ann")
    expect(answer).to_contain_text("The connection was lost")
    page.unroute(address)
    problem = {"detail": "the service is busy", "hint": "try again"}
    page.route(
        address,
        lambda route: route.fulfill(status=503, content_type="application/problem+json", json=problem),
    )
    tab.open("/?user=ann")
    expect(answer).to_have_text("the service is busy: try again")
    tab.errors.clear()  # the browser reports the 503


def test_the_back_button_restores_the_answer(tab: Tab) -> None:
    page = tab.open("/?user=ann")
    tab.wait_for_answer()
    page.locator("#user").fill("bob")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#answer-title")).to_contain_text("user bob")
    tab.wait_for_answer()
    page.go_back()
    expect(page.locator("#answer-title")).to_contain_text("user ann")
    tab.wait_for_answer()
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_accessible_name("Colours: light")
