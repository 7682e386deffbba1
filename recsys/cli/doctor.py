"""`recsys doctor`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from recsys.cli.options import JsonOption
from recsys.cli.output import ProgressBars, console, print_json
from recsys.errors import ConfigError

_MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


def doctor(
    domain: Annotated[
        list[str] | None,
        typer.Option(
            "--domain",
            "-d",
            help="Name or folder of the domain whose data to check; with further ones "
            "the memory for serving all of them is checked (default: movies).",
        ),
    ] = None,
    engine: Annotated[
        bool, typer.Option("--engine", help="Also start the engine and send it a prompt (20 s).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every part of the installation, and say how to fix what fails."""
    from recsys.config import load_settings
    from recsys.doctor import run_checks, settings_check

    first, *others = domain or ["movies"]
    with ProgressBars() as progress:
        progress("checking", 0, 0)
        try:
            checks = run_checks(load_settings(), first, engine, others)
        except ConfigError as error:
            checks = [settings_check(error)]
    if as_json:
        print_json([check.model_dump(mode="json") for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            console.print(
                f"{_MARKS[check.status]}  {escape(check.name):<{width}}  {escape(check.detail)}",
                highlight=False,
            )
            if check.status != "ok" and check.fix:
                console.print(f"      [cyan]->[/] {escape(check.fix)}", highlight=False)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)
