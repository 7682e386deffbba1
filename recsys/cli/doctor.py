"""`recsys doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys.cli.output import ProgressBars, console, print_json

_MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


def doctor(
    domain: Annotated[
        str | None, typer.Option("--domain", "-d", help="Also check this domain's data.")
    ] = "movies",
    engine: Annotated[
        bool, typer.Option("--engine", help="Start the engine and ask it something (20 s).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check the installation piece by piece; each failure names its fix."""
    from rich.markup import escape

    from recsys.config import load_settings
    from recsys.doctor import run_checks

    with ProgressBars() as progress:
        progress("checking", 0, 0)
        checks = run_checks(load_settings(), domain, engine)
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
