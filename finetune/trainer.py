"""The loop: examples in, a tuned model out, able to stop anywhere and go on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from finetune import checkpoint
from finetune.losses import loss_of
from finetune.model import scorer
from finetune.packing import Packed
from recsys.config.finetuning import FinetuneConfig
from recsys.errors import ModelError


class PackedExample(NamedTuple):
    """A packed prompt, which candidate is right, and what is known of each beforehand (see `loss_of`)."""

    packed: Packed
    target: int
    prior: tuple[float, ...] = ()


Evaluate = Callable[[Callable[[Packed], list[float]]], Mapping[str, float]]
"""Given a function that scores packed prompts (log-odds, nats), figures; "score" decides."""

Watch = Callable[[int, Mapping[str, float]], None]
"""Told after each step: its number and loss, learning rate, tokens/s, seconds left, and figures if any."""


@dataclass(frozen=True)
class TrainingOutcome:
    """The best step, its figures, those before training, and how long it took (seconds of all runs)."""

    best_step: int
    best: Mapping[str, float]
    first: Mapping[str, float]
    steps: int
    seconds: float
    tokens: int


def log_odds(module: Any, packed: Packed) -> list[float]:
    """log p(Yes) - log p(No) of each candidate, or log p of its letter, without gradients."""
    import torch

    # Eager: to compile for one list at a time would take longer than it saves.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        (log_p,) = module([packed])
    odds = log_p[0] if packed.objective == "letters" else log_p[:, 0] - log_p[:, 1]
    scores: list[float] = odds.tolist()
    return scores


def learning_rate(step: int, config: FinetuneConfig) -> float:
    """Linear warm-up, then a cosine down to nothing at the last step. `step` counts from 0."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def train(
    model: Any,
    config: FinetuneConfig,
    packed_example: Callable[[int], PackedExample],
    evaluate: Evaluate,
    folder: Path,
    *,
    identity: str,
    watch: Watch | None = None,
    compiled: bool = False,
) -> TrainingOutcome:
    """Train the parameters of `model` that require gradients; they end as they were at the best step.

    `packed_example(i)` is the i-th example, the same whenever it is asked for: a run that was
    killed goes on from its last checkpoint in `folder` with the same examples, moments and
    random state, and so with the same losses. `identity` names all that the run depends
    on; `compiled` is of speed alone, see `scorer`. Several processes (`accelerate launch`) share each batch.

    Raises RequestError if the folder holds another run, ModelError if the loss or its
    gradient is not finite; the last checkpoint stays.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    module, optimizer = accelerator.prepare(scorer(model, compiled=compiled), optimizer)
    inner = getattr(optimizer, "optimizer", optimizer)
    state = checkpoint.restore(folder / "last", names, parameters, inner, identity)

    def figures() -> dict[str, float]:
        module.eval()
        found = dict(evaluate(lambda packed: log_odds(module, packed)))
        module.train()
        return found

    if state is None:
        first = figures()
        state = {
            "identity": identity,
            "step": 0,
            "first": first,
            "best": first,
            "best_step": 0,
            "seconds": 0.0,
            "tokens": 0,
            "stale": 0,
        }
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "curve.jsonl").write_text(json.dumps({"step": 0, **first}) + "\n", encoding="utf-8")
    elif accelerator.is_main_process:
        _forget_after(folder / "curve.jsonl", state["step"])
    module.train()
    rank, world = accelerator.process_index, accelerator.num_processes
    while state["step"] < config.steps and state["stale"] < config.patience:
        begun, step = time.perf_counter(), state["step"]
        for group in inner.param_groups:
            group["lr"] = learning_rate(step, config)
        total, tokens = 0.0, 0
        own = range(step * config.batch + rank, (step + 1) * config.batch, world)
        for begin in range(0, len(own), config.micro_batch_size):
            packed_examples = [
                packed_example(number) for number in own[begin : begin + config.micro_batch_size]
            ]
            last = begin + config.micro_batch_size >= len(own)
            with nullcontext() if last else accelerator.no_sync(module):
                found = module([one.packed for one in packed_examples])
                losses = [
                    loss_of(log_p, one.packed, one.target, config.calibration, one.prior)
                    for log_p, one in zip(found, packed_examples, strict=True)
                ]
                loss = torch.stack(losses).sum() / len(own)
                accelerator.backward(loss)
            total += loss.item()
            tokens += sum(one.packed.tokens for one in packed_examples)
        if world > 1:  # each has seen its part of the batch
            total = float(accelerator.reduce(torch.tensor(total, device=accelerator.device), "mean"))
        norm = accelerator.clip_grad_norm_(parameters, config.clip)
        for what, value in (("loss", total), ("gradient", float(norm))):
            if not math.isfinite(value):
                raise ModelError(
                    f"the {what} of step {step + 1} is {value}",
                    hint=f"lower finetune.learning_rate; the state of the last checkpoint is in {folder}",
                )
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - begun
        state |= {
            "step": step + 1,
            "seconds": state["seconds"] + seconds,
            "tokens": state["tokens"] + tokens * world,
        }
        line: dict[str, float] = {
            "step": step + 1,
            "loss": round(total, 6),
            "lr": learning_rate(step, config),
        }
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            found = figures()
            line |= found
            # Whether the best step is better than no step is not decided here, but by the gate.
            better = not state["best_step"] or found["score"] > state["best"]["score"]
            state["stale"] = 0 if better else state["stale"] + 1
            if better:
                state |= {"best": found, "best_step": step + 1}
        if accelerator.is_main_process:
            with (folder / "curve.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if "score" in line:
                if state["best_step"] == step + 1:
                    checkpoint.save(folder / "best", names, parameters, inner, state)
                checkpoint.save(folder / "last", names, parameters, inner, state)
            if watch:
                left = (config.steps - step - 1) * state["seconds"] / (step + 1)
                watch(step + 1, line | {"tokens/s": tokens * world / seconds, "left": left})
    accelerator.wait_for_everyone()
    checkpoint.restore(folder / "best", names, parameters, inner, identity)
    return TrainingOutcome(
        state["best_step"], state["best"], state["first"], state["step"], state["seconds"], state["tokens"]
    )


def _forget_after(curve: Path, step: int) -> None:
    """Drop the lines of steps that were done after the checkpoint and will be done again.

    Each step has its line, and step 0. What comes later may be cut off within a line.
    """
    lines = curve.read_text(encoding="utf-8").splitlines() if curve.exists() else []
    kept = lines[: step + 1]
    curve.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
