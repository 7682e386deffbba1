"""A script in a title, name, wish, template, report or model output does not run."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.fakes import ScriptedEngine
from tests.pages.conftest import TIMEOUT_MS, Server, Tab
from tests.pages.sample_data import SCRIPT_TITLE, add_run

expect.set_options(timeout=TIMEOUT_MS)
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif("WHYREC_SCREENSHOTS" in os.environ, reason="screenshots show no hostile films"),
]


def test_the_report_of_a_run_cannot_run_a_script(tab: Tab, runs: Path) -> None:
    add_run(runs)
    page = tab.open("/evaluations/first/report")
    assert "Report" in page.locator("body").inner_text()
    assert page.evaluate("window.hacked") is None
    tab.errors.clear()  # the blocked script is reported: that is the test


@pytest.mark.parametrize(
    "path", ["/?user=ann", "/?user=cat&k=20", "/why?item=x1&liked=f3", "/prompts?user=ann&run=1", "/traces"]
)
def test_a_script_in_a_title_does_not_run(tab: Tab, path: str) -> None:
    tab.open("/?user=cat&k=8")
    tab.wait_for_answer()
    page = tab.open(path)
    if path.startswith("/?"):
        tab.wait_for_answer()
    for chip in page.locator(".chip").all()[:3]:
        chip.hover()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0


def test_a_script_in_a_name_a_wish_or_a_reason_does_not_run(
    tab: Tab, server: Server, scripted: ScriptedEngine
) -> None:
    scripted.write = lambda _text, _schema: '<script>window.hacked = 8</script><b onclick="x">'
    name = "<script>window.hacked=5</script>"
    event = {"user_id": name, "item_id": "x1", "event": "liked"}
    response = tab.page.request.post(f"{server.url}/v1/interactions", data={"events": [event]})
    assert response.ok
    query = urlencode({"user": name, "wish": '"><img src=x onerror="window.hacked=9">'})
    page = tab.open(f"/?{query}")
    tab.wait_for_answer()
    expect(page.locator("#answer-title")).to_contain_text(name)
    for path in (f"/why?item=x2&{query}", f"/prompts?run=1&{query}", "/traces", "/health"):
        page = tab.open(path)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main script, main img, main [onclick], main [onerror]").count() == 0


def test_a_title_with_a_script_is_shown_as_text(tab: Tab) -> None:
    page = tab.open("/why?item=x1&liked=f3")
    expect(page.locator("article h3").first).to_have_text(f"{SCRIPT_TITLE} (2001)")


def test_a_script_in_a_template_does_not_run(tab: Tab) -> None:
    page = tab.open("/prompts?user=ann")
    source = page.get_by_label("Source", exact=True)
    source.fill(source.input_value().replace("Will this", f"{SCRIPT_TITLE} Will this"))
    page.get_by_role("button", name="Compare on ten users").click()
    expect(page.locator("#compared tfoot")).to_be_visible()
    assert (
        f"{SCRIPT_TITLE} Will this" in page.get_by_label("First prompt of the edited template").inner_text()
    )
    expect(page.locator("#compared .added")).to_contain_text(SCRIPT_TITLE)
    assert page.evaluate("window.hacked") is None
