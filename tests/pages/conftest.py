"""A service with scripted answers, and a headless Chromium that looks at it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from recsys.config import Settings, load_domain
from recsys.engine.base import LabelScores, TokenIds
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.state import Service
from tests.fakes import ScriptedEngine, build_recommender, write_films
from tests.pages.world import films

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_MS = 60_000


class Held:
    """An engine that does not answer what has these words, after the first `free` calls, until it is let go.

    `asked` counts the calls that had them.
    """

    def __init__(self, engine: ScriptedEngine, words: str, free: int) -> None:
        self.asked, self._words, self._calls = 0, words, threading.Semaphore(free)
        self._engine, self._real = engine, engine.label_logprobs
        engine.label_logprobs = self._label_logprobs  # type: ignore[method-assign]

    def _label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        if prompts and self._words in self._engine.tokenizer.decode(prompts[0]):
            self.asked += 1
            assert self._calls.acquire(timeout=TIMEOUT_MS / 1000), "nobody let the engine go"
        return self._real(prompts, label_ids, exact=exact)

    def discard(self, calls: int = 1000) -> None:
        self._calls.release(calls)


class Server:
    """Uvicorn in a thread, on a port of its own."""

    def __init__(self, recommenders: dict[str, Recommender], options: ServiceOptions) -> None:
        app = create_app(recommenders, options)
        self.service: Service = app.state.service
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, running: int, held: Held | None = None) -> None:
        """Until so many are worked for; `held` is let go one call at a time, so that the server may notice who left."""
        for _ in range(TIMEOUT_MS // 50):
            if self.service.gate.running == running:
                return
            time.sleep(0.05)
            if held:
                held.discard(1)
        raise AssertionError(f"{self.service.gate.running} places are taken")

    def close(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=20)


@pytest.fixture
def recommender(tmp_path: Path, settings: Settings, scripted: ScriptedEngine) -> Iterator[Recommender]:
    """The small world of films, with hostile ones among them."""
    domain = load_domain(write_films(tmp_path / "films", items=films()))
    with build_recommender(domain, settings, scripted) as made:
        yield made


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of evaluation runs that the service shows."""
    return tmp_path / "runs"


@pytest.fixture
def server(recommender: Recommender, runs: Path) -> Iterator[Server]:
    served = Server({recommender.domain.name: recommender}, ServiceOptions(warm=False, runs=runs))
    yield served
    served.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, installed where it is missing and that is possible; else the tests are skipped.

    No longer than for a module: while it is open an event loop runs in this thread, beside which
    no other can.
    """
    found = subprocess.run(
        [str(ROOT / "scripts" / "browser.sh")], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(found.stderr.strip() or "no Chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=found.stdout.split()[-1],
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=TIMEOUT_MS * 3,
        )
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    made.set_default_timeout(TIMEOUT_MS)
    yield made
    made.close()


class Tab:
    """A page with what its console said, and which hosts it asked."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def answered(self) -> Page:
        """Once a streamed answer is complete."""
        self.page.wait_for_selector("#answer:not([aria-busy]) .made a")
        return self.page

    def shoot(self, name: str) -> None:
        """A picture for the docs, where WHYREC_SCREENSHOTS asks for it."""
        if os.environ.get("WHYREC_SCREENSHOTS"):
            folder = ROOT / "docs" / "screenshots"
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png")


@pytest.fixture
def tab(context: BrowserContext, server: Server) -> Iterator[Tab]:
    """Fails a test whose pages complain in the console or ask another host."""
    opened = Tab(context, server.url)
    yield opened
    assert opened.errors == []
    assert {url for url in opened.asked if not url.startswith((server.url, "data:"))} == set()
