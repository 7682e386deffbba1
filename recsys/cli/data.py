"""`recsys import`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rich.markup import escape

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, plain_table, print_json

if TYPE_CHECKING:
    from recsys.data.batch import ImportOutcome, ImportReport


def import_data(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """Import a domain's files into the store; nothing is imported if a row is wrong."""
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import import_domain
    from recsys.data.store import Store

    config = load_domain(domain)
    settings = load_settings()
    with ProgressBars() as progress, Store(settings.database_url) as store:
        outcome = import_domain(config, store, progress)
    if as_json:
        report = outcome.report
        print_json(
            {
                # One level only: `asdict` cannot copy a Counter.
                "report": {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
                | {"sources": report.sources and report.sources.model_dump(mode="json")},
                "result": dataclasses.asdict(outcome.result),
            }
        )
    else:
        _print_outcome(config.title or config.name, outcome)


def _print_outcome(title: str, outcome: ImportOutcome) -> None:
    report = outcome.report
    table = plain_table(title, "rows", "added", "updated", "unchanged", "duplicates")
    for name in ("items", "users", "interactions"):
        change = getattr(outcome.result, name)
        counts = (report.rows[name], change.added, change.updated, change.unchanged, report.duplicates[name])
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print(table)
    for name, count in report.edges.items():
        console.print(f"  relation {name}: {count:,} edges", style="dim")
    for field, count in sorted(report.missing.items()):
        console.print(f"  {count:,} {field} treated as missing", style="dim")
    for reason, count in report.left_out.items():
        if count:
            console.print(f"  left out: {count:,} {escape(reason)}", style="dim")
    for source in report.sources.sources if report.sources else ():
        console.print(f"  {source.source}: {source.summary}", style="dim", highlight=False)
    if report.years_from_titles:
        console.print(f"  {report.years_from_titles:,} years taken from titles", style="dim")
    if report.tied_timestamps:
        console.print(
            f"  {report.tied_timestamps:,} events share a timestamp: file order breaks the tie", style="dim"
        )
    _print_events(report)


def _print_events(report: ImportReport) -> None:
    for table, count in report.skipped.items():
        sample = ", ".join(map(repr, report.skipped_ids[table]))
        console.print(f"  {count:,} events of unknown {table} skipped, such as {escape(sample)}")
    if report.time_span:
        console.print(f"  events from {report.time_span[0]} to {report.time_span[1]}", style="dim")
    for of, counts in report.events_per.items():
        console.print(f"  events per {of}: median {counts['median']:g}, max {counts['max']:,}", style="dim")
    if report.feedback["liked"] or report.feedback["disliked"]:
        kinds = ", ".join(f"{report.feedback[kind]:,} {kind}" for kind in ("liked", "disliked", "neither"))
        console.print(f"  {kinds}", style="dim")
    for warning in report.warnings:
        console.print(f"  warning: {escape(warning)}", style="yellow")
