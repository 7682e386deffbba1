"""`recsys evaluate --attack` and `--noise`: the studies, and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.cli.output import console, print_json, with_interval

if TYPE_CHECKING:
    from rich.table import Table

    from recsys.evaluation.protocol.base import EvaluationData

SHOWN = (
    ("rank lift, median", "", "rank_lift"),
    ("rank lift, mean", "", "rank_lift_mean"),
    ("places above neutral text", "", "lift_over_neutral"),
    ("share above neutral text", "", "above_neutral"),
    ("share below neutral text", "", "below_neutral"),
    ("promotion@10", "", "promotion@10"),
    ("the model alone: rank lift", "model_", "rank_lift_mean"),
    ("above neutral text", "model_", "lift_over_neutral"),
)


def run_studies(
    data: EvaluationData,
    systems: Sequence[str],
    out: Path,
    *,
    attack: bool,
    noise: bool,
    overwrite: bool,
    command: str,
) -> dict[str, Any]:
    """One or both; returns what `result.json` holds."""
    from recsys.evaluation.robustness import attacks
    from recsys.evaluation.robustness import noise as noises

    result: dict[str, Any] = {}
    if attack:
        result = attacks.study(data, out, overwrite=overwrite, command=command)
    if noise:
        # Only the first study may take the place of what another run left.
        result = noises.study(data, systems, out, overwrite=overwrite and not attack, command=command)
    return result


def show_studies(result: Mapping[str, Any], out: Path, as_json: bool, *, attack: bool, noise: bool) -> None:
    """Tables, or the JSON as it is in the file."""
    if as_json:
        print_json(result)
        return
    if attack:
        _show_attack(result)
    if noise:
        _show_noise(result)
    console.print(f"result: {out / 'result.json'}", style="dim", highlight=False, markup=False)


def _show_attack(result: Mapping[str, Any]) -> None:
    found = result["attack"]
    table = _table(
        f"{result['attacks']} attacks, {found['rank_lift']['n']:,} times", "attack", "neutral", "undefended"
    )
    for label, half, name in SHOWN:
        table.add_row(
            label, *(_cell(found.get(half + kind + name)) for kind in ("", "neutral_", "undefended_"))
        )
    console.print(table)
    rest = _table("", "value")
    for label, name in {
        "reasons that echo an attack": "echoes",
        "NDCG@10": "ndcg@10",
        "NDCG@10 lost to the defence": "ndcg_lost",
    }.items():
        rest.add_row(label, _cell(found.get(name)))
    console.print(rest)


def _show_noise(result: Mapping[str, Any]) -> None:
    for system, found in result["noise"].items():
        table = _table(
            f"random items in the history: {system}", "NDCG@10", "kept", "filtered", "kept", "gain"
        )
        for level in ("0%", "10%", "20%", "30%"):
            names = (
                f"ndcg@10_{level}",
                f"kept_{level}",
                f"ndcg@10_{level}_filtered",
                f"kept_{level}_filtered",
                f"gain_{level}",
            )
            table.add_row(level, *(_cell(found[name]) for name in names))
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim", title=escape(title), title_justify="left")
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cell(found: Mapping[str, float] | None) -> str:
    return with_interval(found, between=" ")
