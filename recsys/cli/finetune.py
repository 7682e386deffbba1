"""`recsys finetune`: tune the model on a domain."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.cli.output import ProgressBars, console, print_json
from recsys.cli.recommend import DomainOption, JsonOption
from recsys.errors import RequestError


def finetune(
    domain: DomainOption = "movies",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of checkpoints and report (default: runs/finetune-DOMAIN)."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="An option of [finetune], such as steps=500 or examples.wish=0; repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show ten examples and counts; train nothing.")
    ] = False,
    export_examples: Annotated[
        Path | None,
        typer.Option(
            help="Write the training examples as token ids into this folder, to train on a machine that has a GPU "
            "and nothing else (python -m finetune.export); train nothing."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tune the model on the domain's events; publish the adapter, and serve it if it is better.

    A run that was stopped goes on from its last checkpoint.
    """
    from finetune.distributed import main_first
    from finetune.job import FinetuneJob
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from retrieval import SentenceEmbedder

    found, settings = load_domain(domain), load_settings()
    found = found.model_copy(update={"finetune": with_options(found.finetune, option or [])})
    folder = out or Path("runs") / f"finetune-{found.name}"
    with ProgressBars() as progress, Store(settings.database_url) as store:
        with main_first():
            ensure_imported(found, store, progress)
        tuning = FinetuneJob(found, store, settings, SentenceEmbedder(settings.embedder), progress)
        if dry_run:
            preview = tuning.preview()
        elif export_examples:
            from finetune.publish import record

            record(tuning, export_examples)
        else:
            from finetune.publish import finetune_and_publish

            command = shlex.join(["recsys", *sys.argv[1:]])
            tuned = finetune_and_publish(
                tuning, folder, command=command, watch=_watch(progress, found.finetune.steps)
            )
    if dry_run:
        print_json(preview) if as_json else _show_preview(preview)
        return
    if export_examples:
        print_json({"examples": str(export_examples)}) if as_json else console.print(
            f"The examples are in {export_examples}. Where the GPU is: python -m finetune.export FOLDER --out RUN; "
            "then here, with the RUN it wrote: the same command with --out RUN instead of --export-examples.",
            soft_wrap=True,
        )
        return
    if tuned is None:  # one of several processes, and not the one that speaks
        return
    result = {
        "adapter": tuned.adapter.ref if tuned.adapter else None,
        "promoted": tuned.promoted,
        "why_not": list(tuned.reasons),
        "best_step": tuned.outcome.best_step,
        "seconds": round(tuned.outcome.seconds, 1),
        **tuned.figures,
    }
    if as_json:
        print_json(result)
    else:
        _show_result(result, folder)


def _watch(progress: ProgressBars, steps: int) -> Callable[[int, Mapping[str, float]], None]:
    def watch(step: int, line: Mapping[str, float]) -> None:
        progress("tuning", step, steps)
        left = f"{line['left'] / 60:.0f} min left"
        progress.describe("tuning", f"loss {line['loss']:.2f}, {line['tokens/s']:.0f} tokens/s, {left}")
        if "score" in line:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in line.items() if "ndcg" in name)
            progress.note(f"step {step}: loss {line['loss']:.2f}, {figures}, {left}")

    return watch


def with_options(config: Any, options: list[str]) -> Any:
    """The configuration with `name=value` changed; "a.b" is inside a table. Raises RequestError."""
    import tomllib

    from pydantic import ValidationError

    values = config.model_dump()
    for text in options:
        name, equals, value = text.partition("=")
        *tables, last = name.strip().split(".")
        place = values
        for table in tables:
            place = place.get(table, {}) if isinstance(place, dict) else {}
        if not equals or not isinstance(place, dict) or last not in place:
            raise RequestError(
                f"no option '{name}' in [finetune]", hint=f"there are: {', '.join(sorted(values))}"
            )
        try:
            place[last] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            place[last] = value
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"finetune.{'.'.join(map(str, first['loc']))}: {first['msg']}", hint="correct --set"
        ) from error


def _show_preview(preview: dict[str, Any]) -> None:
    for number, example in enumerate(preview.pop("examples"), start=1):
        left = f", without {', '.join(example['left_out'])}" if example["left_out"] else ""
        console.rule(f"example {number}: {example['kind']}, user {example['user']}{left}", style="dim")
        console.print(example["shared"], markup=False, highlight=False)
        console.print(f"[met]   {example['met']}", markup=False, highlight=False)
        for other in example["others"]:
            console.print(f"[other] {other}", markup=False, highlight=False, style="dim")
    for name, value in preview.items():
        console.print(f"{name}: {value}", markup=False, highlight=False)


def _show_result(result: dict[str, Any], folder: Path) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("validation", "before", "tuned", "difference", "95 %"):
        table.add_column(name, justify="left" if name == "validation" else "right")
    for name, figure in result["metrics"].items():
        before, paired = result["base_metrics"][name], result["paired"][name]
        interval = f"{paired['low']:+.3f} to {paired['high']:+.3f}"
        table.add_row(
            name, f"{before['value']:.3f}", f"{figure['value']:.3f}", f"{paired['value']:+.3f}", interval
        )
    console.print(table)
    if fusion := result["fusion"]:
        weight = (
            f" (weight of the retriever's score per log-odds: {fusion['weight']})"
            if "weight" in fusion
            else ""
        )
        console.print(
            f"served lists: retriever {fusion['retriever']:.3f}, with the model {fusion['ndcg@10']:.3f}{weight}",
            highlight=False,
        )
    where = result["adapter"] or f"model in {folder / 'model'}"
    if result["promoted"]:
        console.print(f"{where}: promoted, served from the next start on", highlight=False)
    else:
        console.print(f"{where}: kept, not promoted: {'; '.join(result['why_not'])}", highlight=False)
    console.print(
        f"report: {folder / ('adapter' if result['adapter'] else 'model') / 'report.html'}", style="dim"
    )
