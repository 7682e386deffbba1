"""The pages in Chromium: with the mouse, with the keyboard alone, on a phone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from recsys.recommender.recommender import Recommender
from tests.fakes import ScriptedEngine
from tests.pages.conftest import TIMEOUT_MS, Server, Tab
from tests.pages.sample_data import add_adapter, add_run

expect.set_options(timeout=TIMEOUT_MS)
pytestmark = pytest.mark.timeout(600)


def titles(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".card h3").all_inner_texts()]


def serious_violations(page: Page) -> list[str]:
    """List what axe finds of serious and critical impact, and where."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:3]
    ]


def overflow_px(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def test_the_start_page_has_a_form_and_names_model_and_data(tab: Tab) -> None:
    page = tab.open()
    expect(page.get_by_role("heading", level=1)).to_have_text("Films, with reasons")
    footer = page.locator("body > footer").inner_text()
    for word in ("films", "smollm2-135m-instruct", "rank/pointwise v2", "data"):
        assert word in footer
    tab.screenshot("start")


def test_a_known_user_gets_cards_whose_reasons_stream_in(tab: Tab, recommender: Recommender) -> None:
    page = tab.open()
    page.locator("#user").fill("ann")
    page.get_by_label("When").fill("Friday 21:00")
    page.get_by_role("button", name="Recommend").click()
    tab.wait_for_answer()
    answer = recommender.recommend("ann", at="Friday 21:00")
    assert [title.rsplit(" ", 1)[0] for title in titles(page)] != []
    for line in answer:
        card = page.locator(f"#card-{line.rank}")
        assert line.item.title in card.inner_text()
        assert line.explanation is not None
        assert line.explanation.text in card.inner_text()
        assert (card.locator(".template").count() == 1) == (line.explanation.source == "template")
        assert card.locator(".chip").count() == len(line.explanation.evidence) + len(line.explanation.against)
    assert "late evening" in page.locator(".badges").inner_text()
    assert "user=ann" in page.url
    expect(page.locator("#status")).to_have_text("The answer is complete.")
    tab.screenshot("recommend")


def test_each_reason_is_an_event_of_its_own(tab: Tab) -> None:
    page = tab.open()
    kinds = page.evaluate(
        """() => new Promise((resolve) => {
            const seen = [], source = new EventSource("/recommend/stream?user=ann");
            for (const kind of ["ranked", "reason", "done", "failed"])
                source.addEventListener(kind, (event) => {
                    seen.push([kind, event.data.split("\\n")[0]]);
                    if (kind === "done" || kind === "failed") { source.close(); resolve(seen); }
                });
        })"""
    )
    assert [kind for kind, _ in kinds] == ["ranked", *["reason"] * 5, "done"]
    assert sorted(line for kind, line in kinds if kind == "reason") == ["1", "2", "3", "4", "5"]


def test_likes_are_chosen_by_typing(tab: Tab) -> None:
    page = tab.open()
    likes = page.get_by_role("combobox", name="Likes", exact=True)
    likes.press_sequentially("cape")
    options = page.locator("#liked-options [role=option]")
    expect(options).to_have_count(2)
    options.filter(has_text="1991").click()
    expect(page.locator("#chosen-liked")).to_contain_text("Cape Fear (1991)")
    page.get_by_label("Wish").fill("something dark")
    page.get_by_role("button", name="Recommend").click()
    tab.wait_for_answer()
    assert "something dark" in page.locator(".badges").inner_text()
    assert not any("1991" in title for title in titles(page))
    page.reload()
    tab.wait_for_answer()
    expect(page.locator("#chosen-liked")).to_contain_text("Cape Fear (1991)")
    page.get_by_role("button", name="Remove Cape Fear (1991)").click()
    expect(page.locator("#chosen-liked li")).to_have_count(0)


def test_filters_hold(tab: Tab) -> None:
    page = tab.open()
    page.get_by_text("Filters, style and size").click()
    page.get_by_role("group", name="Only this genre").get_by_role(
        "checkbox", name="Crime", exact=True
    ).check()
    page.get_by_role("group", name="Never this genre").get_by_role(
        "checkbox", name="Action", exact=True
    ).check()
    page.locator("#user").fill("ann")
    page.get_by_role("button", name="Recommend").click()
    tab.wait_for_answer()
    for text in page.locator(".card .attributes").all_inner_texts():
        assert "Crime" in text
        assert "Action" not in text


def test_the_number_of_candidates_is_used_and_kept_in_the_link(tab: Tab, scripted: ScriptedEngine) -> None:
    page = tab.open()
    page.get_by_text("Filters, style and size").click()
    page.get_by_label("How many").fill("2")
    page.get_by_label("Candidates").fill("3")
    page.locator("#user").fill("ann")
    page.get_by_role("button", name="Recommend").click()
    tab.wait_for_answer()
    assert "n_candidates=3" in page.url
    assert len(titles(page)) == 2
    assert len({text for call in scripted.of_kind("labels")[:1] for text in call.texts}) <= 3
    page.locator("#card-1").get_by_role("link", name="Why this?").click()
    expect(page.locator("#why-title")).to_contain_text("among 3 candidates")
    assert "n_candidates=3" in page.url


def test_a_template_reason_is_explained_on_focus(tab: Tab, scripted: ScriptedEngine) -> None:
    scripted.write = lambda _text, _schema: "Everybody loves this one."
    page = tab.open("/?user=ann")
    tab.wait_for_answer()
    mark = page.locator("#card-1 .template")
    expect(mark).to_have_text("template")
    mark.focus()
    expect(page.locator("#tip-1-template")).to_be_visible()
    expect(page.locator("#tip-1-template")).to_contain_text("The model’s sentence failed its checks")


def test_feedback_changes_the_next_answer(tab: Tab, recommender: Recommender) -> None:
    page = tab.open("/?user=ann")
    tab.wait_for_answer()
    first = titles(page)[0]
    page.locator("#card-1").get_by_role("button", name=re.compile("^More like")).click()
    noted = page.locator("#card-1 .noted")
    expect(noted).to_contain_text("Saved")
    expect(page.locator("#card-1 [aria-pressed=true]")).to_have_count(1)
    liked = recommender.store.history("films", "ann")[-1]
    assert liked.rating == 4
    noted.get_by_role("button", name="Recommend again").click()
    page.wait_for_function(
        "first => !document.querySelector('#card-1')?.innerText.includes(first)", arg=first
    )
    tab.wait_for_answer()
    assert first not in titles(page)


def test_feedback_without_a_user_joins_the_form(tab: Tab) -> None:
    page = tab.open("/?liked=f3")
    tab.wait_for_answer()
    first = titles(page)[0]
    page.locator("#card-1").get_by_role("button", name=re.compile("^Less like")).click()
    expect(page.locator("#chosen-disliked li")).to_have_count(1)
    page.locator("#card-1 .noted").get_by_role("button").click()
    page.wait_for_url("**disliked=**")
    tab.wait_for_answer()
    assert first not in titles(page)


def test_the_rank_without_evidence_shows_on_hover_and_on_focus(tab: Tab) -> None:
    page = tab.open("/?user=ann&at=Friday+21:00")
    tab.wait_for_answer()
    entry = page.locator(".chips li", has=page.locator(".tip strong")).first
    tip = entry.locator(".tip")
    expect(tip).to_be_hidden()
    entry.locator(".chip").hover()
    expect(tip).to_be_visible()
    expect(tip).to_contain_text(re.compile("Without this it would (still )?rank"))
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    entry.locator(".chip").focus()
    expect(tip).to_be_visible()
    tab.screenshot("evidence")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_the_keyboard_alone_is_enough(tab: Tab) -> None:
    page = tab.open()

    def tab_to(selector: str, most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"no way to {selector}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    tab_to("#liked")
    page.keyboard.type("hea")
    expect(page.locator("#liked-options [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#chosen-liked")).to_contain_text("Heat")
    tab_to("button.main")
    page.keyboard.press("Enter")
    tab.wait_for_answer()
    tab_to("#card-1 .chip")
    expect(page.locator("#card-1 .chips .tip").first).to_be_visible()
    tab_to("[id^=up-]")
    page.keyboard.press("Enter")
    expect(page.locator("#card-1 .noted")).to_contain_text("Saved")
    outline = page.evaluate("getComputedStyle(document.querySelector('#wish')).outlineStyle")
    page.locator("#wish").focus()
    assert page.evaluate("getComputedStyle(document.querySelector('#wish')).outlineStyle") != outline


def test_why_this_and_why_not_that(tab: Tab, recommender: Recommender) -> None:
    page = tab.open("/why?user=ann&item=f7&instead_of=f1&at=Friday+21:00")
    why = recommender.explain("ann", "f7", instead_of="f1", at="Friday 21:00")
    assert why.other is not None
    text = page.locator("main").inner_text()
    assert f"among {why.candidates} candidates" in text
    assert page.locator("tbody tr").count() == len(why.effects)
    for effect in why.effects:
        assert effect.text in text
    tab.screenshot("why")


def test_a_card_leads_to_why_with_the_same_request(tab: Tab) -> None:
    page = tab.open("/?liked=f3&wish=crime")
    tab.wait_for_answer()
    page.locator("#card-1").get_by_role("link", name="Why this?").click()
    expect(page.get_by_role("heading", name="Effect of each part of the request")).to_be_visible()
    assert "wish=crime" in page.url
    assert "liked=f3" in page.url


def test_a_chip_is_removed_and_turned_to_a_must_with_the_mouse(tab: Tab) -> None:
    page = tab.open("/?wish=a+crime+film,+preferably+before+1992&k=8")
    tab.wait_for_answer()
    chips = page.get_by_label("What was asked").locator(".chip")
    expect(chips.locator(".text")).to_have_text(["genre: Crime", "year: before 1992"])
    assert "Cape Fear" in titles(page)[0]
    assert any("Alien" in title or "Metropolis" in title for title in titles(page))  # crime leaves none out
    chips.first.get_by_role("link", name=re.compile("make it a must")).click()
    tab.wait_for_answer()
    expect(page.locator(".note.understood")).to_contain_text("only genre: Crime")
    assert not any("Alien" in title or "Metropolis" in title for title in titles(page))
    chips.first.get_by_role("link", name=re.compile("make it a preference")).click()
    tab.wait_for_answer()
    expect(page.locator(".note.understood")).not_to_contain_text("only genre: Crime")
    chips.last.get_by_role("link", name=re.compile("remove")).click()
    tab.wait_for_answer()
    expect(chips.locator(".text")).to_have_text(["genre: Crime"])
    assert not serious_violations(page)
    tab.screenshot("chips")


def test_traces_adapters_evaluations_and_health(
    tab: Tab, recommender: Recommender, runs: Path, tmp_path: Path
) -> None:
    adapter = add_adapter(recommender.settings, tmp_path / "made")
    add_run(runs)
    tab.open("/?user=ann")
    tab.wait_for_answer()
    page = tab.open("/traces")
    page.locator("tbody a").first.click()
    expect(page.locator(".timeline li").filter(has_text="rank")).to_have_count(1)
    tab.screenshot("trace")
    page = tab.open("/domains")
    page.get_by_role("link", name=adapter.ref).click()
    expect(page.get_by_role("img", name="Loss by step")).to_be_visible()
    tab.screenshot("adapter")
    page.locator("summary", has_text="Promote").click()
    page.get_by_role("button", name="Yes, promote").click()
    expect(page.locator(".titled .tag")).to_have_text("default")
    page.locator("summary", has_text="Roll back").click()
    page.get_by_role("button", name="Yes, roll back").click()
    expect(page.locator("tbody .tag")).to_have_text("not in use")
    page = tab.open("/evaluations")
    page.get_by_role("link", name="first", exact=True).click()
    expect(page.get_by_role("img", name="Predicted probability against observed share")).to_be_visible()
    assert "few" in page.locator("main").inner_text()
    assert "small + films@cafe" in page.locator("main .facts").first.inner_text()
    assert "beefbeefbeef" in page.locator("main .facts").first.inner_text()
    expect(page.get_by_role("heading", name="Segments")).to_be_visible()
    tab.screenshot("evaluation")
    page = tab.open("/health")
    assert "0 of 1 degraded" in page.locator("main").inner_text()


PAGES = [
    "/",
    "/?user=ann&at=Friday+21:00",
    "/why?user=ann&item=f7&instead_of=f1",
    "/prompts?user=ann&run=1",
    "/traces",
    "/domains",
    "/evaluations",
    "/evaluations/first",
    "/health",
    "/docs",
    "/login",
    "/why?item=x3&liked=f3&instead_of=f1",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tab: Tab, runs: Path, scheme: str) -> None:
    add_run(runs)
    tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    violations = {}
    for path in PAGES:
        page = tab.open(path)
        if path.startswith("/?"):
            tab.wait_for_answer()
        violations[path] = serious_violations(page)
    assert {path: found for path, found in violations.items() if found} == {}


def test_a_phone_needs_no_sideways_scrolling(
    tab: Tab, runs: Path, recommender: Recommender, tmp_path: Path
) -> None:
    add_run(runs)
    adapter = add_adapter(recommender.settings, tmp_path / "made")
    tab.page.set_viewport_size({"width": 390, "height": 844})
    overflow = {}
    for path in [*PAGES, f"/adapters/{adapter.ref}"]:
        page = tab.open(path)
        if path.startswith("/?"):
            tab.wait_for_answer()
            tab.screenshot("phone")
            assert page.evaluate("document.querySelector('#answer').getBoundingClientRect().top") < 200
        for tipped in page.locator(".tipped > button").all()[:12]:
            tipped.focus()
            assert overflow_px(page) <= 0
        overflow[path] = overflow_px(page)
    assert {path: pixels for path, pixels in overflow.items() if pixels > 0} == {}


def test_colours_follow_the_button_and_are_remembered(tab: Tab) -> None:
    page = tab.open()
    background = "getComputedStyle(document.body.parentElement).backgroundColor"
    light = page.evaluate(background)
    button = page.locator("#theme")
    button.click()
    assert page.evaluate(background) == light
    button.click()
    dark = page.evaluate(background)
    assert dark != light
    page = tab.open("/health")
    assert page.evaluate(background) == dark
    expect(page.locator("#theme")).to_have_accessible_name("Colours: dark")
    tab.screenshot("dark")


def test_without_a_script_the_whole_answer_comes_at_once(context: BrowserContext, server: Server) -> None:
    assert context.browser is not None
    plain = context.browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(f"{server.url}/")
    page.locator("#user").fill("ann")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator(".card .reason")).to_have_count(5)
    plain.close()


def test_a_printed_page_has_the_answer_and_not_the_form(tab: Tab) -> None:
    page = tab.open("/?user=ann")
    tab.wait_for_answer()
    page.emulate_media(media="print")
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator("#card-1 .reason")).to_be_visible()
    expect(page.locator(".provenance")).to_be_visible()
