"""What is decided before a request's body is read, and what slow bodies, headers and connections cost."""

from __future__ import annotations

import errno
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Mount
from starlette.types import Message

from recsys.config import Settings
from recsys.data import traces
from recsys.data.store import Store
from recsys.recommender.recommender import Recommender
from recsys.service.api import bulk
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.security.auth import scopes_of
from recsys.service.security.keys import SCOPES, KeyRing
from tests.fakes import ScriptedEngine
from tests.service.api_calls import Serve
from tests.service.processes import SERVE, free_port, served

MIB = 1 << 20
PUBLIC = {
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/version",
    "/static/{name}",
    "/favicon.ico",
    "/login",
    "/logout",
}
"""Routes that need no key; the guard treats /metrics apart."""
VALUES = {
    "item_id": "f1",
    "user_id": "ann",
    "session_id": "s",
    "recommendation_id": "r",
    "ref": "films@abcd",
    "name:path": "rank/pointwise",
    "name": "run",
    "kind": "items",
}


def address(route: BaseRoute) -> str:
    """Return an address that a route answers."""
    path = "/mcp/" if isinstance(route, Mount) else str(route.path)  # type: ignore[attr-defined]
    for name, value in VALUES.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    return path


def methods(route: BaseRoute) -> set[str]:
    return set(getattr(route, "methods", None) or {"POST", "GET", "DELETE"})


class Untouched:
    """A body that notes whether it was asked for before the answer began."""

    def __init__(self) -> None:
        self.touched = False
        self.messages: list[Message] = []

    async def receive(self) -> Message:
        self.touched = self.touched or not self.messages
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


def ask(app: Any, method: str, path: str, **headers: str) -> Untouched:
    """Send a request of which only the headers come."""
    body = Untouched()
    sent = {"host": "localhost", "content-length": "100"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }
    anyio.run(app, scope, body.receive, body.send)
    return body


class TestBeforeTheBody:
    def test_every_route_needs_a_key_but_those_that_are_meant_not_to(self, recommender: Recommender) -> None:
        app = create_app({"films": recommender})
        assert {str(route.path) for route in app.routes if not scopes_of(route)} == PUBLIC  # type: ignore[attr-defined]

    def test_without_a_key_no_byte_is_read(self, recommender: Recommender) -> None:
        """Bodies were read whole, and then refused."""
        KeyRing(recommender.store).create("app")
        app = create_app({"films": recommender}, ServiceOptions(warm=False))
        for route in app.routes:
            for method in sorted(methods(route)) if scopes_of(route) else ():
                answer = ask(app, method, address(route))
                page = method == "GET" and not address(route).startswith(("/v1/", "/mcp"))
                unsafe_page = method != "GET" and not address(route).startswith(("/v1/", "/mcp"))
                expected = 303 if page else 403 if unsafe_page else 401
                assert (answer.status, answer.touched) == (expected, False), (method, address(route))
                assert answer.headers[b"connection"] == b"close"

    def test_scope_and_length_are_checked_before_the_body(self, recommender: Recommender) -> None:
        secret, _ = KeyRing(recommender.store).create("reader", ["read"])
        app = create_app({"films": recommender}, ServiceOptions(warm=False))
        key = f"Bearer {secret}"
        lacks = ask(app, "POST", "/v1/import", authorization=key)
        large = ask(app, "POST", "/v1/similar", authorization=key, content_length=str(10 * MIB))
        assert (lacks.status, lacks.touched, large.status, large.touched) == (403, False, 413, False)

    def test_a_key_in_a_cookie_counts_for_pages_alone(self, recommender: Recommender) -> None:
        secret, _ = KeyRing(recommender.store).create("reader", ["read"])
        app = create_app({"films": recommender}, ServiceOptions(warm=False))
        with TestClient(app, "http://localhost", cookies={"whyrec_key": secret}) as client:
            assert client.get("/domains").status_code == 200
            assert client.get("/v1/domains").status_code == 401

    def test_metrics_are_for_this_machine_a_key_or_everybody_if_so_set(
        self, recommender: Recommender
    ) -> None:
        secret, _ = KeyRing(recommender.store).create("reader", ["read"])

        def status(client: str, headers: dict[str, str], **options: Any) -> int:
            app = create_app({"films": recommender}, ServiceOptions(warm=False, **options))
            return (
                TestClient(app, "http://localhost", client=(client, 1))
                .get("/metrics", headers=headers)
                .status_code
            )

        key = {"Authorization": f"Bearer {secret}"}
        assert status("127.0.0.1", {}) == status("192.0.2.1", key) == 200
        assert status("192.0.2.1", {}) == status("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}) == 401
        assert status("192.0.2.1", {}, open_metrics=True) == 200

    def test_bodies_that_are_awaited_keep_no_request_without_a_body_out(
        self, recommender: Recommender
    ) -> None:
        app = create_app({"films": recommender}, ServiceOptions(warm=False, keyless_connections=1))
        form = "/login", {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://localhost"}

        async def main() -> list[int]:
            begun, ends = anyio.Event(), anyio.Event()

            async def withheld() -> AsyncIterator[bytes]:
                begun.set()
                await ends.wait()
                yield b"key=k"

            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: client.post(form[0], content=withheld(), headers=form[1]))
                    await begun.wait()
                    second = await client.post(form[0], content=b"key=k", headers=form[1])
                    alive = await client.get("/healthz")
                    ends.set()
                third = await client.post(form[0], content=b"key=k", headers=form[1])
                return [second.status_code, alive.status_code, third.status_code]

        assert anyio.run(main) == [503, 200, 401]


EVENT = {"user_id": "ann", "item_id": "f9", "timestamp": 7}
BODIES: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", "/v1/interactions"): ("json", {"events": [EVENT]}),
    ("POST", "/v1/import"): ("content", json.dumps({"interaction": EVENT | {"timestamp": 8}})),
    ("POST", "/v1/recommendations"): ("json", {"user": "ann", "k": 1}),
    ("POST", "/v1/items"): ("json", {"items": [{"id": "f88", "title": "Foreign"}]}),
    ("PUT", "/v1/items/f1"): ("json", {"id": "f1", "title": "Overwritten"}),
    ("PUT", "/v1/users/ann"): ("json", {"id": "ann", "profile": {"age": "99"}}),
    ("POST", "/feedback"): ("data", {"item": "f8", "verdict": "liked", "recommendation": "r", "user": "ann"}),
    ("POST", "/v1/sessions"): ("json", {"liked": ["f1"]}),
    ("POST", "/v1/prompts/run"): ("json", {"user": "ann"}),
}
"""Requests that change something, or have the engine work."""
TYPES = (
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "application/json",
)
FOREIGN = (
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "null"},
    {"Origin": "http://localhost:81"},
)


def state(recommender: Recommender, scripted: ScriptedEngine) -> tuple[Any, ...]:
    """Return what requests can change, and how often the engine was asked."""
    store = recommender.store
    return (
        store.data_hash("films"),
        store.counts("films"),
        store.user("films", "ann"),
        [trace.id for trace in traces.traces_before(store, "films", None, 100)],
        len(scripted.calls),
    )


class TestOtherOrigins:
    def test_no_request_from_another_origin_does_anything(
        self, serve: Serve, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        """text/plain, a POST without body and a GET of a page did."""
        client, before = serve(), state(recommender, scripted)
        for route in client.app.routes:  # type: ignore[attr-defined]
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
                path = address(route)
                kind, body = BODIES.get((method, path), ("content", b""))
                query = "?user=ann&whole=1&item=f1&run=1&field=user" if method == "GET" else ""
                exists = method in methods(route)
                harmless = method in ("GET", "HEAD") and not scopes_of(route)
                types = TYPES if exists and method in ("POST", "PUT") else TYPES[:1]
                for content_type, foreign in product(types, FOREIGN if exists else FOREIGN[:1]):
                    headers = foreign | ({"Content-Type": content_type} if content_type else {})
                    answer = client.request(method, path + query, headers=headers, **{kind: body})
                    refused = answer.status_code == 403
                    assert refused or not exists or harmless, (method, path, headers, answer.text)
        assert state(recommender, scripted) == before

    def test_the_same_requests_are_answered_to_the_service_s_own_pages_and_to_programs(
        self, serve: Serve, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
        client, before = serve(), state(recommender, scripted)
        for headers in (own, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "none"}, {}):
            for (method, path), (kind, body) in BODIES.items():
                answer = client.request(method, path, headers=headers, **{kind: body})
                assert answer.status_code not in (401, 403) or path == "/feedback", answer.text
        assert not set(state(recommender, scripted)[:1]) & set(before[:1])
        assert state(recommender, scripted)[-1] > before[-1]

    def test_a_link_opens_an_empty_page_and_fills_in_nothing(self, serve: Serve) -> None:
        client = serve()
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert client.get("/", headers=link).status_code == 200
        refused = client.get("/?user=ann", headers=link)
        assert (refused.status_code, refused.headers["content-type"]) == (403, "text/html; charset=utf-8")
        assert client.get("/", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
        assert client.get("/v1/users", headers=link).status_code == 403

    def test_an_origin_that_is_allowed_is_let_in(self, serve: Serve) -> None:
        shop = {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}
        client = serve(cors_origins=("https://shop.example",))
        assert client.get("/v1/users", headers=shop).status_code == 200
        assert client.get("/v1/users", headers=shop | {"Origin": "https://evil.example"}).status_code == 403

    def test_every_origin_is_allowed_to_those_alone_who_bring_a_key(
        self, serve: Serve, recommender: Recommender
    ) -> None:
        """Without keys `*` would let every page in the browser change the data."""
        page = {"Origin": "https://any.example", "Sec-Fetch-Site": "cross-site"}
        client = serve(cors_origins=("*",))
        assert client.get("/v1/users", headers=page).status_code == 403
        secret, _ = KeyRing(recommender.store).create("reader", ["read"])
        answer = client.get("/v1/users", headers=page | {"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200


class TestImport:
    def test_no_room_for_the_file_is_an_error_that_may_pass(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(**_: Any) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(bulk, "TemporaryFile", full)
        answer = client.post("/v1/import", content="{}")
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)
        assert "No space left" in answer.json()["detail"]

    def test_a_line_that_does_not_end_is_named(self, client: TestClient) -> None:
        line = '{"item": {"id": "f97", "title": "Long", "description": "' + "x" * bulk.MAX_LINE
        answer = client.post("/v1/import", content='{"item": {"id": "f96", "title": "Right"}}\n' + line)
        assert answer.status_code == 422
        assert "import, row 2" in answer.json()["detail"]
        assert client.get("/v1/items/f96").status_code == 404

    def test_a_wrong_byte_is_named_by_its_line(self, client: TestClient) -> None:
        answer = client.post("/v1/import", content=b'{"user": {"id": "z"}}\n\n{"user": {"id": "\xff"}}')
        assert answer.status_code == 422
        assert "import, row 3: expected UTF-8, found the byte 0xff" in answer.json()["detail"]


class Attacked:
    """A service of which a test holds connections."""

    def __init__(self, pid: int, url: str, key: str) -> None:
        self.pid, self.url, self.key = pid, url, key
        self._address = ("127.0.0.1", int(url.rpartition(":")[2]))

    def connect(self, sent: str = "", body: bytes = b"") -> socket.socket:
        """Open a connection and send something; the service may close it at once."""
        connection = socket.create_connection(self._address, timeout=300)
        with suppress(OSError):
            connection.sendall(sent.encode() + body)
        return connection

    def hold(self, path: str, *headers: str, length: int = 100, body: bytes = b"x") -> socket.socket:
        """Begin a POST whose body does not end."""
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
        return self.connect("\r\n".join(lines) + "\r\n\r\n", body)

    @property
    def with_key(self) -> str:
        return f"Authorization: Bearer {self.key}"

    def answers(self) -> bool:
        """Return whether a request with the key is answered."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.get(f"{self.url}/v1/domains", headers=headers, timeout=300).status_code == 200

    def memory(self, field: str = "VmRSS") -> int:
        """Return the memory of the process, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def received(connection: socket.socket) -> str:
    """Return what a connection brings until the service closes it."""
    parts = []
    with closing(connection):
        try:
            while part := connection.recv(1 << 16):
                parts.append(part)
        except ConnectionResetError:
            pass
    return b"".join(parts).decode()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """Serve with keys, short limits, and room for few requests."""
    folder = tmp_path_factory.mktemp("doors")
    with Store(Settings(data_dir=folder / "data").database_url) as store:
        key, _ = KeyRing(store).create("app", SCOPES, rate="100000/second")
    options = {"HEADER_S": 2, "BODY_WAIT_S": 2, "BODY_S": 4, "IN_FLIGHT": 6, "KEYLESS_CONNECTIONS": 40}
    environment = {f"WHYREC_SERVE_{name}": str(value) for name, value in options.items()} | {
        "WHYREC_SERVE_KEYLESS_PER_ADDRESS": "20",
        "WHYREC_ENGINE": f"http://127.0.0.1:{free_port()}",
        "WHYREC_DATA_DIR": str(folder / "data"),
        "WHYREC_CACHE_DIR": str(folder / "cache"),
    }
    with served(SERVE, folder, environment) as (process, url):
        yield Attacked(process.pid, url, key)


class TestHeldConnections:
    def test_bodies_without_a_key_take_no_memory(self, attacked: Attacked) -> None:
        """Twelve of 60 MiB, the last byte withheld, took 740 MiB that never came back."""
        assert attacked.answers()
        before, body = attacked.memory("VmHWM"), bytes(24 * MIB)
        held = [attacked.hold("/v1/import", length=len(body) + 1, body=body) for _ in range(6)]
        assert attacked.memory("VmHWM") - before < 24 * MIB
        for connection in held:
            assert received(connection)[:12] in ("", "HTTP/1.1 401")  # "": reset while it sent

    def test_an_import_does_not_wait_in_memory(self, attacked: Attacked) -> None:
        assert attacked.answers()
        before, body = attacked.memory("VmHWM"), bytes(24 * MIB)
        held = [
            attacked.hold("/v1/import", attacked.with_key, length=len(body) + 1, body=body) for _ in range(3)
        ]
        answers = [received(connection) for connection in held]
        assert [answer.partition("\r\n")[0] for answer in answers] == ["HTTP/1.1 408 Request Timeout"] * 3
        assert attacked.memory("VmHWM") - before < 24 * MIB

    @pytest.mark.parametrize("path", ["/v1/import", "/v1/recommendations", "/login", "/nowhere"])
    def test_bodies_that_are_held_close_the_service_to_nobody(self, attacked: Attacked, path: str) -> None:
        """520 bodies of one byte answered everybody with 503."""
        held = [attacked.hold(path) for _ in range(50)]
        assert attacked.answers()
        for connection in held:
            connection.close()

    def test_the_oldest_connection_without_a_key_makes_room(self, attacked: Attacked) -> None:
        held = [attacked.connect("GET /v1/dom") for _ in range(60)]
        assert attacked.answers()
        assert [received(connection) for connection in held[:40]] == [""] * 40
        for connection in held[40:]:
            connection.close()

    def test_headers_that_do_not_end_are_cut_off(self, attacked: Attacked) -> None:
        assert received(attacked.connect("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")) == ""
        assert received(attacked.connect()) == ""
        assert received(attacked.connect("GET / HTTP/1.1\r\n" + "X-Long: " + "x" * 200_000)) == ""

    def test_bytes_after_an_answer_do_not_hold_the_connection(self, attacked: Attacked) -> None:
        """Each of them had put off the end of the pause between requests."""
        ask_and_pause = f"GET /v1/domains HTTP/1.1\r\nHost: localhost\r\n{attacked.with_key}\r\n\r\n\r\n"
        assert received(attacked.connect(ask_and_pause)).startswith("HTTP/1.1 200")

    def test_a_body_that_is_withheld_or_comes_too_slowly_is_refused(self, attacked: Attacked) -> None:
        withheld = received(attacked.hold("/v1/recommendations", attacked.with_key))
        assert withheld.startswith("HTTP/1.1 408")
        assert "connection: close" in withheld.lower()
        connection = attacked.hold("/v1/import", attacked.with_key, length=MIB)
        connection.settimeout(0.2)
        answer = b""
        while not answer:  # each part is in time, together they are too slow
            try:
                answer = connection.recv(100)
            except TimeoutError:
                connection.sendall(b"x")
        connection.close()
        assert answer.startswith(b"HTTP/1.1 408")

    def test_a_connection_is_kept_unless_a_body_was_not_read(self, attacked: Attacked) -> None:
        def request(path: str, body: str, *headers: str) -> str:
            lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
            return "\r\n".join(lines) + "\r\n\r\n" + body

        right = request(
            "/v1/similar", '{"item": "Heat"}', attacked.with_key, "Content-Type: application/json"
        )
        without_key = request("/v1/similar", '{"item": "Heat"}')
        answers = received(attacked.connect(right + right + without_key + right))
        assert re.findall(r"HTTP/1\.1 (\d+)", answers) == ["200", "200", "401"]
        assert "connection: close" in answers.lower().rpartition("http/1.1 401")[2]

    def test_a_client_that_waits_before_its_body_is_not_asked_for_it(self, attacked: Attacked) -> None:
        answer = received(attacked.hold("/v1/import", "Expect: 100-continue", body=b""))
        assert answer.startswith("HTTP/1.1 401")


def test_a_stop_does_not_wait_for_bodies(tmp_path: Path) -> None:
    """It waited for them as for running requests, and cut them off without an answer."""
    environment = {
        "WHYREC_ENGINE": f"http://127.0.0.1:{free_port()}",
        "WHYREC_DATA_DIR": str(tmp_path / "data"),
        "WHYREC_SERVE_DRAIN_S": "100000",
        "WHYREC_SERVE_BODY_WAIT_S": "100000",
        "WHYREC_SERVE_BODY_S": "100000",
    }
    with served(SERVE, tmp_path, environment) as (process, url):
        service = Attacked(process.pid, url, "")
        held = [service.hold(path) for path in ("/v1/recommendations", "/v1/import") for _ in range(5)]
        assert httpx.get(f"{url}/healthz").status_code == 200  # they have begun
        process.send_signal(signal.SIGTERM)
        answers = [received(connection) for connection in held]
        assert process.wait(300) == -signal.SIGTERM
    assert {answer.partition("\r\n")[0] for answer in answers} == {"HTTP/1.1 503 Service Unavailable"}
    assert all("retry-after" in answer.lower() for answer in answers)
