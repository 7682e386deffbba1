"""`recsys finetune`: fine-tune the model on a domain."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, print_json
from recsys.errors import RequestError

if TYPE_CHECKING:
    from finetune.publish import FinetuneResult
    from finetune.trainer import StepCallback
    from recsys.config.finetuning import FinetuneConfig

RENAMED_OPTIONS = {"together": "micro_batch_size", "planted": "examples.adversarial_text"}
"""Former names, which commands in older manifests use."""


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
            help="Write the training examples as token ids into this folder and train nothing: a machine "
            "with a GPU can train on them without the data (python -m finetune.export)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune the model on a domain; publish the adapter, serve it if better.

    A run that was stopped continues from its last checkpoint.
    """
    from finetune.distributed import main_first
    from finetune.job import FinetuneJob
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from retrieval import SentenceEmbedder

    loaded, settings = load_domain(domain), load_settings()
    config = with_options(loaded.finetune, option or [])
    loaded = loaded.model_copy(update={"finetune": config})
    folder = out or Path("runs") / f"finetune-{loaded.name}"
    with ProgressBars() as progress, Store(settings.database_url) as store:
        with main_first():
            ensure_imported(loaded, store, progress)
        job = FinetuneJob(loaded, store, settings, SentenceEmbedder(settings.embedder), progress)
        if dry_run:
            preview = job.preview()
        elif export_examples:
            from finetune import export

            export.export_examples(job, export_examples)
        else:
            from finetune.publish import finetune_and_publish

            command = shlex.join(["recsys", *sys.argv[1:]])
            on_step = _show_step(progress, config.steps)
            result = finetune_and_publish(job, folder, command=command, on_step=on_step)
    if dry_run:
        print_json(preview) if as_json else _print_preview(preview)
    elif export_examples:
        print_json({"examples": str(export_examples)}) if as_json else _print_next_steps(export_examples)
    elif result is not None:  # None in all processes but the main one
        values = _result_values(result)
        print_json(values) if as_json else _print_result(values, folder)


def _show_step(progress: ProgressBars, steps: int) -> StepCallback:
    def on_step(step: int, line: Mapping[str, float]) -> None:
        progress("fine-tuning", step, steps)
        left = f"{line['left'] / 60:.0f} min left"
        progress.describe("fine-tuning", f"loss {line['loss']:.2f}, {line['tokens/s']:.0f} tokens/s, {left}")
        if "score" in line:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in line.items() if "ndcg" in name)
            progress.note(f"step {step}: loss {line['loss']:.2f}, {figures}, {left}")

    return on_step


def with_options(config: FinetuneConfig, options: list[str]) -> FinetuneConfig:
    """Change options given as `name=value`; "a.b" is option b of table a.

    Raises:
        RequestError: There is no such option, or it may not have that value.
    """
    import tomllib

    from pydantic import ValidationError

    values = config.model_dump()
    for text in options:
        name, equals, value = text.partition("=")
        *tables, last = name.strip().split(".")
        table: Any = values
        for key in tables:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if not equals or not isinstance(table, dict) or last not in table:
            raise RequestError(f"no option '{name}' in [finetune]", hint=_option_hint(last, values))
        try:
            table[last] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[last] = value
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"finetune.{'.'.join(map(str, first['loc']))}: {first['msg']}", hint="correct --set"
        ) from error


def _option_hint(name: str, values: dict[str, Any]) -> str:
    if name in RENAMED_OPTIONS:
        return f"it is called {RENAMED_OPTIONS[name]} now"
    return f"use NAME=VALUE with one of: {', '.join(sorted(values))}"


def _result_values(result: FinetuneResult) -> dict[str, Any]:
    return {
        "adapter": result.adapter.ref if result.adapter else None,
        "promoted": result.promoted,
        "why_not": list(result.objections),
        "best_step": result.outcome.best_step,
        "seconds": round(result.outcome.seconds, 1),
        **result.figures,
    }


def _print_preview(preview: dict[str, Any]) -> None:
    for number, example in enumerate(preview.pop("examples"), start=1):
        left_out = f", without {', '.join(example['left_out'])}" if example["left_out"] else ""
        console.rule(f"example {number}: {example['kind']}, user {example['user']}{left_out}", style="dim")
        console.print(example["shared"], markup=False, highlight=False)
        console.print(f"[target] {example['met']}", markup=False, highlight=False)
        for other in example["others"]:
            console.print(f"[other]  {other}", markup=False, highlight=False, style="dim")
    for name, value in preview.items():
        console.print(f"{name}: {value}", markup=False, highlight=False)


def _print_next_steps(examples: Path) -> None:
    console.print(
        f"The examples are in {examples}. On the machine with the GPU run: "
        "python -m finetune.export FOLDER --out RUN. Then copy RUN back here, and run the same command "
        "with --out RUN instead of --export-examples: it measures and publishes the adapter.",
        soft_wrap=True,
    )


def _print_result(result: dict[str, Any], folder: Path) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("validation", "before", "fine-tuned", "difference", "95 %"):
        table.add_column(name, justify="left" if name == "validation" else "right")
    for name, figure in result["metrics"].items():
        before, paired = result["base_metrics"][name], result["paired"][name]
        interval = f"{paired['low']:+.3f} to {paired['high']:+.3f}"
        table.add_row(
            name, f"{before['value']:.3f}", f"{figure['value']:.3f}", f"{paired['value']:+.3f}", interval
        )
    console.print(table)
    if fusion := result["fusion"]:
        console.print(
            f"served lists: retriever {fusion['retriever']:.3f}, with the model {fusion['ndcg@10']:.3f}"
            + (f" (retriever's weight per log-odds: {fusion['weight']})" if "weight" in fusion else ""),
            highlight=False,
        )
    where = result["adapter"] or f"model in {folder / 'model'}"
    if result["promoted"]:
        console.print(f"{where}: promoted, served from the next start on", highlight=False)
    else:
        console.print(f"{where}: kept, not promoted: {'; '.join(result['why_not'])}", highlight=False)
    report = folder / ("adapter" if result["adapter"] else "model") / "report.html"
    console.print(f"report: {report}", style="dim")
