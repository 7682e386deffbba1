"""`recsys evaluate sets`."""

from __future__ import annotations

from collections.abc import Mapping
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
from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, format_with_interval, plain_table, print_json


def evaluate_sets(
    domain: DomainOption = "medicine",
    known: Annotated[
        int, typer.Option("--known", min=1, help="How many first events of a person are known.")
    ] = 1,
    users: UsersOption = None,
    out: OutOption = DEFAULT_OUT,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure recommended sets under the rules of a domain and without.

    The size of a set follows from a threshold for p, chosen on other people by the mean Jaccard.
    """
    from recsys.config import load_domain, load_settings
    from recsys.evaluation import sets

    loaded = load_domain(domain)
    options = sets.SetOptions(known, users, seed, overwrite, command_line())
    with ProgressBars() as progress:
        result = sets.evaluate_sets(loaded, out, load_settings(), options, progress)
    if as_json:
        print_json(result)
    else:
        _show(result["sets"])


SHOWN = ("rules", "no rules", "popularity, rules")


def _show(section: Mapping[str, Any]) -> None:
    """Print a column per system, and what the rules cost."""
    systems = {name: section["systems"][name] for name in SHOWN}
    table = plain_table(f"{section['people']:,} people", *systems, "no rules\nminus rules")
    table.columns[0].no_wrap = True
    for measure in systems["rules"]["measures"]:
        cells = [format_with_interval(system["measures"][measure]) for system in systems.values()]
        table.add_row(measure, *cells, format_with_interval(section["rules_cost"].get(measure), sign="+"))
    table.add_row("threshold of p", *(f"{system['threshold']:.3f}" for system in systems.values()), "")
    console.print(table)
