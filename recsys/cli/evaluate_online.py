"""`recsys evaluate --online`: the arms of scenarios, compared by what people said of what they were served."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsys.cli.output import console, with_interval

if TYPE_CHECKING:
    from recsys.evaluation.online import OnlineResult
    from recsys.utils.intervals import Interval


def run_online(domain: str, scenario: str | None, since: dt.datetime | None) -> list[OnlineResult]:
    """Compare from the store of this machine's settings. `since` is UTC unless it says otherwise."""
    from recsys.config import load_domain, load_settings
    from recsys.data.store import Store
    from recsys.evaluation.online import evaluate_online

    found = load_domain(domain)
    moment = None if since is None else (since if since.tzinfo else since.replace(tzinfo=dt.UTC)).timestamp()
    with Store(load_settings().database_url) as store:
        return evaluate_online(store, found, scenario, since=moment)


def show_online(results: Sequence[OnlineResult]) -> None:
    """A table for each scenario: an arm a line, and below a rate its interval and its difference to the control."""
    from rich.markup import escape
    from rich.table import Table

    from recsys.evaluation.online import RATES

    for result in results:
        title = escape(f"{result.domain}: {result.scenario}")
        table = Table(box=None, padding=(0, 1), header_style="dim", title=title, title_justify="left")
        table.add_column("arm", no_wrap=True)
        for name in ("share", "people", "lists", *(rate.replace("_", " ") for rate in RATES)):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("feedback")
        for arm in result.arms:
            rates = [_cell(arm.rates.get(rate), arm.differences.get(rate)) for rate in RATES]
            said = ", ".join(f"{count:,} {event}" for event, count in arm.feedback.items())
            counts = f"{arm.share:.0%}", f"{arm.users:,}", f"{arm.served:,}"
            table.add_row(escape(arm.arm), *counts, *rates, said or "none")
        console.print(table)
        if result.mismatch_p is not None:
            console.print(f"people as the shares say: p {result.mismatch_p:.3g} (chi-square)", style="dim")
        for note in result.notes:
            console.print(f"[yellow]note:[/] {escape(note)}")


def _cell(rate: Interval | None, difference: Interval | None) -> str:
    """The rate with its interval, then the difference: bold where its interval leaves out 0."""
    from recsys.evaluation.results.report import figure

    shown = with_interval(dataclasses.asdict(rate) if rate else None)
    if difference is None:
        return shown
    sign = "+" if difference.value > 0 else ""
    style = "bold" if difference.low > 0 or difference.high < 0 else "dim"
    against = f"{sign}{figure(difference.value)} ({figure(difference.low)} to {figure(difference.high)})"
    return f"{shown}\n[{style}]{against}[/]"
