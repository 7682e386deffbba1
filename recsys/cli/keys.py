"""`recsys keys` and `recsys audit`: API keys, and the audit log."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import JsonOption
from recsys.cli.output import console, print_json

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
    days: Annotated[float | None, typer.Option(help="Days until it expires. Default: never.")] = None,
    rate: Annotated[str | None, typer.Option(help='Units of work per time: "600/minute".')] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it once. Only its hash is stored."""
    from recsys.data import audit
    from recsys.service.security.keys import DAY, KeyRing

    lifetime = None if days is None else days * DAY
    with _open_store() as store:
        text, key = KeyRing(store).create(name, scope or ["read"], lifetime=lifetime, rate=rate)
        audit.record(store, audit.operator(), "keys.create", key.id, name=key.name, scopes=list(key.scopes))
    _print_new_key(text, key, as_json)


@app.command("rotate")
def rotate(
    key_id: IdArgument,
    grace_hours: Annotated[float, typer.Option(help="Hours that the old key stays valid.")] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Create a key that replaces another, with its name, scopes and rate."""
    from recsys.data import audit
    from recsys.service.security.keys import KeyRing

    with _open_store() as store:
        text, key = KeyRing(store).rotate(key_id, grace=grace_hours * 3600)
        audit.record(store, audit.operator(), "keys.rotate", key_id, new=key.id, grace_hours=grace_hours)
    _print_new_key(text, key, as_json)


@app.command("revoke")
def revoke(key_id: IdArgument, as_json: JsonOption = False) -> None:
    """Make a key invalid now."""
    from recsys.data import audit
    from recsys.service.security.keys import KeyRing

    with _open_store() as store:
        key = KeyRing(store).revoke(key_id)
        audit.record(store, audit.operator(), "keys.revoke", key.id, name=key.name)
    if as_json:
        print_json(dataclasses.asdict(key))
        return
    console.print(f"revoked {key.id} ({key.name})", markup=False, highlight=False)


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List all keys, invalid ones too, the oldest first. Their texts are not stored."""
    from recsys.service.security.keys import KeyRing

    with _open_store() as store:
        keys = KeyRing(store).keys()
    if as_json:
        print_json([dataclasses.asdict(key) | {"valid": key.valid()} for key in keys])
        return
    _print_table(
        ("id", "name", "scopes", "rate", "created", "ends"),
        [
            (key.id, key.name, " ".join(key.scopes), key.rate or "", _date(key.created), _end(key))
            for key in keys
        ],
        "no keys: the service answers this machine alone",
    )


def audit_command(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")] = 50,
    action: Annotated[
        str, typer.Option(help='Only actions that begin so: "keys."; "rules." for what rules decided.')
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List what administrators did, the newest first."""
    from recsys.data import audit

    with _open_store() as store:
        entries = audit.entries(store, limit=limit, action=action)
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in entries])
        return
    _print_table(
        ("time", "who", "action", "target", "details"),
        [
            (_time(entry.time), entry.actor, entry.action, entry.target, json.dumps(entry.details))
            for entry in entries
        ],
        "nothing was done yet",
    )


@contextmanager
def _open_store() -> Iterator[Store]:
    from recsys.config import load_settings
    from recsys.data.store import Store

    with Store(load_settings().database_url) as store:
        yield store


def _print_new_key(text: str, key: KeyInfo, as_json: bool) -> None:
    if as_json:
        print_json({"key": text} | dataclasses.asdict(key))
        return
    typer.echo(text)
    scopes = ", ".join(key.scopes)
    typer.echo(f"{key.id}, {key.name}: {scopes}. Keep the line above: it is not shown again.", err=True)


def _print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]], if_empty: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table: Any = Table(*headings, box=None, padding=(0, 2), header_style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table if rows else if_empty, highlight=False)


def _date(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d")


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _end(key: KeyInfo) -> str:
    if key.revoked is not None:
        return f"revoked {_date(key.revoked)}"
    if key.expires is None:
        return "never"
    return f"{'ends' if key.valid() else 'ended'} {_time(key.expires)}"
