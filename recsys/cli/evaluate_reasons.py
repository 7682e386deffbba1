"""`recsys evaluate --reasons`: what it takes, and its table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from recsys.cli.output import ProgressBars, console
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.config import Style

Evaluated = Literal["rankings", "reasons", "arms"]
OF_REASONS = {"reasons", "k", "lang", "style", "references", "concurrency"}
OF_ARMS = {"online", "scenario", "since"}
TAKEN = {
    "reasons": {"domain", "users", "out", "seed", "wish", "overwrite", "as_json"} | OF_REASONS,
    "arms": {"domain", "as_json"} | OF_ARMS,
}


def check_options(context: typer.Context, what: Evaluated) -> None:
    """Raise RequestError for an option that was given and says nothing of what is evaluated."""
    given = {name for name in context.params if _given(context, name)}
    if wrong := sorted(given - TAKEN[what] if what in TAKEN else given & (OF_REASONS | OF_ARMS)):
        flag = next(p.opts[0] for p in context.command.params if p.name == wrong[0])
        own = "--online" if wrong[0] in OF_ARMS else "--reasons"
        hint = f"it is for {own}" if what == "rankings" else "leave one of the two out"
        raise RequestError(f"{flag} says nothing of {what}", hint=hint)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def run_reasons(
    domain: str,
    out: Path,
    *,
    users: int | None,
    k: int,
    seed: int,
    lang: str | None,
    style: Style | None,
    references: Path | None,
    wish: Literal["none", "with-history", "alone"],
    concurrency: int,
    overwrite: bool,
    command: str,
) -> dict[str, Any]:
    """Load the domain, ask and measure; what `result.json` holds."""
    from recsys.evaluation.explanations.references import read_references
    from recsys.evaluation.explanations.study import evaluate_reasons
    from recsys.recommender.recommender import Recommender

    if wish == "alone":
        raise RequestError("reasons are asked for by people with a history", hint="use --wish with-history")
    texts = read_references(references) if references else None
    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        return evaluate_reasons(
            recommender,
            out,
            users=users,
            k=k,
            seed=seed,
            language=lang,
            style=style,
            references=texts,
            wishes=wish == "with-history",
            concurrency=concurrency,
            overwrite=overwrite,
            command=command,
            progress=progress,
        )


def show_reasons(result: Mapping[str, Any], out: Path) -> None:
    """Every measure with its interval."""
    from rich.markup import escape
    from rich.table import Table

    from recsys.evaluation.results.report import figure

    run = result["run"]
    title = f"{run['title']}: {run['reasons']:,} reasons, {run['users']:,} users, {run['model']}"
    table = Table(box=None, padding=(0, 1), header_style="dim", title=escape(title), title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True, style="dim")
    for name, found in result["reasons"].items():
        label = escape(name.replace("_", " "))
        label = f"[dim]  {label.partition(':')[2]}[/]" if ":" in name else label
        table.add_row(label, figure(found["value"]), f"{figure(found['low'])} to {figure(found['high'])}")
    console.print(table)
    for note in result["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}")
    console.print(f"report: {out / 'report.html'}", style="dim", highlight=False, markup=False)
