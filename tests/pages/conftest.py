"""A service with a scripted engine, and a headless Chromium."""

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
from tests.pages.sample_data import films

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_MS = 60_000


class BlockedEngine:
    """Blocks an engine's calls whose prompt contains a text, after the first `n_free`."""

    def __init__(self, engine: ScriptedEngine, text: str, n_free: int) -> None:
        self.n_calls = 0  # with the text
        self._text, self._permits = text, threading.Semaphore(n_free)
        self._engine, self._label_logprobs = engine, engine.label_logprobs
        engine.label_logprobs = self._blocking_label_logprobs  # type: ignore[method-assign]

    def _blocking_label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        if prompts and self._text in self._engine.tokenizer.decode(prompts[0]):
            self.n_calls += 1
            assert self._permits.acquire(timeout=TIMEOUT_MS / 1000), "the engine was not released"
        return self._label_logprobs(prompts, label_ids, exact=exact)

    def release(self, n_calls: int = 1000) -> None:
        """Let so many blocked calls go on."""
        self._permits.release(n_calls)


class Server:
    """Uvicorn in a thread, on a free port."""

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

    def wait_for(self, running: int, blocked: BlockedEngine | None = None) -> None:
        """Wait until so many requests run.

        `blocked` is released call by call, so that the server notices which client left.
        """
        for _ in range(TIMEOUT_MS // 50):
            if self.service.limiter.running == running:
                return
            time.sleep(0.05)
            if blocked:
                blocked.release(1)
        raise AssertionError(f"{self.service.limiter.running} requests are running")

    def close(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=20)


@pytest.fixture
def recommender(tmp_path: Path, settings: Settings, scripted: ScriptedEngine) -> Iterator[Recommender]:
    """A recommender for a few films, hostile ones among them."""
    domain = load_domain(write_films(tmp_path / "films", items=films()))
    with build_recommender(domain, settings, scripted) as built:
        yield built


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return the folder of evaluation runs that the service shows."""
    return tmp_path / "runs"


@pytest.fixture
def server(recommender: Recommender, runs: Path) -> Iterator[Server]:
    started = Server({recommender.domain.name: recommender}, ServiceOptions(warm=False, runs=runs))
    yield started
    started.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Open Chromium, installing Debian's if there is none; skip if that fails.

    Its scope is a module: while it is open an event loop runs in this thread, and no second one can.
    """
    completed = subprocess.run(
        [str(ROOT / "scripts" / "browser.sh")], capture_output=True, text=True, check=False
    )
    if completed.returncode:
        pytest.skip(completed.stderr.strip() or "no Chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=completed.stdout.split()[-1],
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=TIMEOUT_MS * 3,
        )
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened.set_default_timeout(TIMEOUT_MS)
    yield opened
    opened.close()


class Tab:
    """A page, with the errors in its console and the addresses that it requested."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.requested: set[str] = set()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requested.add(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def wait_for_answer(self) -> Page:
        """Wait until the streamed answer is complete."""
        self.page.wait_for_selector("#answer:not([aria-busy]) .made a")
        return self.page

    def screenshot(self, name: str) -> None:
        """Take a picture for the docs if WHYREC_SCREENSHOTS is set."""
        if os.environ.get("WHYREC_SCREENSHOTS"):
            folder = ROOT / "docs" / "screenshots"
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png")


@pytest.fixture
def tab(context: BrowserContext, server: Server) -> Iterator[Tab]:
    """Open a tab; fail the test if a page logs errors or requests another host."""
    opened = Tab(context, server.url)
    yield opened
    assert opened.errors == []
    assert {url for url in opened.requested if not url.startswith((server.url, "data:"))} == set()
