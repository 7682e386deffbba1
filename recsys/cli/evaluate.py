"""`recsys evaluate`: ranking quality; its subcommands measure the rest."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from recsys.cli.evaluate_online import evaluate_online
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
    SystemsOption,
    UsersOption,
    command_line,
    evaluation_data,
    system_names,
)
from recsys.cli.evaluate_reasons import evaluate_reasons
from recsys.cli.evaluate_robustness import evaluate_robustness
from recsys.cli.evaluate_sets import evaluate_sets
from recsys.cli.evaluate_wishes import evaluate_wishes
from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, error_console, format_with_interval, print_json
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.config import Domain
    from recsys.data.batch import ImportBatch
    from recsys.data.splits import Split
    from recsys.evaluation.protocol.tasks import Protocol

ProtocolName = Literal["full", "sampled", "rated"]
WishName = Literal["none", "with-history", "alone"]
SHOWN_METRICS = ("ndcg@10", "recall@10", "mrr@10", "auc", "brier")
FORMER_FLAGS = {
    "--reasons": "reasons",
    "--attack": "robustness --attack",
    "--noise": "robustness --noise",
    "--online": "online",
}


class EvaluateGroup(TyperGroup):
    """Answers a flag that became a subcommand with the name of that command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the subcommand. Raises RequestError for a former flag."""
        for word in itertools.takewhile(lambda word: word not in self.commands, args):
            if command := FORMER_FLAGS.get(word):
                raise RequestError(
                    f"{word} is a command of its own now", hint=f"use recsys evaluate {command}"
                )
        return super().parse_args(ctx, args)


app = typer.Typer(cls=EvaluateGroup)
app.command("reasons")(evaluate_reasons)
app.command("robustness")(evaluate_robustness)
app.command("online")(evaluate_online)
app.command("sets")(evaluate_sets)
app.command("wishes")(evaluate_wishes)


@dataclass(frozen=True)
class TaskOptions:
    """What systems rank for the cases of a split."""

    protocol: ProtocolName
    sampled: int  # items other than the target in the sampled protocol
    new_only: bool
    wish: WishName
    candidates: Path | None
    seed: int

    def check(self) -> None:
        """Raise RequestError for options that contradict each other."""
        if self.candidates is not None and self.protocol != "full":
            raise RequestError(
                f"--candidates and --protocol {self.protocol} are two protocols", hint="choose one of them"
            )
        if self.new_only and (self.protocol == "rated" or self.candidates is not None):
            raise RequestError(
                "--new-only ranks items of the split", hint="use --protocol full or sampled with it"
            )
        if self.wish != "none" and self.protocol == "rated":
            raise RequestError(
                "rated pairs have nothing to wish for", hint="leave out --wish or --protocol rated"
            )

    def apply(self, split: Split, batch: ImportBatch, domain: Domain) -> tuple[Split, Protocol]:
        """Give the cases their wishes and candidates."""
        from recsys.evaluation.protocol import tasks
        from recsys.evaluation.protocol.wishes import with_wishes

        if self.wish != "none":
            by_id = {item.id: item for item in batch.items}
            split = with_wishes(split, by_id, domain, self.wish, seed=self.seed)
        ids = [item.id for item in batch.items]
        if split.name == tasks.SHOWN.name:
            return split, tasks.SHOWN
        if self.new_only:
            n = self.sampled if self.protocol == "sampled" else None
            return tasks.among_new_items(split, n, seed=self.seed)
        if self.candidates is not None:
            users = {user.id for user in batch.users}
            return tasks.candidates_from_file(split, self.candidates, users, set(ids), seed=self.seed)
        if self.protocol == "sampled":
            return tasks.sampled(split, ids, self.sampled, seed=self.seed)
        return (
            tasks.rated(split, domain.feedback)
            if self.protocol == "rated"
            else (split, tasks.REPEATS if split.name == "next-basket" else tasks.FULL)
        )


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    domain: DomainOption = "movies",
    systems: SystemsOption = "hybrid",
    users: UsersOption = None,
    out: OutOption = DEFAULT_OUT,
    split: SplitOption = "leave-one-out",
    part: PartOption = "test",
    last: LastOption = 1,
    cold: ColdOption = 0,
    share: ShareOption = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            "--protocol",
            help="full: rank the catalogue; sampled: target + sampled items, not comparable with full; "
            "rated: separate liked from disliked items.",
        ),
    ] = "full",
    sampled: Annotated[
        int, typer.Option("--sampled", help="Items other than the target in the sampled protocol.")
    ] = 19,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="cold-items: rank, or sample from, the new items alone.")
    ] = False,
    wish: Annotated[
        WishName,
        typer.Option(
            "--wish",
            help="Ask for the target in words made of its attributes, without its title: "
            "together with the history, or alone.",
        ),
    ] = "none",
    candidates: Annotated[
        Path | None,
        typer.Option("--candidates", help="Rank these: a JSON file, user id -> list of item ids."),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", help="How many items of the catalogue are ranked.")] = 100,
    seed: SeedOption = 0,
    only: Annotated[
        bool, typer.Option("--only", help="Leave out the baselines that every table has.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare recommenders on held-out events, with intervals and leak checks.

    An interrupted run continues where it stopped. Exits with 1 if a system failed.
    The commands below measure reasons, robustness and scenarios.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context, context.invoked_subcommand)
        return
    from recsys.config import load_domain
    from recsys.data.importers import read_domain
    from recsys.evaluation import runner

    task = TaskOptions(protocol, sampled, new_only, wish, candidates, seed)
    task.check()
    options = SplitOptions(split, part, last, cold, share, users, seed)
    loaded = load_domain(domain)
    with ProgressBars() as progress:
        batch = read_domain(loaded, progress)
        cases, how = task.apply(options.split(batch, loaded), batch, loaded)
        data = evaluation_data(loaded, batch, cases, seed, progress)
        run = runner.RunOptions(how, depth, not only, overwrite, command_line())
        result = runner.evaluate(data, system_names(systems), out, run)
    if as_json:
        print_json(result)
    else:
        _show(result, out)
    if result["failed"]:
        raise typer.Exit(1)


def _refuse_options(context: typer.Context, command: str) -> None:
    """Raise RequestError for options before the subcommand, which it would not see."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            flag = parameter.opts[0]
            raise RequestError(
                f"{flag} must come after '{command}'", hint=f"write recsys evaluate {command} {flag} ..."
            )


def _show(result: Mapping[str, Any], out: Path) -> None:
    from rich.markup import escape

    run, systems, primary = result["run"], result["systems"], result["primary"]
    order = sorted(systems, key=lambda name: -systems[name]["metrics"][primary]["value"])
    if systems:
        _show_systems(result, order)
    for name in order:
        if name in run["requested"] and (calibration := systems[name]["calibration"]):
            console.print(_calibration(escape(name), calibration))
    for note in result["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for name, message in result["failed"].items():
        error_console.print(f"[bold red]failed:[/] {escape(name)}: {escape(message)}")
    console.print(f"report: {escape(str(out / 'report.html'))}", style="dim")


def _show_systems(result: Mapping[str, Any], order: list[str]) -> None:
    """Print a row per system, with its difference to the best of the others."""
    from rich.markup import escape
    from rich.table import Table

    run, systems, primary = result["run"], result["systems"], result["primary"]
    rival = next((name for name in order if name not in run["requested"]), order[0])
    metrics = [
        metric for metric in SHOWN_METRICS if any(metric in system["metrics"] for system in systems.values())
    ]
    title = f"{run['title']}, {run['part']}, {run['users']:,} users"
    table = Table(box=None, padding=(0, 1), header_style="dim", title=escape(title), title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in (*metrics, f"{primary}\nminus\n{rival}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in order:
        values = systems[name]["metrics"]
        cells = [format_with_interval(values.get(metric)) for metric in metrics]
        difference = result["paired"].get(f"{name}-{rival}", {}).get(primary)
        label = f"[bold cyan]{name}[/]" if name in run["requested"] else name
        table.add_row(label, *cells, format_with_interval(difference, sign="+"))
    console.print(table)


def _calibration(name: str, calibration: Mapping[str, Any]) -> str:
    """Format the calibration error, and what it is after each recalibration."""
    from recsys.evaluation.results.report import figure

    def error(curve: Mapping[str, Any]) -> str:
        return f"{figure(curve['ece'], 4)} ({figure(curve['ece_low'], 4)} to {figure(curve['ece_high'], 4)})"

    after = calibration.get("after", {})
    recalibrated = (f"; after {method} {error(curve)}" for method, curve in after.items())
    return f"[dim]calibration error of[/] {name}: {error(calibration)}{''.join(recalibrated)}"
