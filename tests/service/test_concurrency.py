"""Slots and queue: requests run, wait or are refused, and no slot is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import Message

from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.transport.concurrency import ConcurrencyLimiter
from recsys.service.transport.problems import ClientGone, Overloaded
from tests.fakes import ScriptedEngine


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)


def test_beyond_slots_and_queue_it_refuses_and_counts() -> None:
    refused: list[int] = []
    release = threading.Event()

    async def main() -> list[str]:
        limiter = ConcurrencyLimiter(1, 1, lambda: refused.append(1))
        done: list[str] = []

        async def work(name: str) -> None:
            await limiter.run(release.wait)
            done.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(work, "runs")
            await until(lambda: limiter.running == 1)
            group.start_soon(work, "waits")
            await until(lambda: limiter.waiting == 1)
            with pytest.raises(Overloaded):
                await limiter.run(lambda: None)
            release.set()
        assert (limiter.running, limiter.waiting) == (0, 0)
        return done

    assert anyio.run(main) == ["runs", "waits"]
    assert refused == [1]


def test_without_a_queue_a_request_runs_if_a_slot_is_free() -> None:
    async def main() -> int:
        return await ConcurrencyLimiter(1, 0).run(lambda: 7)

    assert anyio.run(main) == 7


def test_client_that_disconnects_leaves_the_queue() -> None:
    async def main() -> None:
        limiter, leave, release = ConcurrencyLimiter(1, 1), anyio.Event(), threading.Event()

        async def receive() -> Message:
            await leave.wait()
            return {"type": "http.disconnect"}

        async def leaves() -> None:
            with pytest.raises(ClientGone):
                await limiter.run(lambda: pytest.fail("it ran for nobody"), receive)

        async with anyio.create_task_group() as group:
            group.start_soon(limiter.run, release.wait)
            await until(lambda: limiter.running == 1)
            group.start_soon(leaves)
            await until(lambda: limiter.waiting == 1)
            leave.set()
            await until(lambda: limiter.waiting == 0)
            release.set()
        assert await limiter.run(lambda: "free again") == "free again"

    anyio.run(main)


def test_work_that_fails_frees_its_slot() -> None:
    async def main() -> str:
        limiter = ConcurrencyLimiter(1, 0)
        with pytest.raises(ZeroDivisionError):
            await limiter.run(lambda: 1 // 0)
        return await limiter.run(lambda: "free")

    assert anyio.run(main) == "free"


@contextmanager
def held(scripted: ScriptedEngine) -> Iterator[threading.Event]:
    """Let the engine answer only once the event is set."""
    release, score = threading.Event(), scripted.score

    def slow(text: str, label: str) -> float:
        assert release.wait(60)
        return score(text, label)

    scripted.score = slow
    try:
        yield release
    finally:
        release.set()


def test_full_service_answers_503_with_retry_after_and_loses_nothing(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    app = create_app({"films": recommender}, ServiceOptions(concurrency=1, queue=1, warm=False))
    limiter = app.state.service.limiter
    body = {"user": "ann", "k": 1, "reasons": False}

    async def main() -> tuple[list[Any], Any, Any]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await client.post("/v1/recommendations", json=body))

            with held(scripted) as release:
                async with anyio.create_task_group() as group:
                    group.start_soon(ask)
                    await until(lambda: limiter.running == 1)
                    group.start_soon(ask)
                    await until(lambda: limiter.waiting == 1)
                    refused = await client.post("/v1/recommendations", json=body)
                    alive = await client.get("/healthz")
                    metrics = (await client.get("/metrics")).text
                    release.set()
            assert "whyrec_queue_length 1.0" in metrics
            assert "whyrec_shed_total 1.0" in metrics
            return answers, refused, alive

    answers, refused, alive = anyio.run(main)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert refused.json()["retryable"]
    assert alive.status_code == 200


class Connection:
    """A request for recommendations, straight to the app, whose client can leave."""

    def __init__(self, body: bytes, accept: bytes = b"application/json") -> None:
        self.gone = anyio.Event()
        self.sent: list[Message] = []
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/recommendations",
            "raw_path": b"",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"accept", accept), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }
        self._pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> Message:
        if self._pending:
            return self._pending.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def test_stream_whose_client_disconnects_frees_its_slot(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    app = create_app({"films": recommender}, ServiceOptions(concurrency=1, queue=0, warm=False))
    limiter = app.state.service.limiter

    async def main() -> list[Message]:
        connection = Connection(b'{"user": "ann", "k": 3}', b"text/event-stream")

        async def send(message: Message) -> None:
            await connection.send(message)
            if message["type"] == "http.response.body":
                connection.gone.set()
                await anyio.sleep(0.05)

        await app(connection.scope, connection.receive, send)
        assert (limiter.running, limiter.waiting) == (0, 0)
        return connection.sent

    text = b"".join(message.get("body", b"") for message in anyio.run(main)).decode()
    assert "event: ranked" in text
    assert "event: done" not in text


@pytest.mark.parametrize("body", [b'{"users": ["ann", "bob", "cat"]}', b'{"user": "ann"}'])
def test_work_whose_client_has_left_stops(
    recommender: Recommender, scripted: ScriptedEngine, body: bytes
) -> None:
    """A batch went on for all its users; a list went on to its last reason."""
    recommender.recommend("ann", reasons=False)
    ranking = [call.kind for call in scripted.calls]
    scripted.calls.clear()
    app = create_app({"films": recommender}, ServiceOptions(concurrency=1, warm=False))
    limiter = app.state.service.limiter

    async def main() -> None:
        connection = Connection(body)
        with held(scripted) as release:
            async with anyio.create_task_group() as group:
                group.start_soon(app, connection.scope, connection.receive, connection.send)
                await until(lambda: limiter.running == 1 and scripted.calls != [])
                connection.gone.set()
                await anyio.sleep(0.05)
                release.set()
        assert (limiter.running, limiter.waiting) == (0, 0)

    anyio.run(main)
    assert [call.kind for call in scripted.calls] == ranking, "the first list alone, without reasons"
