"""`recsys evaluate robustness`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.evaluate_options import (
    DEFAULT_OUT,
    ColdOption,
    LastOption,
    OutOption,
    OverwriteOption,
    PartOption,
    SeedOption,
    ShareOption,
    SplitOption,
    SplitOptions,
    UsersOption,
    command_line,
    evaluation_data,
    system_names,
)
from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, format_with_interval, print_json

if TYPE_CHECKING:
    from rich.table import Table

ATTACK_ROWS = (  # label, prefix and name in `result.json`
    ("rank lift, median", "", "rank_lift"),
    ("rank lift, mean", "", "rank_lift_mean"),
    ("places above neutral text", "", "lift_over_neutral"),
    ("share above neutral text", "", "above_neutral"),
    ("share below neutral text", "", "below_neutral"),
    ("promotion@10", "", "promotion@10"),
    ("the model alone: rank lift", "model_", "rank_lift_mean"),
    ("above neutral text", "model_", "lift_over_neutral"),
)


def evaluate_robustness(
    domain: DomainOption = "movies",
    attack: Annotated[
        bool, typer.Option("--attack", help="Insert adversarial texts; how far do they move an item?")
    ] = False,
    noise: Annotated[
        bool,
        typer.Option(
            "--noise", help="Insert random items into histories; what is kept, with and without filter?"
        ),
    ] = False,
    systems: Annotated[
        str, typer.Option("--systems", "-s", help="Systems that rank the noisy histories: 'llm,hybrid'.")
    ] = "hybrid",
    users: UsersOption = None,
    out: OutOption = DEFAULT_OUT,
    split: SplitOption = "leave-one-out",
    part: PartOption = "test",
    last: LastOption = 1,
    cold: ColdOption = 0,
    share: ShareOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what adversarial texts and random events in a history do to a ranking.

    Runs both studies unless one of --attack and --noise is given.
    An interrupted run continues where it stopped.
    """
    from recsys.config import load_domain
    from recsys.data.importers import read_domain
    from recsys.evaluation.robustness import attacks
    from recsys.evaluation.robustness import noise as noises

    both = attack == noise
    loaded = load_domain(domain)
    options = SplitOptions(split, part, last, cold, share, users, seed)
    result: dict[str, Any] = {}
    with ProgressBars() as progress:
        batch = read_domain(loaded, progress)
        data = evaluation_data(loaded, batch, options.split(batch, loaded), seed, progress)
        if attack or both:
            result = attacks.study(data, out, overwrite=overwrite, command=command_line())
        if noise or both:
            # Only the first study may replace what another run left.
            replace = overwrite and not (attack or both)
            names = system_names(systems)
            result = noises.study(data, names, out, overwrite=replace, command=command_line())
    if as_json:
        print_json(result)
        return
    if attack or both:
        _show_attack(result)
    if noise or both:
        _show_noise(result)
    console.print(f"result: {out / 'result.json'}", style="dim", highlight=False, markup=False)


def _show_attack(result: Mapping[str, Any]) -> None:
    measures = result["attack"]
    title = f"{result['attacks']} attacks, {measures['rank_lift']['n']:,} times"
    table = _table(title, "attack", "neutral", "undefended")
    for label, prefix, name in ATTACK_ROWS:
        kinds = ("", "neutral_", "undefended_")
        table.add_row(label, *(_cell(measures.get(prefix + kind + name)) for kind in kinds))
    console.print(table)
    rest = _table("", "value")
    for label, name in {
        "reasons that echo an attack": "echoes",
        "NDCG@10": "ndcg@10",
        "NDCG@10 lost to the defence": "ndcg_lost",
    }.items():
        rest.add_row(label, _cell(measures.get(name)))
    console.print(rest)


def _show_noise(result: Mapping[str, Any]) -> None:
    for system, measures in result["noise"].items():
        title = f"random items in the history: {system}"
        table = _table(title, "NDCG@10", "kept", "filtered", "kept", "gain")
        for level in ("0%", "10%", "20%", "30%"):
            names = (
                f"ndcg@10_{level}",
                f"kept_{level}",
                f"ndcg@10_{level}_filtered",
                f"kept_{level}_filtered",
                f"gain_{level}",
            )
            table.add_row(level, *(_cell(measures[name]) for name in names))
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim", title=escape(title), title_justify="left")
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cell(interval: Mapping[str, float] | None) -> str:
    return format_with_interval(interval, separator=" ")
