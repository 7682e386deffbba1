"""`recsys keys` and `recsys audit`: who may use the service, and what its administrators did."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.output import console, print_json
from recsys.cli.recommend import JsonOption

if TYPE_CHECKING:
    from recsys.data.store import Store
    from recsys.service.security.keys import KeyInfo

app = typer.Typer(help="Create, list, revoke and rotate keys of the service.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a key, from `recsys keys list`.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", "-s", help="read, write or admin; repeatable.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="It ends after so many days. Default: never.")] = None,
    rate: Annotated[str | None, typer.Option(help='How often it may ask: "600/minute".')] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is kept."""
    from recsys.service.security import audit
    from recsys.service.security.keys import DAY, KeyRing

    lasts = None if days is None else days * DAY
    with _store() as store:
        text, key = KeyRing(store).create(name, scope or ["read"], lasts=lasts, rate=rate)
        audit.record(store, audit.operator(), "keys.create", key.id, name=key.name, scopes=list(key.scopes))
    _told(text, key, as_json)


@app.command("rotate")
def rotate(
    key_id: IdArgument,
    grace_hours: Annotated[float, typer.Option(help="The old key holds so long still.")] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Make a key that replaces another: same name, scopes and rate. Both hold for a while."""
    from recsys.service.security import audit
    from recsys.service.security.keys import KeyRing

    with _store() as store:
        text, key = KeyRing(store).rotate(key_id, grace=grace_hours * 3600)
        audit.record(store, audit.operator(), "keys.rotate", key_id, new=key.id, grace_hours=grace_hours)
    _told(text, key, as_json)


@app.command("revoke")
def revoke(key_id: IdArgument, as_json: JsonOption = False) -> None:
    """End a key now."""
    from recsys.service.security import audit
    from recsys.service.security.keys import KeyRing

    with _store() as store:
        key = KeyRing(store).revoke(key_id)
        audit.record(store, audit.operator(), "keys.revoke", key.id, name=key.name)
    if as_json:
        print_json(dataclasses.asdict(key))
        return
    console.print(f"revoked {key.id} ({key.name})", markup=False, highlight=False)


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """All keys, those that ended too, oldest first. Their texts are not kept."""
    from recsys.service.security.keys import KeyRing

    with _store() as store:
        keys = KeyRing(store).keys()
    if as_json:
        print_json([dataclasses.asdict(key) | {"valid": key.valid()} for key in keys])
        return
    _print_table(
        ("id", "name", "scopes", "rate", "created", "ends"),
        [
            (key.id, key.name, " ".join(key.scopes), key.rate or "", _day(key.created), _end(key))
            for key in keys
        ],
        "no keys: the service answers this machine alone",
    )


def audit_command(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="The newest so many.")] = 50,
    action: Annotated[str, typer.Option(help='Of actions that begin so: "keys."')] = "",
    as_json: JsonOption = False,
) -> None:
    """What administrators did, the newest first."""
    from recsys.service.security import audit

    with _store() as store:
        found = audit.entries(store, limit=limit, action=action)
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in found])
        return
    _print_table(
        ("time", "who", "action", "target", "details"),
        [
            (_second(entry.time), entry.actor, entry.action, entry.target, json.dumps(entry.details))
            for entry in found
        ],
        "nothing was done yet",
    )


@contextmanager
def _store() -> Iterator[Store]:
    from recsys.config import load_settings
    from recsys.data.store import Store

    with Store(load_settings().database_url) as store:
        yield store


def _told(text: str, key: KeyInfo, as_json: bool) -> None:
    if as_json:
        print_json({"key": text} | dataclasses.asdict(key))
        return
    typer.echo(text)
    scopes = ", ".join(key.scopes)
    typer.echo(f"{key.id}, {key.name}: {scopes}. Keep the line above: it is not shown again.", err=True)


def _print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]], none: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table: Any = Table(*headings, box=None, padding=(0, 2), header_style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table if rows else none, highlight=False)


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d")


def _second(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _end(key: KeyInfo) -> str:
    if key.revoked is not None:
        return f"revoked {_day(key.revoked)}"
    if key.expires is None:
        return "never"
    return f"{'ends' if key.valid() else 'ended'} {_second(key.expires)}"
