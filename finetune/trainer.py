"""The training loop; a stopped run continues from its last checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from finetune import checkpoint
from finetune.checkpoint import TrainingState
from finetune.losses import example_loss
from finetune.model import scorer
from finetune.packing import PackedPrompt
from recsys.config.finetuning import FinetuneConfig
from recsys.errors import ModelError

CURVE = "curve.jsonl"
"""One line a step, and one for the evaluation before training."""


class PackedExample(NamedTuple):
    """A packed prompt with its right answer."""

    packed: PackedPrompt
    target: int  # index of the right candidate
    prior: tuple[float, ...] = ()  # added to the candidates' log-odds, see `listwise_loss`; () for none


Evaluate = Callable[[Callable[[PackedPrompt], list[float]]], Mapping[str, float]]
"""From a function that scores packed prompts (log-odds, nats) to figures; "score" decides the best step."""

StepCallback = Callable[[int, Mapping[str, float]], None]
"""Called after each step with its number, and loss, lr, tokens/s, left (seconds) and figures if any."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training run came to."""

    best_step: int
    best: Mapping[str, float]  # figures of the best step
    first: Mapping[str, float]  # figures before training
    steps: int
    seconds: float  # of all sessions
    tokens: int


def log_odds(module: Any, packed: PackedPrompt) -> list[float]:
    """Compute log p(Yes) - log p(No) of each candidate, or log p of its letter."""
    import torch

    # Eager: to compile for one list at a time would take longer than it saves.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        (log_p,) = module([packed])
    odds = log_p[0] if packed.objective == "letters" else log_p[:, 0] - log_p[:, 1]
    scores: list[float] = odds.tolist()
    return scores


def learning_rate(step: int, config: FinetuneConfig) -> float:
    """Return the rate of a step, from 0: linear warm-up, then a cosine down to 0."""
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
    on_step: StepCallback | None = None,
    compiled: bool = False,
) -> TrainingOutcome:
    """Train what requires gradients in `model`; its weights end as at the best step.

    A stopped run continues from its last checkpoint with the same examples, moments and random
    state, and so with the same losses. Several processes (`accelerate launch`) share each batch.

    Args:
        model: From `make_trainable`.
        config: Options of the run.
        packed_example: Returns example i; must return the same whenever it is called.
        evaluate: Computes validation figures.
        folder: Where the checkpoints "last" and "best" and the loss curve are kept.
        identity: Hash of all that the run depends on.
        on_step: Called after each step.
        compiled: Compile the layers: faster, same results (see `scorer`).

    Raises:
        RequestError: The folder holds another run.
        ModelError: The loss or its gradient is not finite; the last checkpoint is kept.
    """
    trainer = _Trainer(model, config, folder, compiled=compiled)
    state = trainer.restore("last", identity)
    if state is None:
        first = trainer.evaluate(evaluate)
        state = TrainingState(identity, 0, first, first)
        trainer.start_curve({"step": 0, **first})
    else:
        trainer.truncate_curve(state.step)
    trainer.module.train()
    while state.step < config.steps and state.stale < config.patience:
        begin, rate = time.perf_counter(), learning_rate(state.step, config)
        loss, tokens = trainer.step(state.step, packed_example)
        seconds = time.perf_counter() - begin
        state.count_step(seconds, tokens)
        line: dict[str, float] = {"step": state.step, "loss": round(loss, 6), "lr": rate}
        is_evaluated = state.step % config.evaluate_every == 0 or state.step == config.steps
        if is_evaluated:
            figures = trainer.evaluate(evaluate)
            state.count_evaluation(figures)
            line |= figures
        trainer.append_curve(line)
        if is_evaluated:
            trainer.save(state)
        if on_step and trainer.is_main:
            left = (config.steps - state.step) * state.seconds / state.step
            on_step(state.step, line | {"tokens/s": tokens / seconds, "left": left})
    trainer.accelerator.wait_for_everyone()
    trainer.restore("best", identity)
    return TrainingOutcome(state.best_step, state.best, state.first, state.step, state.seconds, state.tokens)


class _Trainer:
    """A model with its optimizer and files, which only the main process writes."""

    def __init__(self, model: Any, config: FinetuneConfig, folder: Path, *, compiled: bool) -> None:
        import torch
        from accelerate import Accelerator

        self.config, self.folder = config, folder
        self.accelerator = Accelerator()
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )
        self.module, self.optimizer = self.accelerator.prepare(scorer(model, compiled=compiled), optimizer)
        self.inner_optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)

    @property
    def is_main(self) -> bool:
        main: bool = self.accelerator.is_main_process
        return main

    def step(self, step: int, packed_example: Callable[[int], PackedExample]) -> tuple[float, int]:
        """Train on one batch; return its mean loss and the tokens of all processes."""
        for group in self.inner_optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        loss, tokens = self._accumulate_gradients(step, packed_example)
        norm = self.accelerator.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        self._require_finite("loss", loss, step)
        self._require_finite("gradient", float(norm), step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, tokens * self.accelerator.num_processes

    def _accumulate_gradients(
        self, step: int, packed_example: Callable[[int], PackedExample]
    ) -> tuple[float, int]:
        """Backpropagate this process's part of the batch in micro-batches."""
        import torch

        batch, micro = self.config.batch, self.config.micro_batch_size
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        numbers = range(step * batch + rank, (step + 1) * batch, processes)
        total, tokens = 0.0, 0
        for begin in range(0, len(numbers), micro):
            examples = [packed_example(number) for number in numbers[begin : begin + micro]]
            is_last = begin + micro >= len(numbers)
            with nullcontext() if is_last else self.accelerator.no_sync(self.module):
                loss = self._sum_of_losses(examples) / len(numbers)
                self.accelerator.backward(loss)
            total += loss.item()
            tokens += sum(example.packed.tokens for example in examples)
        if processes > 1:
            of_process = torch.tensor(total, device=self.accelerator.device)
            total = float(self.accelerator.reduce(of_process, "mean"))
        return total, tokens

    def _sum_of_losses(self, examples: Sequence[PackedExample]) -> Any:
        import torch

        log_ps = self.module([example.packed for example in examples])
        losses = [
            example_loss(log_p, example.packed, example.target, self.config.calibration, example.prior)
            for log_p, example in zip(log_ps, examples, strict=True)
        ]
        return torch.stack(losses).sum()

    def _require_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise ModelError(
                f"the {what} of step {step + 1} is {value}",
                hint=f"lower finetune.learning_rate; the last checkpoint is kept in {self.folder}",
            )

    def evaluate(self, evaluate: Evaluate) -> dict[str, float]:
        """Compute the figures of the model as it is."""
        self.module.eval()
        figures = dict(evaluate(lambda packed: log_odds(self.module, packed)))
        self.module.train()
        return figures

    def restore(self, name: str, identity: str) -> TrainingState | None:
        """Load the checkpoint of that name, if there is one."""
        return checkpoint.restore(self.folder / name, self.parameters, self.inner_optimizer, identity)

    def save(self, state: TrainingState) -> None:
        """Write the checkpoint "last", and "best" where this step is the best."""
        if not self.is_main:
            return
        for name in ("best", "last") if state.best_step == state.step else ("last",):
            checkpoint.save(self.folder / name, self.parameters, self.inner_optimizer, state)

    def start_curve(self, line: Mapping[str, float]) -> None:
        if self.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / CURVE).write_text(json.dumps(line) + "\n", encoding="utf-8")

    def append_curve(self, line: Mapping[str, float]) -> None:
        if self.is_main:
            with (self.folder / CURVE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def truncate_curve(self, step: int) -> None:
        """Drop the lines of steps after the checkpoint, which will be done again.

        Each step has its line, step 0 too. Later lines may be cut off in the middle.
        """
        if self.is_main:
            curve = self.folder / CURVE
            lines = curve.read_text(encoding="utf-8").splitlines() if curve.exists() else []
            curve.write_text("".join(f"{line}\n" for line in lines[: step + 1]), encoding="utf-8")


def read_curve(folder: Path) -> list[dict[str, float]]:
    """Read the loss curve of a run."""
    return [json.loads(line) for line in (folder / CURVE).read_text(encoding="utf-8").splitlines()]
