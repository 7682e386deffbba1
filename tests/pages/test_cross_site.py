"""A page of another origin in Chromium, which tries to use the service of the same machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from recsys.data import traces
from recsys.engine.adapters import default_adapter, promote
from recsys.recommender.recommender import Recommender
from tests.fakes import ScriptedEngine
from tests.pages.conftest import TIMEOUT_MS, Server
from tests.pages.sample_data import add_adapter

pytestmark = pytest.mark.timeout(600)
EVENT = '{"events": [{"user_id": "ann", "item_id": "f9", "timestamp": 7}]}'
LINES = (
    '{"item": {"id": "f77", "title": "Foreign"}}\n'
    '{"interaction": {"user_id": "ann", "item_id": "f77", "timestamp": 8}}\n'
)
TOOL = (
    '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add_events", "arguments": '
    f'{{"events": {EVENT}}}}}}}'
)
ATTACK = """async ([base, event, lines, tool]) => {
    const send = (path, options) => fetch(base + path, {mode: "no-cors", credentials: "include", ...options});
    const sent = [
        send("/v1/interactions", {method: "POST", body: event}),
        send("/v1/import", {method: "POST", body: lines}),
        send("/mcp/", {method: "POST", body: tool}),
        send("/v1/recommendations", {method: "POST", body: '{"user": "ann"}'}),
        send("/v1/adapters/rollback", {method: "POST"}),
        send("/domains/rollback", {method: "POST"}),
        send("/feedback", {method: "POST", body: new URLSearchParams({
            item: "f8", verdict: "liked", recommendation: "r", user: "ann"})}),
        send("/recommend/stream?user=ann"),
        fetch(base + "/v1/users/ann", {method: "PUT", body: '{"id": "ann", "profile": {"age": "99"}}',
            headers: {"Content-Type": "application/json"}}),
        fetch(base + "/v1/items/f1", {method: "DELETE"}),
    ];
    for (const path of ["/?user=ann&whole=1", "/why?user=ann&item=f1", "/prompts?user=ann&run=1"])
        sent.push(new Promise((done) => {
            const image = new Image();
            image.onload = image.onerror = done;
            image.src = base + path;
        }));
    for (const type of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
        sent.push(new Promise((done) => {
            const frame = Object.assign(document.createElement("iframe"), {name: type});
            const form = Object.assign(document.createElement("form"),
                {method: "post", action: base + "/v1/interactions", enctype: type, target: type});
            form.append(Object.assign(document.createElement("input"), {
                name: event.slice(0, -1) + ', "x": "', value: '"}'}));
            document.body.append(frame, form);
            frame.onload = done;
            form.submit();
        }));
    sent.push(new Promise((done) => {
        const frame = document.createElement("iframe");
        frame.src = base + "/?user=ann";
        frame.onload = done;
        document.body.append(frame);
    }));
    return (await Promise.allSettled(sent)).length;
}"""


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>Elsewhere</title><body></body>")

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """Serve an empty page at another port; return the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield other.server_address[1]
        other.shutdown()


def state(recommender: Recommender, scripted: ScriptedEngine) -> tuple[Any, ...]:
    """Return what the attack would change, and how often the engine was asked."""
    store, domain = recommender.store, recommender.domain
    default = default_adapter(domain.name, recommender.settings, domain.folder)
    return (
        store.data_hash(domain.name),
        store.counts(domain.name),
        store.user(domain.name, "ann"),
        [trace.id for trace in traces.traces_before(store, domain.name, None, 100)],
        default.ref if default else None,
        len(scripted.calls),
    )


def attack(page: Page, base: str) -> None:
    """Let the page send everything that it can, and wait for the answers."""
    page.set_default_timeout(TIMEOUT_MS)
    assert page.evaluate(ATTACK, [base, EVENT, LINES, TOOL]) == 17


@pytest.fixture
def _promoted(recommender: Recommender, tmp_path: Path) -> None:
    """An adapter that could be rolled back."""
    adapter = add_adapter(recommender.settings, tmp_path)
    promote(adapter.ref, recommender.settings, recommender.domain.folder, force=True)


@pytest.mark.usefixtures("_promoted")
@pytest.mark.parametrize("page_host", ["localhost", "127.0.0.1"])
def test_a_page_of_another_origin_changes_nothing_and_runs_nothing(
    context: BrowserContext,
    server: Server,
    recommender: Recommender,
    scripted: ScriptedEngine,
    elsewhere: int,
    page_host: str,
) -> None:
    """The same host with another port is another origin of the same site."""
    before = state(recommender, scripted)
    page = context.new_page()
    page.goto(f"http://{page_host}:{elsewhere}/")
    attack(page, server.url)
    with page.expect_popup() as opened:
        page.evaluate("(address) => { window.open(address) }", f"{server.url}/?user=ann")
    opened.value.wait_for_load_state()
    assert state(recommender, scripted) == before
    assert "another site" in opened.value.inner_text("main")


@pytest.mark.usefixtures("_promoted")
def test_the_same_page_at_the_service_s_own_origin_would(
    context: BrowserContext,
    server: Server,
    recommender: Recommender,
    scripted: ScriptedEngine,
) -> None:
    """What the test above sends does something: it is refused for its origin alone."""
    before = state(recommender, scripted)
    page = context.new_page()
    page.goto(f"{server.url}/domains")
    attack(page, server.url)
    after = state(recommender, scripted)
    assert [ours != theirs for ours, theirs in zip(after, before, strict=True)] == [True] * 6
