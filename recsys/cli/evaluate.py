"""`recsys evaluate`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys.cli.evaluate_online import run_online, show_online
from recsys.cli.evaluate_reasons import check_options, run_reasons, show_reasons
from recsys.cli.output import ProgressBars, console, errors, print_json, with_interval
from recsys.cli.recommend import LanguageOption, StyleOption
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.data.batch import ImportBatch
    from recsys.data.splits import Split
    from recsys.evaluation.protocol.tasks import Protocol

SplitName = Literal["leave-one-out", "temporal", "cold-users", "cold-items"]
PartName = Literal["test", "validation"]
ProtocolName = Literal["full", "sampled", "rated"]
WishName = Literal["none", "with-history", "alone"]
DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
SHARE = {"temporal": 0.8, "cold-items": 0.1, "cold-users": 0.5}
SHOWN = ("ndcg@10", "recall@10", "mrr@10", "auc", "brier")


def evaluate(
    context: typer.Context,
    domain: Annotated[str, typer.Option("--domain", "-d", help="Name or folder of a domain.")] = "movies",
    systems: Annotated[
        str, typer.Option("--systems", "-s", help="Systems to evaluate, by name: 'llm,hybrid'.")
    ] = "hybrid",
    users: Annotated[
        int | None, typer.Option("--users", help="Evaluate so many users, drawn by the seed (default: all).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of result, report and rankings.")] = Path(
        "evaluation"
    ),
    split: Annotated[
        SplitName,
        typer.Option("--split", help="How events are held out; cold-* make users or items new."),
    ] = "leave-one-out",
    part: Annotated[PartName, typer.Option("--part", help="validation to tune by, test to report.")] = "test",
    last: Annotated[
        int, typer.Option("--last", help="Hold out each user's last so many events, each a target.")
    ] = 1,
    cold: Annotated[
        int, typer.Option("--cold", help="How many first events of a new user are known, for cold-users.")
    ] = 0,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            help="temporal: share of the events to learn from (.8); cold-users: share of users made new (.5); "
            "cold-items: share of items made new (.1).",
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            "--protocol",
            help="full: rank the catalogue; sampled: target + sampled items, which does not compare with full; "
            "rated: tell liked from disliked.",
        ),
    ] = "full",
    sampled: Annotated[
        int, typer.Option("--sampled", help="Items beside the target in the sampled protocol.")
    ] = 19,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="cold-items: rank, or sample from, the new items alone.")
    ] = False,
    wish: Annotated[
        WishName,
        typer.Option(
            "--wish",
            help="Ask for the target in words made of its own facts, title withheld: beside the history, or alone. "
            "--reasons: for an item of the catalogue, beside.",
        ),
    ] = "none",
    candidates: Annotated[
        Path | None,
        typer.Option("--candidates", help="Rank these: a JSON file, user id -> list of item ids."),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", help="How many items of the catalogue are ranked.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw: users, items, resamples.")] = 0,
    attack: Annotated[
        bool,
        typer.Option(
            "--attack", help="Plant hostile texts, and tell how far they move an item in the served ranking."
        ),
    ] = False,
    noise: Annotated[
        bool,
        typer.Option(
            "--noise", help="Put random items into histories; what is kept, with and without the filter."
        ),
    ] = False,
    reasons: Annotated[
        bool,
        typer.Option("--reasons", help="Measure the reasons of what is served instead: are they true?"),
    ] = False,
    k: Annotated[int, typer.Option("-k", help="--reasons: of the first so many items.")] = 5,
    lang: LanguageOption = None,
    style: StyleOption = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references", help='--reasons: what people wrote, lines of {"item": ID, "text": "..."}.'
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", help="--reasons: ask for so many people at the same time.")
    ] = 1,
    online: Annotated[
        bool,
        typer.Option(
            "--online", help="Compare the arms of scenarios instead, by the feedback that the service keeps."
        ),
    ] = False,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="--online: this one alone (default: each).")
    ] = None,
    since: Annotated[
        dt.datetime | None,
        typer.Option("--since", formats=DATES, help="--online: what was served since then, UTC."),
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Leave out the baselines that stand in every table.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where the folder holds another run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print result.json.")] = False,
) -> None:
    """Compare recommenders on held-out events, with intervals, leak checks and baselines.

    A run that was stopped goes on where it was. Exits with 1 if a system failed.
    """
    check_options(context, "reasons" if reasons else "arms" if online else "rankings")
    if online:
        compared = run_online(domain, scenario, since)
        if as_json:
            print_json([dataclasses.asdict(one) for one in compared])
        else:
            show_online(compared)
        return
    command = " ".join(["recsys", *sys.argv[1:]])
    if reasons:
        measured = run_reasons(
            domain,
            out,
            users=users,
            k=k,
            seed=seed,
            lang=lang,
            style=style,
            references=references,
            wish=wish,
            concurrency=concurrency,
            overwrite=overwrite,
            command=command,
        )
        if as_json:
            print_json(measured)
        else:
            show_reasons(measured, out)
        return

    from recsys.cli.evaluate_robustness import run_studies, show_studies
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import read_domain
    from recsys.data.splits import of_users
    from recsys.evaluation.protocol.base import EvaluationData
    from recsys.evaluation.protocol.tasks import among_new
    from recsys.evaluation.protocol.wishes import wished
    from recsys.evaluation.runner import evaluate as run

    names = [name for part_ in systems.split(",") if (name := part_.strip())]
    if candidates is not None and protocol != "full":
        raise RequestError(
            f"--candidates and --protocol {protocol} are two protocols", hint="choose one of them"
        )
    if new_only and (protocol == "rated" or candidates is not None):
        raise RequestError(
            "--new-only ranks items of the split", hint="use --protocol full or sampled with it"
        )
    if wish != "none" and protocol == "rated":
        raise RequestError(
            "rated pairs have nothing to wish for", hint="leave --wish or --protocol rated out"
        )
    found = load_domain(domain)
    with ProgressBars() as progress:
        batch = read_domain(found, progress)
        held_out = _split(batch, split, part, last, cold, share, seed)
        if users is not None:
            held_out = of_users(held_out, users, seed=seed)
        if wish != "none":
            by_id = {item.id: item for item in batch.items}
            held_out = wished(held_out, by_id, found, wish, seed=seed)
        if new_only:
            asked, how = among_new(held_out, sampled if protocol == "sampled" else None, seed=seed)
        else:
            asked, how = _protocol(batch, held_out, found.feedback, protocol, sampled, candidates, seed)
        data = EvaluationData.of(
            found,
            batch.items,
            {user.id: user for user in batch.users},
            asked,
            seed=seed,
            settings=load_settings(),
            progress=progress,
        )
        if attack or noise:
            asked_for = {"attack": attack, "noise": noise}
            result = run_studies(data, names, out, overwrite=overwrite, command=command, **asked_for)
            show_studies(result, out, as_json, **asked_for)
            return
        result = run(
            data,
            names,
            out,
            protocol=how,
            depth=depth,
            only=only,
            overwrite=overwrite,
            command=command,
        )
    if as_json:
        print_json(result)
    else:
        _show(result, out)
    if result["failed"]:
        raise typer.Exit(1)


def _split(
    batch: ImportBatch, name: SplitName, part: PartName, last: int, cold: int, share: float | None, seed: int
) -> Split:
    from recsys.data import splits

    chosen = SHARE.get(name, 0.0) if share is None else share
    if share is not None and name not in SHARE:
        raise RequestError(f"--share says nothing of the split {name}", hint=f"it is for {', '.join(SHARE)}")
    if not 0 < chosen <= 1 and name in SHARE:
        raise RequestError(f"a share of {chosen} cannot be", hint="choose between 0 and 1")
    if name == "temporal":
        return splits.temporal(batch.interactions, share=chosen, part=part)
    if name == "cold-items":
        return splits.cold_items(batch.interactions, share=chosen, seed=seed, part=part)
    whole = splits.leave_one_out(batch.interactions, part, last)
    return splits.cold_users(whole, cold, seed=seed, share=chosen) if name == "cold-users" else whole


def _protocol(
    batch: ImportBatch,
    split: Split,
    feedback: Any,
    name: ProtocolName,
    sampled: int,
    candidates: Path | None,
    seed: int,
) -> tuple[Split, Protocol]:
    from recsys.evaluation.protocol import tasks

    items = [item.id for item in batch.items]
    if candidates is not None:
        return tasks.from_file(split, candidates, {user.id for user in batch.users}, set(items), seed=seed)
    if name == "sampled":
        return tasks.sampled(split, items, sampled, seed=seed)
    return tasks.rated(split, feedback) if name == "rated" else (split, tasks.FULL)


def _show(result: Mapping[str, Any], out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    run, systems, primary = result["run"], result["systems"], result["primary"]
    order = sorted(systems, key=lambda name: -systems[name]["metrics"][primary]["value"])
    others = [name for name in order if name not in run["requested"]] or order
    rival = others[0] if others else ""
    metrics = [name for name in SHOWN if any(name in found["metrics"] for found in systems.values())]
    title = f"{run['title']}, {run['part']}, {run['users']:,} users"
    table = Table(box=None, padding=(0, 1), header_style="dim", title=escape(title), title_justify="left")
    table.add_column("", no_wrap=True)
    for name in (*metrics, f"{primary}\nminus\n{rival}"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in order:
        found = systems[name]["metrics"]
        cells = [with_interval(found.get(metric)) for metric in metrics]
        difference = result["paired"].get(f"{name}-{rival}", {}).get(primary)
        asked = f"[bold cyan]{name}[/]" if name in run["requested"] else name
        table.add_row(asked, *cells, with_interval(difference, sign="+"))
    if systems:
        console.print(table)
    for name in order:
        if name in run["requested"] and (found := systems[name]["calibration"]):
            console.print(_calibration(escape(name), found))
    for note in result["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for name, message in result["failed"].items():
        errors.print(f"[bold red]failed:[/] {escape(name)}: {escape(message)}")
    console.print(f"report: {escape(str(out / 'report.html'))}", style="dim")


def _calibration(name: str, found: Mapping[str, Any]) -> str:
    """The calibration error as it is, and what would mend it."""
    from recsys.evaluation.results.report import figure

    def error(of: Mapping[str, Any]) -> str:
        return f"{figure(of['ece'], 4)} ({figure(of['ece_low'], 4)} to {figure(of['ece_high'], 4)})"

    mended = (f"; after {way} {error(of)}" for way, of in found.get("after", {}).items())
    return f"[dim]calibration error of[/] {name}: {error(found)}{''.join(mended)}"
