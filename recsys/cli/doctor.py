"""`recsys doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from recsys.cli.options import JsonOption
from recsys.cli.output import ProgressBars, console, print_json
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.data.batch import Progress
    from recsys.doctor import Check

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
    reasons: Annotated[
        int,
        typer.Option(
            "--reasons",
            min=0,
            help="Also measure, on the lists of so many people, whether the model may word reasons itself.",
        ),
    ] = 0,
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
        if reasons and all(check.status != "fail" for check in checks):
            checks.append(_own_words(first, reasons, progress))
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


def _own_words(domain: str, n_users: int, progress: Progress) -> Check:
    """Measure the model as a free writer of reasons."""
    from recsys.doctor import Check
    from recsys.evaluation.explanations.own_words import measure_own_words
    from recsys.evaluation.explanations.study import sample_users
    from recsys.recommender.recommender import Recommender

    with Recommender.load(domain) as recommender:
        events = recommender.store.interactions(recommender.domain.name)
        users = sample_users(sorted({event.user_id for event in events}), n_users, seed=0)
        record = measure_own_words(recommender, users, progress)
    writes = "it words reasons itself" if record.may_write else "reasons are forms of the grammar"
    return Check(
        name="reasons",
        status="ok",
        detail=f"{record.written:.0%} of {record.reasons} reasons in the model's own words pass, "
        f"{record.by_rule:.0%} by rule; its check holds {record.true_held:.0%} of true and "
        f"{record.false_held:.0%} of false sentences (AUC {record.auc:.2f}): {writes}",
    )
