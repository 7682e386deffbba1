"""`recsys evaluate reasons`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.cli.evaluate_options import (
    DEFAULT_OUT,
    OutOption,
    OverwriteOption,
    SeedOption,
    UsersOption,
    command_line,
)
from recsys.cli.options import DomainOption, JsonOption, LanguageOption, StyleOption
from recsys.cli.output import ProgressBars, console, print_json


def evaluate_reasons(
    domain: DomainOption = "movies",
    users: UsersOption = None,
    out: OutOption = DEFAULT_OUT,
    k: Annotated[int, typer.Option("-k", help="Measure the reasons of the first K items.")] = 5,
    wish: Annotated[
        bool, typer.Option("--wish/--no-wish", help="Ask in words for an item of the catalogue.")
    ] = False,
    lang: LanguageOption = None,
    style: StyleOption = None,
    references: Annotated[
        Path | None,
        typer.Option("--references", help='What people wrote, lines of {"item": ID, "text": "..."}.'),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests sent at the same time.")] = 1,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure whether the served reasons are true, and what they cost.

    An interrupted run continues where it stopped.
    """
    from recsys.evaluation.explanations import study
    from recsys.evaluation.explanations.references import read_references
    from recsys.recommender.recommender import Recommender

    options = study.StudyOptions(
        users=users,
        k=k,
        seed=seed,
        language=lang,
        style=style,
        wishes=wish,
        concurrency=concurrency,
        overwrite=overwrite,
        command=command_line(),
    )
    texts = read_references(references) if references else None
    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        result = study.evaluate_reasons(recommender, out, options, references=texts, progress=progress)
    if as_json:
        print_json(result)
    else:
        _show(result, out)


def _show(result: Mapping[str, Any], out: Path) -> None:
    """Print every measure with its interval."""
    from rich.markup import escape
    from rich.table import Table

    from recsys.evaluation.results.report import figure

    run = result["run"]
    title = f"{run['title']}: {run['reasons']:,} reasons, {run['users']:,} users, {run['model']}"
    table = Table(box=None, padding=(0, 1), header_style="dim", title=escape(title), title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True, style="dim")
    for name, measure in result["reasons"].items():
        label = escape(name.replace("_", " "))
        label = f"[dim]  {label.partition(':')[2]}[/]" if ":" in name else label
        interval = f"{figure(measure['low'])} to {figure(measure['high'])}"
        table.add_row(label, figure(measure["value"]), interval)
    console.print(table)
    for note in result["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}")
    console.print(f"report: {out / 'report.html'}", style="dim", highlight=False, markup=False)
