"""`recsys users`: deletion of a person."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import console, print_json

app = typer.Typer(help="Delete all data about a person.", no_args_is_help=True)


@app.command("delete")
def delete(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a user.")],
    domain: DomainOption = "movies",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a person: profile, events, feedback, traces, and what was fitted on them.

    Adapters that may be trained on them are named.
    """
    from recsys.config import load_domain, load_settings
    from recsys.data import audit
    from recsys.data.erasure import delete_user
    from recsys.data.store import Store

    loaded, settings = load_domain(domain), load_settings()
    with Store(settings.database_url) as store:
        events = len(store.history(loaded.name, user_id))
        if not yes:
            typer.confirm(
                f"Delete user {user_id} of {loaded.name} with {events:,} events, for good?", abort=True
            )
        deletion = delete_user(store, loaded, user_id, settings)
        details = {"rows": deletion.rows, "adapters": list(deletion.adapters)}
        audit.record(
            store, audit.operator(), "users.delete", audit.pseudonym(loaded.name, user_id), **details
        )
    if as_json:
        print_json({"domain": loaded.name, "user": user_id} | dataclasses.asdict(deletion))
        return
    rows = ", ".join(f"{count:,} {table}" for table, count in deletion.rows.items())
    console.print(f"deleted {rows}", highlight=False)
    if deletion.refit:
        console.print(f"fitted again at the next load: {', '.join(deletion.refit)}", highlight=False)
    for file in deletion.remains:
        console.print(f"[yellow]still in[/] {escape(file)}", highlight=False)
    for ref in deletion.adapters:
        console.print(f"[yellow]may have been trained on them:[/] {ref}", highlight=False)
    if deletion.adapters:
        console.print("  fine-tune again, then `recsys adapters remove` the old one")
    console.print(
        "The files of the domain, backups and exported examples are not changed: remove the person from them "
        "too, from the files before the next import.",
        style="dim",
    )
