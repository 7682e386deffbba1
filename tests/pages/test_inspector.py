"""The prompt inspector in Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from recsys.recommender.recommender import Recommender
from tests.fakes import ScriptedEngine, reconfigure
from tests.pages.conftest import TIMEOUT_MS, Tab

expect.set_options(timeout=TIMEOUT_MS)
pytestmark = pytest.mark.timeout(600)


def test_the_inspector_shows_what_the_terminal_shows(tab: Tab, recommender: Recommender) -> None:
    page = tab.open("/prompts")
    page.locator("#user").fill("ann")
    page.get_by_label("When").fill("Friday 21:00")
    page.get_by_label("ask the model").check()
    page.get_by_role("button", name="Inspect").click()
    expect(page.get_by_role("heading", name="What the model answered")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export JSON").click()
    exported = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert page.locator("#prompt-text").inner_text() == exported["text"][0]
    items = page.locator("tbody tr th").all_inner_texts()
    assert items == [line["item"] for line in exported["answer"]["scores"]]
    assert exported["answer"]["parse"]["category"] in page.locator("main").inner_text()
    marked = {page.locator("#prompt-text mark").nth(n).get_attribute("data-name") for n in range(8)}
    assert {"plural", "profile", "history"} <= marked
    assert "Alien" in page.locator('#prompt-text mark[data-name="history"]').all_inner_texts()[0]
    prompts = recommender.render(
        "rank/pointwise", recommender.prepare("ann", at="Friday 21:00", n_candidates=5), recommender.engine()
    )
    assert exported["text"] == list(prompts[0].texts)
    usage = exported["answer"]["usage"]
    text = page.locator("#cached").inner_text().replace("\u202f", "")
    cached, sent, computed = map(int, re.findall(r"\d+", text))
    assert sent == usage["prompt_tokens"] == cached + computed
    assert 0 < cached <= usage["cached_tokens"]  # the export ran the prompt again, with more in the cache
    assert sum(int(n) for n in page.locator(".legend strong").all_inner_texts()) == exported["tokens"][0]
    assert page.locator("tbody td.bars .bar").count() == 2 * len(items)  # score and label probability
    expect(page.locator("#dropped")).to_contain_text("nothing")
    assert exported["hash"] == prompts[0].template.hash
    tab.screenshot("inspector")


def test_link_and_prompt_are_copied_and_highlights_hidden(tab: Tab) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tab.open("/prompts?user=ann")
    page.get_by_role("button", name="Copy prompt").click()
    expect(page.locator("#status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#prompt-text").text_content()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copy link")).to_have_attribute("data-done", "copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    history = page.locator('#prompt-text mark[data-name="history"]').first
    expect(history).not_to_have_class(re.compile("off"))
    page.get_by_role("checkbox", name="history").uncheck()
    expect(history).to_have_class(re.compile("off"))


def test_what_the_budget_dropped_is_named(tab: Tab, recommender: Recommender) -> None:
    prepared = recommender.prepare("ann", n_candidates=5)
    whole = recommender.render("rank/pointwise", prepared, recommender.engine())[0]
    ranker = recommender.domain.ranker.model_copy(
        update={"max_prompt_tokens": max(map(len, whole.token_ids)) - 10}
    )
    reconfigure(recommender, ranker=ranker)
    page = tab.open("/prompts?user=ann")
    expect(page.locator("#dropped")).to_contain_text("Alien (1979)")
    assert "Alien" not in page.locator("#prompt-text").inner_text()


def test_model_output_is_shown_raw_with_its_parse(tab: Tab, scripted: ScriptedEngine) -> None:
    scripted.write = lambda _text, _schema: '<img src=x onerror="window.hacked=6"> I cannot say'
    page = tab.open("/prompts?user=ann&name=rank/generated&run=1")
    expect(page.locator(".raw").first).to_contain_text('<img src=x onerror="window.hacked=6">')
    assert page.locator("tbody tr").count() == 5
    assert page.locator("main .tag.warn").count() >= 1
    page = tab.open("/prompts?user=ann&name=explain/reason&run=1")
    expect(page.locator(".raw").first).to_contain_text("onerror")
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("rank/pointwise", ["label probability", "log-odds, nats"]),
        ("rank/listwise", ["label probability", "log-odds, nats"]),
        ("rank/title", ["gain, nats"]),
    ],
)
def test_only_labels_have_label_probabilities(tab: Tab, name: str, heads: list[str]) -> None:
    page = tab.open(f"/prompts?user=ann&name={name}&run=1")
    assert page.locator("thead th").all_inner_texts()[3:] == heads
    assert ("Yes" in page.locator("tbody").inner_text()) == (name == "rank/pointwise")


def test_an_edited_template_is_compared_on_ten_users(tab: Tab) -> None:
    page = tab.open("/prompts?user=ann")
    source = page.get_by_label("Source", exact=True)
    text = source.input_value()
    source.fill(text.replace("Will this person enjoy", "Would they love"))
    page.get_by_role("button", name="Compare on ten users").click()
    table = page.locator("#compared table")
    expect(table.locator("tbody tr")).to_have_count(6)  # all users there are
    expect(page.locator("#compared tfoot")).to_be_visible()
    assert "Would they love" in page.get_by_label("First prompt of the edited template").inner_text()
    assert page.locator("#compared .added").count() == 1
    expect(table.locator("tfoot")).to_contain_text("100 % → 100 %")
    table.scroll_into_view_if_needed()
    page.set_viewport_size({"width": 1280, "height": 720})  # keeps the picture below 150 KB
    page.locator("#compared .diff").scroll_into_view_if_needed()
    tab.screenshot("compare")


def test_an_error_in_an_edited_template_is_located(tab: Tab) -> None:
    page = tab.open("/prompts?user=ann")
    source = page.get_by_label("Source", exact=True)
    source.fill(source.input_value().replace("{% endblock %}", "", 1))
    page.get_by_role("button", name="Compare on ten users").click()
    expect(page.locator("#compared [role=alert]")).to_contain_text("endblock")
    tab.errors.clear()  # the browser reports the 422
