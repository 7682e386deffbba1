"""`recsys import` and `recsys domains`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from recsys.cli.output import ProgressBars, console, print_json


def import_data(
    domain: Annotated[str, typer.Option("--domain", "-d", help="Name or folder of a domain.")] = "movies",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Read a domain's files into the store: every row checked, all or nothing, repeatable."""
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import import_domain
    from recsys.data.store import Store

    found = load_domain(domain)
    settings = load_settings()
    with ProgressBars() as progress, Store(settings.database_url) as store:
        outcome = import_domain(found, store, progress)
    if as_json:
        report, result = outcome.report, outcome.result
        print_json(
            {
                # One level only: `asdict` cannot copy a Counter.
                "report": {field.name: getattr(report, field.name) for field in dataclasses.fields(report)},
                "result": dataclasses.asdict(result),
            }
        )
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in (found.title or found.name, "rows", "added", "updated", "unchanged", "duplicates"):
        table.add_column(heading, justify="left" if heading == (found.title or found.name) else "right")
    report = outcome.report
    for name in ("items", "users", "interactions"):
        change = getattr(outcome.result, name)
        counts = (report.rows[name], change.added, change.updated, change.unchanged, report.duplicates[name])
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print(table)
    for field, count in sorted(report.missing.items()):
        console.print(f"  {count:,} {field} treated as missing", style="dim")
    if report.years_from_titles:
        console.print(f"  {report.years_from_titles:,} years taken from titles", style="dim")
    if report.tied_timestamps:
        console.print(
            f"  {report.tied_timestamps:,} events share a timestamp: file order breaks the tie", style="dim"
        )


def domains(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """The domains that come with whyrec, and what the store holds of them."""
    from recsys.config import list_domains, load_domain, load_settings
    from recsys.data.store import Store

    with Store(load_settings().database_url) as store:
        rows = [(load_domain(name), store.counts(name)) for name in list_domains()]
    if as_json:
        print_json(
            [{"name": d.name, "title": d.title, "licence": d.licence, "counts": counts} for d, counts in rows]
        )
        return
    for found, counts in rows:
        held = (
            ", ".join(f"{count:,} {table}" for table, count in counts.items())
            if counts["items"]
            else "not imported"
        )
        console.print(f"[bold]{found.name}[/]  {found.title}: {held}")
        if found.licence:
            console.print(f"  {found.licence}", style="dim")
