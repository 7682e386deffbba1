"""Train, measure against what is served now, publish, and promote what is better."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.compare import Scored, compare, fusion
from finetune.distributed import is_main, main_first
from finetune.export import shards, write_run, write_shard
from finetune.job import FinetuneJob, read_curve
from finetune.model import load_adapter, load_base, make_trainable, scorer
from finetune.report import write_report
from finetune.trainer import TrainingOutcome, Watch, log_odds
from finetune.validation import validation_lists
from recsys.config.finetuning import FinetuneConfig
from recsys.engine.adapters import (
    BASE,
    Adapter,
    AdapterDraft,
    Comparison,
    check,
    default_adapter,
    find_adapter,
    gate,
    promote,
    publish,
)
from recsys.engine.adapters.promotion import now
from recsys.engine.checkpoints.lora import WEIGHTS
from recsys.engine.checkpoints.weights import model_fingerprint
from recsys.errors import ModelError, RequestError

PACKAGES = ("torch", "transformers", "peft", "accelerate", "whyrec")
NEEDED_MB = 200  # checkpoints of an adapter, its report, and room to write them anew


@dataclass(frozen=True)
class FinetuneResult:
    """What a run gave: an adapter (None for whole models, which lie in `folder`/model), figures, and why
    it did not become the default, if it did not."""

    folder: Path
    outcome: TrainingOutcome
    figures: dict[str, Any]
    adapter: Adapter | None
    promoted: bool
    reasons: tuple[str, ...]


def finetune_and_publish(
    tuning: FinetuneJob, folder: Path, *, command: str, watch: Watch | None = None
) -> FinetuneResult | None:
    """Tune the domain's model with checkpoints in `folder`, publish the adapter, promote it if it is better.

    A run that was stopped goes on where it was. Adapters made before are never touched. Of several
    processes only the main one measures and publishes; the others get None.
    Raises ModelError, RequestError, MissingDependency; ModelError where the disk is full.
    """
    config = tuning.domain.finetune
    try:
        _require_room(folder)
        model = make_trainable(load_base(tuning.model, config), config)
        if config.start:
            _go_on_from(config.start, model, tuning)
        with main_first():
            tuning.prepare()
        outcome = tuning.train(model, folder, watch)
        if not is_main():
            return None
        return _concluded(tuning, folder, model, outcome, command)
    except MemoryError as error:
        raise ModelError(
            "out of memory while tuning", hint="set finetune.checkpointing, or fewer examples.candidates"
        ) from error
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="free some room or give another --out; the run goes on from its last checkpoint",
        ) from error


def record(tuning: FinetuneJob, folder: Path) -> None:
    """Write the examples of the run for another machine, see `finetune.export`; goes on where it was stopped.

    Raises RequestError where the folder holds those of another run, ModelError where the disk is full.
    """
    config, progress = tuning.domain.finetune, tuning.progress
    try:
        start = starting_adapter(config.start, tuning).folder if config.start else None
        write_run(folder, tuning.identity, model_fingerprint(tuning.model), config, tuning.lists, start)
        paths = shards(folder, config)
        for number, path in enumerate(paths):
            if progress:
                progress("making examples", number, len(paths))
            if not path.exists():
                write_shard(tuning.packed_example, path, config.steps * config.batch)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="free some room; what was written stays, and the same command goes on",
        ) from error


def _go_on_from(ref: str, model: Any, tuning: FinetuneJob) -> None:
    """Give the LoRA under tuning the weights of an adapter made before.

    Raises ModelError for one of another base model or shape, RequestError for one that
    learned from events which this run holds back.
    """
    adapter = starting_adapter(ref, tuning)
    load_adapter(model, adapter.folder / WEIGHTS, adapter.ref)


def starting_adapter(ref: str, tuning: FinetuneJob) -> Adapter:
    """The adapter that a run goes on from. Raises as `_go_on_from`."""
    adapter = find_adapter(ref, tuning.settings, tuning.domain.folder)
    check(adapter, tuning.model)
    wanted = tuning.domain.finetune.examples
    examples = adapter.published().options["examples"]
    reserved, held_items = examples["reserved"], examples.get("held_items", 0.0)
    if reserved < wanted.reserved:
        raise RequestError(
            f"{adapter.ref} learned from events that this run is validated on: it held back {reserved} of "
            f"each user's, this run {wanted.reserved}",
            hint=f"set examples.reserved={reserved}, or begin without finetune.start",
        )
    if held_items < wanted.held_items:
        raise RequestError(
            f"{adapter.ref} learned from items that this run holds out: it held out {held_items:.0%} of "
            f"them, this run {wanted.held_items:.0%}",
            hint=f"set examples.held_items={held_items}, or begin without finetune.start",
        )
    return adapter


def _concluded(
    tuning: FinetuneJob, folder: Path, model: Any, outcome: TrainingOutcome, command: str
) -> FinetuneResult:
    config, domain = tuning.domain.finetune, tuning.domain
    lists = validation_lists(tuning.validator, tuning.packed, config.final, config.seed + 1)
    progress = tuning.progress

    def asked(what: str, model: Any) -> Scored:
        told = None if progress is None else lambda name, n, of: progress(f"measuring {what}: {name}", n, of)
        module = scorer(model.eval())
        return Scored.of(lists, lambda packed: log_odds(module, packed), told)

    whole = config.method in ("partial", "full")
    alone = whole or config.examples.held_items > 0  # one that knows fewer items never takes another's place
    default = None if alone else default_adapter(domain.name, tuning.settings, domain.folder)
    fits = default is not None and default.published().base_fingerprint == model_fingerprint(tuning.model)
    incumbent = default if fits else None  # an adapter of another base model says nothing about this one
    tuned = asked("the tuned model", model)
    before = _before(tuning, model, incumbent, asked)
    figures: dict[str, Any] = compare(lists, tuned, before)
    figures["fusion"] = next((fusion(one, tuned) for one in lists if one.name == "hard"), {})
    facts = {
        **figures,
        "best_step": outcome.best_step,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "tokens": outcome.tokens,
        "options": config.model_dump(mode="json"),
        "incumbent": _name(incumbent),
    }
    staging = folder / ("model" if whole else "adapter")
    shutil.rmtree(staging, ignore_errors=True)
    model.save_pretrained(staging)
    write_report(staging, f"Tuning {domain.title or domain.name}", read_curve(folder), facts)
    if whole:
        _save_tokenizer(tuning, staging)
        return FinetuneResult(
            folder, outcome, figures, None, False, ("whole models are served by WHYREC_MODEL",)
        )
    for extra in staging.glob("README.md"):  # peft's card: empty headings
        extra.unlink()
    _halve(staging)
    adapter = publish(staging, _draft(tuning, outcome, figures, incumbent, command), tuning.settings)
    reasons = tuple(gate(adapter, default))
    if not reasons:
        promote(adapter.ref, tuning.settings, domain.folder)
    return FinetuneResult(folder, outcome, figures, adapter, not reasons, reasons)


def _before(
    tuning: FinetuneJob, model: Any, incumbent: Adapter | None, asked: Callable[[str, Any], Scored]
) -> Scored:
    """The scores of what is served now: the incumbent adapter, else the base model."""
    if not hasattr(model, "disable_adapter"):  # a whole model was changed: load what it was
        return asked("the base model", load_base(tuning.model, tuning.domain.finetune))
    if incumbent is None:
        with model.disable_adapter():
            return asked("the base model", model)
    model.load_adapter(str(incumbent.folder), adapter_name="incumbent")
    model.set_adapter("incumbent")
    scored = asked(incumbent.ref, model)
    model.set_adapter("default")
    model.delete_adapter("incumbent")
    return scored


def _draft(
    tuning: FinetuneJob,
    outcome: TrainingOutcome,
    figures: dict[str, Any],
    incumbent: Adapter | None,
    command: str,
) -> AdapterDraft:
    config: FinetuneConfig = tuning.domain.finetune
    overall = figures["paired"]["ndcg@10"]
    return AdapterDraft(
        domain=tuning.domain.name,
        base_model=tuning.settings.model,
        base_fingerprint=model_fingerprint(tuning.model),
        template=tuning.template.name,
        template_hash=tuning.template.hash,
        data_hash=tuning.data_hash,
        split=tuning.rule,
        objective={**config.objectives.shares, "calibration": config.calibration},
        options={
            **config.model_dump(mode="json"),
            "facts": list(tuning.domain.ranker.facts),
            "fusion": figures["fusion"],
        },
        metrics=figures["metrics"],
        base_metrics=figures["base_metrics"],
        paired=figures["paired"],
        comparison=Comparison(
            incumbent=_name(incumbent),
            metric="ndcg@10",
            value=overall["value"],
            low=overall["low"],
            high=overall["high"],
        ),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        command=command,
        created=now(),
        seconds=round(outcome.seconds, 1),
        seed=config.seed,
    )


def _name(incumbent: Adapter | None) -> str:
    return incumbent.ref if incumbent else BASE


def _halve(staging: Path) -> None:
    """Round the adapter to bfloat16, which is what serving computes in: half the size."""
    import torch
    from safetensors.torch import load_file, save_file

    path = staging / "adapter_model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _save_tokenizer(tuning: FinetuneJob, folder: Path) -> None:
    tokenizer: Any = tuning.tokenizer
    tokenizer.save_pretrained(folder)


def _require_room(folder: Path) -> None:
    """Raises ModelError where checkpoints would not fit: better now than after an hour."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free // 2**20
    if free < NEEDED_MB:
        raise ModelError(
            f"{folder} has {free} MB free, checkpoints need {NEEDED_MB}",
            hint="free some, or give another --out",
        )
