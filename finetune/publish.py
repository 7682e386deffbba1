"""Fine-tune, compare with what is served, publish, and promote if better."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.compare import ModelScores, compare, fit_fusion
from finetune.distributed import is_main, main_first
from finetune.job import FinetuneJob
from finetune.model import load_base, make_trainable, scorer
from finetune.report import write_report
from finetune.trainer import StepCallback, TrainingOutcome, log_odds, read_curve
from finetune.validation import build_validation_lists
from finetune.warm_start import load_starting_weights
from recsys.engine.adapters import (
    BASE,
    Adapter,
    AdapterDraft,
    Comparison,
    default_adapter,
    gate,
    promote,
    publish,
)
from recsys.engine.adapters.promotion import now
from recsys.engine.checkpoints.lora import WEIGHTS
from recsys.engine.checkpoints.weights import model_fingerprint
from recsys.errors import ModelError

PACKAGES = ("torch", "transformers", "peft", "accelerate", "whyrec")
NEEDED_MB = 200  # checkpoints of an adapter, its report, and room to replace them


@dataclass(frozen=True)
class FinetuneResult:
    """What a run came to."""

    folder: Path
    outcome: TrainingOutcome
    figures: dict[str, Any]  # metrics, base_metrics, paired (see `compare`) and fusion
    adapter: Adapter | None  # None for a whole model, which is in `folder`/model
    promoted: bool
    objections: tuple[str, ...]  # why it did not become the default, if it did not


def finetune_and_publish(
    job: FinetuneJob, folder: Path, *, command: str, on_step: StepCallback | None = None
) -> FinetuneResult | None:
    """Fine-tune the domain's model, publish the adapter, promote it if it is better.

    A run that was stopped continues from its last checkpoint. Published adapters are never changed.

    Args:
        job: The domain made ready.
        folder: For checkpoints, loss curve and report.
        command: The command line, for the manifest.
        on_step: Called after each training step.

    Returns:
        The result; None in all processes but the main one, which alone measures and publishes.

    Raises:
        ModelError: The model cannot be trained or loaded, or the disk is full.
        RequestError: The folder holds another run, or the adapter to start from may not be used.
        MissingDependency: A package that the method needs is not installed.
    """
    config = job.domain.finetune
    try:
        _require_disk_space(folder)
        model = make_trainable(load_base(job.base_model, config), config)
        load_starting_weights(model, job)
        with main_first():
            job.prepare()
        outcome = job.train(model, folder, on_step)
        if not is_main():
            return None
        return _measure_and_publish(job, folder, model, outcome, command)
    except MemoryError as error:
        raise ModelError(
            "out of memory while fine-tuning", hint="set finetune.checkpointing, or lower examples.candidates"
        ) from error
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="free some disk space or choose another --out; the run continues from its last checkpoint",
        ) from error


def _measure_and_publish(
    job: FinetuneJob, folder: Path, model: Any, outcome: TrainingOutcome, command: str
) -> FinetuneResult:
    default = _default_to_beat(job)
    # An adapter of another base model cannot be loaded here: the base model alone is measured instead.
    fits = default is not None and default.published().base_fingerprint == model_fingerprint(job.base_model)
    incumbent = default if fits else None
    figures = _measure(job, model, incumbent)
    staging = _save(job, folder, model, outcome, figures, incumbent)
    if not job.domain.finetune.trains_adapter:
        objections: tuple[str, ...] = ("whole models are served by setting WHYREC_MODEL",)
        return FinetuneResult(folder, outcome, figures, None, False, objections)
    adapter = publish(staging, _draft(job, outcome, figures, incumbent, command), job.settings)
    objections = tuple(gate(adapter, default))
    if not objections:
        promote(adapter.ref, job.settings, job.domain.folder)
    return FinetuneResult(folder, outcome, figures, adapter, not objections, objections)


def _default_to_beat(job: FinetuneJob) -> Adapter | None:
    """Return the default that the new adapter could replace, if it may replace one."""
    config = job.domain.finetune
    if not config.trains_adapter or config.examples.held_items > 0:
        return None
    return default_adapter(job.domain.name, job.settings, job.domain.folder)


def _measure(job: FinetuneJob, model: Any, incumbent: Adapter | None) -> dict[str, Any]:
    """Measure the model against what is served now, on validation lists of its own."""
    config, progress = job.domain.finetune, job.progress
    lists = build_validation_lists(job.validation_examples, job.pack_example, config.final, config.seed + 1)

    def score(name: str, model: Any) -> ModelScores:
        def show(list_name: str, done: int, total: int) -> None:
            if progress:
                progress(f"measuring {name}: {list_name}", done, total)

        module = scorer(model.eval())
        return ModelScores.measure(lists, lambda packed: log_odds(module, packed), show)

    finetuned = score("the fine-tuned model", model)
    figures: dict[str, Any] = compare(lists, finetuned, _score_baseline(job, model, incumbent, score))
    served = next((cases for cases in lists if cases.name in ("hard", "shown")), None)
    figures["fusion"] = fit_fusion(served, finetuned) if served else {}
    return figures


def _score_baseline(
    job: FinetuneJob, model: Any, incumbent: Adapter | None, score: Callable[[str, Any], ModelScores]
) -> ModelScores:
    """Score with what is served now: the incumbent adapter, else the base model."""
    if not job.domain.finetune.trains_adapter:  # the weights themselves were changed: load them anew
        return score("the base model", load_base(job.base_model, job.domain.finetune))
    if incumbent is None:
        with model.disable_adapter():
            return score("the base model", model)
    model.load_adapter(str(incumbent.folder), adapter_name="incumbent")
    model.set_adapter("incumbent")
    scores = score(incumbent.ref, model)
    model.set_adapter("default")
    model.delete_adapter("incumbent")
    return scores


def _save(
    job: FinetuneJob,
    folder: Path,
    model: Any,
    outcome: TrainingOutcome,
    figures: dict[str, Any],
    incumbent: Adapter | None,
) -> Path:
    """Write weights and report into a folder of the run; return it."""
    config, domain = job.domain.finetune, job.domain
    facts = {
        **figures,
        "best_step": outcome.best_step,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "tokens": outcome.tokens,
        "options": config.model_dump(mode="json"),
        "incumbent": _name(incumbent),
    }
    staging = folder / ("adapter" if config.trains_adapter else "model")
    shutil.rmtree(staging, ignore_errors=True)
    model.save_pretrained(staging)
    write_report(staging, f"Fine-tuning {domain.title or domain.name}", read_curve(folder), facts)
    if config.trains_adapter:
        (staging / "README.md").unlink(missing_ok=True)  # PEFT's model card: empty headings
        _round_to_bfloat16(staging / WEIGHTS)
    else:
        tokenizer: Any = job.tokenizer
        tokenizer.save_pretrained(staging)
    return staging


def _draft(
    job: FinetuneJob,
    outcome: TrainingOutcome,
    figures: dict[str, Any],
    incumbent: Adapter | None,
    command: str,
) -> AdapterDraft:
    config = job.domain.finetune
    options = config.model_dump(mode="json")
    options["examples"]["before"] = job.before
    overall = figures["paired"]["ndcg@10"]
    return AdapterDraft(
        domain=job.domain.name,
        base_model=job.settings.model,
        base_fingerprint=model_fingerprint(job.base_model),
        template=job.template.name,
        template_hash=job.template.hash,
        data_hash=job.data_hash,
        split=job.split_rule,
        objective={**config.objectives.shares, "calibration": config.calibration},
        options={
            **options,
            "facts": list(job.domain.ranker.facts),
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


def _round_to_bfloat16(weights: Path) -> None:
    """Halve the size of the weights; serving computes in bfloat16 anyway."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})


def _require_disk_space(folder: Path) -> None:
    """Raise ModelError where checkpoints would not fit: better now than after an hour."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free // 2**20
    if free < NEEDED_MB:
        raise ModelError(
            f"{folder} has {free} MB free, checkpoints need {NEEDED_MB} MB",
            hint="free some disk space, or choose another --out",
        )
