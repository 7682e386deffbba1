"""Work that takes long shows how far it is, and ends when nobody wants it any more."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.fakes import ScriptedEngine
from tests.pages.conftest import TIMEOUT_MS, Held, Server, Tab

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
    held = Held(scripted, EDITED, free=4)
    page = begin_comparing(tab)
    rows = page.locator("#compared tbody tr")
    expect(rows.first).to_be_visible()
    expect(page.locator("#compared .diff .added")).to_have_count(1)  # what was changed is there at once
    assert page.evaluate("document.getAnimations().length") == 0  # this browser asks for less motion
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#compared .note")).to_contain_text("Stopped after")
    expect(page.locator("form[aria-busy]")).to_have_count(0)
    seen, asked = rows.count(), held.asked
    assert 0 < seen < 6
    server.wait_for(0, held)
    assert held.asked <= asked + 2  # what ran was finished, nothing else begun
    assert rows.count() == seen


def test_who_leaves_a_comparison_ends_it(tab: Tab, server: Server, scripted: ScriptedEngine) -> None:
    held = Held(scripted, EDITED, free=2)
    page = begin_comparing(tab)
    expect(page.locator("#compared progress[max='6']")).to_be_visible()
    tab.open("/health")
    asked = held.asked
    server.wait_for(0, held)
    assert held.asked <= asked + 2


def test_reasons_that_nobody_waits_for_are_not_written(
    tab: Tab, server: Server, scripted: ScriptedEngine
) -> None:
    held = Held(scripted, "film", free=0)
    page = tab.open("/?user=ann")
    expect(page.locator("#answer .waiting")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#answer .note")).to_have_text("Stopped.")
    expect(page.locator("#answer[aria-busy]")).to_have_count(0)
    server.wait_for(0, held)
    assert scripted.of_kind("generate") == []


def test_who_waits_is_told_for_what(tab: Tab, server: Server, scripted: ScriptedEngine) -> None:
    held = Held(scripted, "film", free=0)
    places = server.service.options.concurrency
    tab.open("/health").evaluate(
        "places => { for (let n = 0; n < places; n++) fetch('/recommend/stream?user=ann') }", places
    )
    server.wait_for(places)
    other = Tab(tab.page.context, server.url)
    page = other.open("/?user=bob")
    expect(page.locator("#answer .live span")).to_contain_text("The model is busy")
    held.discard()
    other.answered()
    assert other.errors == []


def test_what_goes_wrong_on_the_way_is_said(tab: Tab) -> None:
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


def test_one_may_go_back(tab: Tab) -> None:
    page = tab.open("/?user=ann")
    tab.answered()
    page.locator("#user").fill("bob")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#answer-title")).to_contain_text("user bob")
    tab.answered()
    page.go_back()
    expect(page.locator("#answer-title")).to_contain_text("user ann")
    tab.answered()
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_accessible_name("Colours: light")
