"""API keys, and a service without keys, which answers only this machine."""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recsys.cli import app as cli
from recsys.config import Settings
from recsys.data import audit
from recsys.data.store import Store
from recsys.errors import ConfigError, MissingDependency, RequestError
from recsys.service.observability.logs import JsonLines
from recsys.service.options import ServiceOptions
from recsys.service.security import keys as keys_module
from recsys.service.security.auth import Authenticator, Principal, check_bind, is_loopback, require
from recsys.service.security.guard import Guard
from recsys.service.security.keys import KeyRing
from recsys.service.security.log_redaction import Redactor
from recsys.service.transport import problems
from recsys.service.transport.shutdown import DrainState


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store(store_url) as store:
        yield store


@pytest.fixture
def ring(store: Store) -> KeyRing:
    return KeyRing(store)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(keys_module, "time", clock)
    return clock


def client(
    store: Store, *, address: str = "127.0.0.1", host: str = "127.0.0.1", rate: str = "100/minute"
) -> TestClient:
    """Create a client, at an address, of a service with a route per scope."""
    app = FastAPI()
    app.add_middleware(
        Guard,
        routes=app.routes,
        authenticator=Authenticator(store, rate),
        options=ServiceOptions(),
        drain=DrainState(),
    )
    problems.install(app)

    @app.get("/read")
    def read(who: Annotated[Principal, Depends(require("read"))]) -> str:
        return who.name

    @app.get("/write")
    def write(who: Annotated[Principal, Depends(require("write"))]) -> str:
        return who.name

    @app.get("/admin")
    def admin(who: Annotated[Principal, Depends(require("admin"))]) -> str:
        return who.name

    return TestClient(app, base_url=f"http://{host}", client=(address, 50_000))


def sent(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_recognised_and_its_text_is_not_kept(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'keys.db'}") as store:
        text, key = KeyRing(store).create("app", ["write", "read"])
        assert KeyRing(store).recognise(text) == key
    assert text.startswith(key.prefix)
    assert key.scopes == ("read", "write")
    secret = text.removeprefix(key.prefix)
    assert len(secret) >= 43, "256 bits"
    files = b"".join(path.read_bytes() for path in tmp_path.glob("keys.db*"))
    assert secret.encode() not in files
    assert key.id.encode() in files


def test_no_two_keys_are_alike(ring: KeyRing) -> None:
    created = [ring.create("app") for _ in range(50)]
    assert len({text for text, _ in created}) == len({key.id for _, key in created}) == 50


@pytest.mark.parametrize(
    "alter",
    [
        lambda t: t[:-1],
        lambda t: t + "x",
        lambda t: t.swapcase(),
        lambda t: "",
        lambda t: "whyrec__",
        lambda t: "a_b_c",
        lambda t: t.replace("whyrec", "why"),
        lambda t: "\ud800_\udfff_\0",
    ],
)
def test_anything_but_the_whole_key_is_refused(ring: KeyRing, alter: object) -> None:
    text, _ = ring.create("app")
    assert callable(alter)
    assert ring.recognise(alter(text)) is None


def test_the_secret_of_one_key_does_not_open_another(ring: KeyRing) -> None:
    (first_text, first), (second_text, second) = ring.create("first"), ring.create("second")
    assert ring.recognise(first.prefix + second_text.removeprefix(second.prefix)) is None
    assert ring.recognise(first_text) == first


def test_a_key_ends_when_it_was_said_to(ring: KeyRing, clock: Clock) -> None:
    text, key = ring.create("app", lifetime=60)
    clock.now += 59
    assert ring.recognise(text) == key
    clock.now += 1
    assert ring.recognise(text) is None
    assert [listed.valid(clock.now) for listed in ring.keys()] == [False]  # noqa: SIM118


def test_a_revoked_key_is_refused_at_once_by_everybody(store: Store, ring: KeyRing) -> None:
    text, key = ring.create("app")
    other = KeyRing(store)
    assert other.recognise(text)
    ended = ring.revoke(key.id)
    assert ended.revoked
    assert other.recognise(text) is None
    assert ring.revoke(key.id).revoked == ended.revoked, "the first time counts"


def test_after_a_rotation_both_keys_hold_for_a_while(ring: KeyRing, clock: Clock) -> None:
    old, key = ring.create("app", ["read", "admin"], lifetime=1000, rate="5/minute")
    new, successor = ring.rotate(key.id, grace=100)
    assert (successor.name, successor.scopes, successor.rate) == ("app", ("read", "admin"), "5/minute")
    assert successor.expires == clock.now + 1000
    clock.now += 99
    assert ring.recognise(old)
    assert ring.recognise(new)
    clock.now += 1
    assert ring.recognise(old) is None
    assert ring.recognise(new) == successor


def test_a_rotation_makes_no_key_live_longer(ring: KeyRing, clock: Clock) -> None:
    old, key = ring.create("app", lifetime=50)
    ring.rotate(key.id, grace=1000)
    clock.now += 50
    assert ring.recognise(old) is None
    with pytest.raises(RequestError, match="no longer valid"):
        ring.rotate(key.id)


@pytest.mark.parametrize(
    ("name", "scopes", "lasts", "rate"),
    [
        ("", ["read"], None, None),
        ("a" * 61, ["read"], None, None),
        ("a\nb", ["read"], None, None),
        ("a", [], None, None),
        ("a", ["root"], None, None),
        ("a", ["read"], 0, None),
        ("a", ["read"], None, "often"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(
    ring: KeyRing, name: str, scopes: list[str], lasts: float | None, rate: str | None
) -> None:
    with pytest.raises(RequestError):
        ring.create(name, scopes, lifetime=lasts, rate=rate)
    assert ring.keys() == []


def test_keys_that_are_not_there_are_told(ring: KeyRing) -> None:
    with pytest.raises(RequestError, match="no key 'x'"):
        ring.revoke("x")
    with pytest.raises(RequestError, match="keys list"):
        ring.rotate("x")


def test_each_route_asks_for_its_own_scope(store: Store, ring: KeyRing) -> None:
    for scope in ("read", "write", "admin"):
        text, _ = ring.create(f"may {scope}", [scope])
        answers = {
            path: client(store).get(f"/{path}", headers=sent(text)) for path in ("read", "write", "admin")
        }
        assert {path: answer.status_code for path, answer in answers.items()} == {
            path: 200 if path == scope else 403 for path in answers
        }
        assert answers[scope].json() == f"may {scope}"


def test_a_missing_or_wrong_key_is_a_problem_that_says_what_to_do(store: Store, ring: KeyRing) -> None:
    text, key = ring.create("app")
    for headers in ({}, sent("wrong"), sent(text + "x"), {"Authorization": f"Basic {text}"}):
        answer = client(store).get("/read", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "key" in answer.json()["detail"]
        assert answer.json()["hint"]
        assert text not in answer.text
    ring.revoke(key.id)
    assert client(store).get("/read", headers=sent(text)).status_code == 401


def test_without_any_key_this_machine_is_served_and_nobody_else(store: Store) -> None:
    for address, host in (
        ("127.0.0.1", "localhost"),
        ("::1", "[::1]"),
        ("127.8.9.1", "127.0.0.1:8000"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ):
        assert client(store, address=address, host=host).get("/admin").json() == "local"
    assert client(store, address="192.0.2.7").get("/read").status_code == 401


def test_a_page_that_took_a_name_for_this_machine_is_not_served(store: Store) -> None:
    """DNS rebinding: evil.example resolves to 127.0.0.1."""
    assert client(store, host="evil.example").get("/read").status_code == 401


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Forwarded", "for=192.0.2.60"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
    ],
)
def test_what_a_proxy_forwards_is_not_served_without_keys(
    store: Store, ring: KeyRing, header: str, value: str
) -> None:
    """Behind a proxy on this machine everybody looked like this machine."""
    answer = client(store).get("/read", headers={header: value})
    assert answer.status_code == 401
    assert "proxy" in answer.json()["detail"]
    text, _ = ring.create("app")
    assert client(store).get("/read", headers=sent(text) | {header: value}).status_code == 200


def test_when_all_keys_have_ended_the_service_stays_closed(store: Store, ring: KeyRing) -> None:
    _, key = ring.create("app")
    ring.revoke(key.id)
    assert client(store).get("/read").status_code == 401
    check_bind("0.0.0.0", store)


def test_a_service_does_not_start_for_others_without_a_key(store: Store, ring: KeyRing) -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        check_bind(host, store)
    for host in ("0.0.0.0", "::", "", "192.168.1.4", "example.com"):
        with pytest.raises(ConfigError) as caught:
            check_bind(host, store)
        assert "recsys keys create" in caught.value.hint
    ring.create("app")
    check_bind("0.0.0.0", store)


def test_what_only_looks_like_this_machine_is_not() -> None:
    for name in (
        "localhost.evil.example",
        "127.0.0.1.example",
        "0",
        "",
        "127",
        "2130706433",
        "[::]",
        "::ffff:8.8.8.8",
    ):
        assert not is_loopback(name), name


def test_acts_are_found_again_newest_first(store: Store) -> None:
    audit.record(store, "cli:ann", "keys.create", "k1", scopes=["read"])
    audit.record(store, "app", "users.delete", audit.pseudonym("films", "7"))
    audit.record(store, "cli:ann", "keys.revoke", "k1")
    assert [entry.action for entry in audit.entries(store)] == ["keys.revoke", "users.delete", "keys.create"]
    assert [entry.target for entry in audit.entries(store, action="keys.")] == ["k1", "k1"]
    first = audit.entries(store, limit=1, before=audit.entries(store)[1].id)[0]
    assert (first.actor, first.action, first.details) == ("cli:ann", "keys.create", {"scopes": ["read"]})
    assert audit.pseudonym("films", "7") != audit.pseudonym("films", "8")


def logged(
    *secrets: str, message: str, args: tuple[object, ...] = (), fields: object = None, error: bool = False
) -> str:
    """Return a log line as the service writes it."""
    record = logging.LogRecord("whyrec", logging.INFO, __file__, 1, message, args, None)
    if fields:
        record.fields = fields
    if error:
        try:
            raise ValueError(message)
        except ValueError as caught:
            record.exc_info = (ValueError, caught, caught.__traceback__)
    assert Redactor(secrets).filter(record)
    return JsonLines().format(record)


def test_secrets_are_never_logged(ring: KeyRing) -> None:
    text, _ = ring.create("app")
    secret = text.split("_", 2)[2]
    for message in (text, f"Authorization: Bearer {text}", f"key={text}", f"'authorization': '{text}'"):
        assert secret not in logged(message=message)
        assert secret not in logged(message="told %s", args=(message,))
        assert secret not in logged(message="x", fields={"deep": [{"header": message}]})
        assert secret not in logged(message=message, error=True)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("postgresql+psycopg://me:hunter22@host/db failed", "hunter22"),
        ("api_key=abcd1234efgh", "abcd1234efgh"),
        ('{"password": "correct horse"}', "correct"),
        ("token hf_AbCdEfGhIjKlMnOpQrStUvWxYz", "AbCdEfGhIjKl"),
        ("Cookie: session=0123456789abcdef", "0123456789abcdef"),
        ("proxy-authorization: basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
    ],
)
def test_what_looks_like_a_secret_is_not_logged(line: str, secret: str) -> None:
    assert secret not in logged(message=line)
    assert "[secret]" in logged(message=line)


def test_secrets_of_the_settings_are_not_logged_whatever_they_look_like() -> None:
    assert logged("plain words", message="sent plain words to it").count("plain words") == 0


def test_personal_data_is_not_logged_and_the_rest_is() -> None:
    line = json.loads(
        logged(
            message="ann@example.com asked from %s",
            args=("203.0.113.7",),
            fields={"path": "/v1/users/a@b.example", "status": 200},
        )
    )
    assert line["message"] == "[mail] asked from [ip]"
    assert (line["path"], line["status"]) == ("/v1/users/[mail]", 200)
    ordinary = (
        "GET /v1/recommendations 200 in 0.123 s, request 550e8400-e29b-41d4-a716-446655440000, Se7en (1995)"
    )
    assert json.loads(logged(message=ordinary))["message"] == ordinary


def test_a_wrong_call_of_the_logger_does_not_raise() -> None:
    assert "%d" in logged(message="%d films", args=("many",))


def test_all_loggers_are_redacted_once_installed(caplog: pytest.LogCaptureFixture) -> None:
    from recsys.service.security.log_redaction import install

    redactor = install(Settings(api_key="remote engine key", store_url="postgresql://me:hunter22@host/db"))
    try:
        logging.getLogger("somebody.else").warning("hunter22 and remote engine key of %s", "a@b.example")
        assert caplog.messages == ["[secret] and [secret] of [mail]"]
    finally:
        for handler in logging.getLogger().handlers:
            handler.removeFilter(redactor)


def test_a_database_file_shows_no_key_in_its_journal(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'keys.db'}") as store:
        text, _ = KeyRing(store).create("app")
    with sqlite3.connect(tmp_path / "keys.db") as raw:
        assert text.split("_", 2)[2] not in "\n".join(raw.iterdump())


def test_a_rate_without_the_serve_extra_names_the_command_and_makes_no_key(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to end in a plain ImportError."""
    monkeypatch.setenv("WHYREC_DATA_DIR", str(settings.data_dir))
    monkeypatch.delitem(sys.modules, "recsys.service.security.limits", raising=False)
    monkeypatch.setitem(sys.modules, "limits", None)
    response = CliRunner().invoke(cli, ["keys", "create", "shop", "--rate", "5/minute"])
    assert isinstance(response.exception, MissingDependency)
    assert "pip install 'whyrec[serve]'" in response.exception.hint
    with Store(settings.database_url) as store:
        assert not KeyRing(store).any()
        assert KeyRing(store).create("shop")


def test_keys_are_made_rotated_and_ended_from_the_command_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(settings.data_dir))
    runner = CliRunner()

    def recsys(*command: str) -> str:
        response = runner.invoke(cli, list(command))
        assert response.exit_code == 0, response.output
        return response.stdout

    assert "this machine alone" in recsys("keys", "list")
    first = recsys("keys", "create", "shop", "-s", "read", "-s", "write", "--days", "30").strip()
    with Store(settings.database_url) as store:
        known = KeyRing(store).recognise(first)
    assert known
    assert (known.name, known.scopes) == ("shop", ("read", "write"))
    second = json.loads(recsys("keys", "rotate", known.id, "--grace-hours", "1", "--json"))
    listed = json.loads(recsys("keys", "list", "--json"))
    assert [key["valid"] for key in listed] == [True, True]
    recsys("keys", "revoke", known.id)
    with Store(settings.database_url) as store:
        assert KeyRing(store).recognise(first) is None
        assert KeyRing(store).recognise(second["key"])
    for shown in (recsys("keys", "list"), recsys("keys", "list", "--json"), recsys("audit", "--json")):
        assert first.split("_", 2)[2] not in shown
        assert second["key"].split("_", 2)[2] not in shown
    acts = [entry["action"] for entry in json.loads(recsys("audit", "--json"))]
    assert acts == ["keys.revoke", "keys.rotate", "keys.create"]
    assert len(json.loads(recsys("audit", "--json", "-n", "1", "--action", "keys.c"))) == 1
