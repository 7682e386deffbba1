"""`recsys users`: what a person may ask of whoever keeps their data."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from recsys.cli.output import console, print_json
from recsys.cli.recommend import DomainOption, JsonOption

app = typer.Typer(help="Delete a person from everything that is kept.", no_args_is_help=True)


@app.command("delete")
def delete(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a user.")],
    domain: DomainOption = "movies",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a person: profile, events, feedback, traces, and what was fitted on them; adapters are named."""
    from recsys.config import load_domain, load_settings
    from recsys.data.erasure import delete_user
    from recsys.data.store import Store
    from recsys.service.security import audit

    found, settings = load_domain(domain), load_settings()
    with Store(settings.database_url) as store:
        events = len(store.history(found.name, store.user(found.name, user_id).id))
        if not yes:
            typer.confirm(
                f"Delete user {user_id} of {found.name} with {events:,} events, for good?", abort=True
            )
        done = delete_user(store, found, user_id, settings)
        facts = {"rows": done.rows, "adapters": list(done.adapters)}
        audit.record(store, audit.operator(), "users.delete", audit.pseudonym(found.name, user_id), **facts)
    if as_json:
        print_json({"domain": found.name, "user": user_id} | dataclasses.asdict(done))
        return
    rows = ", ".join(f"{count:,} {table}" for table, count in done.rows.items())
    console.print(f"deleted {rows}", highlight=False)
    if done.refit:
        console.print(f"fitted anew at the next load: {', '.join(done.refit)}", highlight=False)
    for ref in done.adapters:
        console.print(f"[yellow]may have been trained on them:[/] {ref}", highlight=False)
    if done.adapters:
        console.print("  tune anew and `recsys adapters remove` it; those of the base model stay as they are")
    console.print(
        "The files of the domain are not changed: take the person out of them before the next import.",
        style="dim",
    )
