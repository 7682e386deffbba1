"""`recsys evaluate online`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import console, format_with_interval, print_json

if TYPE_CHECKING:
    from recsys.evaluation.online import OnlineResult
    from recsys.utils.intervals import Interval

DATE_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def evaluate_online(
    domain: DomainOption = "movies",
    scenario: Annotated[str | None, typer.Option("--scenario", help="Only this one (default: each).")] = None,
    since: Annotated[
        dt.datetime | None,
        typer.Option("--since", formats=DATE_FORMATS, help="Only lists served since then, UTC."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the arms of scenarios by the feedback that the service recorded."""
    from recsys.config import load_domain, load_settings
    from recsys.data.store import Store
    from recsys.evaluation import online

    loaded = load_domain(domain)
    moment = None if since is None else (since if since.tzinfo else since.replace(tzinfo=dt.UTC)).timestamp()
    with Store(load_settings().database_url) as store:
        results = online.evaluate_online(store, loaded, scenario, since=moment)
    if as_json:
        print_json([dataclasses.asdict(result) for result in results])
    else:
        _show(results)


def _show(results: Sequence[OnlineResult]) -> None:
    """Print a table per scenario: a row per arm, rates above differences to control."""
    from rich.markup import escape
    from rich.table import Table

    from recsys.evaluation.online import RATES

    for result in results:
        title = escape(f"{result.domain}: {result.scenario}")
        table = Table(box=None, padding=(0, 1), header_style="dim", title=title, title_justify="left")
        table.add_column("arm", no_wrap=True)
        for heading in ("share", "people", "lists", *(rate.replace("_", " ") for rate in RATES)):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("feedback")
        for arm in result.arms:
            rates = [_cell(arm.rates.get(rate), arm.differences.get(rate)) for rate in RATES]
            feedback = ", ".join(f"{count:,} {event}" for event, count in arm.feedback.items())
            counts = f"{arm.share:.0%}", f"{arm.users:,}", f"{arm.served:,}"
            table.add_row(escape(arm.arm), *counts, *rates, feedback or "none")
        console.print(table)
        if result.mismatch_p is not None:
            console.print(f"people against the shares: p {result.mismatch_p:.3g} (chi-square)", style="dim")
        for note in result.notes:
            console.print(f"[yellow]note:[/] {escape(note)}")


def _cell(rate: Interval | None, difference: Interval | None) -> str:
    """Format the rate and its difference, bold if the interval excludes 0."""
    from recsys.evaluation.results.report import figure

    cell = format_with_interval(dataclasses.asdict(rate) if rate else None)
    if difference is None:
        return cell
    sign = "+" if difference.value > 0 else ""
    style = "bold" if difference.low > 0 or difference.high < 0 else "dim"
    against = f"{sign}{figure(difference.value)} ({figure(difference.low)} to {figure(difference.high)})"
    return f"{cell}\n[{style}]{against}[/]"
