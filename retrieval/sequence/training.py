"""Training of the next-item model: cross-entropy over all items.

Events of one moment (a page of ratings entered at once) have no order: every epoch reads them in
another one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.config.retrieval import GruConfig
from recsys.data.dataset import EventLog
from recsys.errors import IndexDamaged, ModelError
from retrieval import artefacts
from retrieval.arrays import DoubleArray, FloatArray
from retrieval.sampling import sample_users
from retrieval.sequence.model import SequenceModel, TrainingRecord
from retrieval.threads import torch_threads

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from retrieval.sequence.network import Network

Progress = Callable[[str, int, int], None]
Array = npt.NDArray[Any]

KIND = "sequence training 1"
"""Change it when training changes: a training that was begun before starts over."""

CHECKPOINT = "checkpoint"
MAX_NORM = 1.0
"""Gradients are clipped to this norm."""

MOST_HELD_OUT = 1_000
"""Users whose last event is held out, at most."""

BLOCK_SCORES = 2**24
"""Scores of held-out events that are held at a time."""


@dataclass(frozen=True)
class SequenceBatch:
    """Pieces of histories, and which item came next where."""

    items: Tensor  # (b, l), rows, -1 after the last
    times: Tensor  # (b, l), seconds
    positions: Tensor  # (p,), in the flattened pieces
    targets: Tensor  # (p,), the item after each position


@dataclass(frozen=True)
class HeldOut:
    """The last event of some users, and their histories before it."""

    histories: list[list[str]]
    times: list[DoubleArray]
    targets: list[str]


@dataclass
class TrainingState:
    """The state of a training after `epoch` epochs."""

    network: Network
    optimiser: torch.optim.AdamW
    epoch: int = 0
    best_epoch: int = 0
    best: dict[str, FloatArray] = field(default_factory=dict)  # weights after `best_epoch`
    figures: dict[str, float] = field(default_factory=dict)  # their validation
    seconds: float = 0.0


def train(
    log: EventLog, config: GruConfig, folder: Path | None = None, progress: Progress | None = None
) -> SequenceModel:
    """Train a next-item model on the CPU; log and config determine its weights.

    Args:
        log: The events.
        config: Options.
        folder: Where every epoch leaves a checkpoint: the same training, called again, resumes and
            ends with the same weights.
        progress: Called with ("training", epochs done, epochs in all).

    Raises:
        ModelError: The training diverges.
        OSError: A checkpoint cannot be written.
    """
    learned, held_out = _split(log, config)
    state = _begin(learned, config)
    if folder is not None:
        _resume(state, folder / CHECKPOINT, config, log)
    if not state.best:
        with torch_threads(config.threads):
            _validate(state, learned, config, held_out)
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        if progress is not None:
            progress("training", state.epoch, config.epochs)
        started = time.monotonic()
        with torch_threads(config.threads):
            _train_epoch(state, learned, config)
            state.epoch += 1
            _validate(state, learned, config, held_out)
        state.seconds += time.monotonic() - started
        if folder is not None:
            _save_checkpoint(state, folder / CHECKPOINT, config, log)
    if progress is not None:
        progress("training", config.epochs, config.epochs)
    return _model(state, learned, config, fitted_on=log.hash)


def _split(log: EventLog, config: GruConfig) -> tuple[EventLog, HeldOut]:
    """Return the log to learn from, its own items only, and the held-out events."""
    length = np.diff(log.start)
    eligible = np.flatnonzero(length >= 3)  # with fewer, nothing would be left to learn
    rng = np.random.default_rng(config.seed)
    n_held_out = min(MOST_HELD_OUT, round(len(eligible) * config.validation_users))
    chosen = np.sort(rng.permutation(eligible)[:n_held_out])
    kept = np.ones(len(log), dtype=bool)
    kept[log.start[chosen + 1] - 1] = False
    rows = np.unique(log.item[kept])
    learned = EventLog(
        items=tuple(log.items[row] for row in rows),
        users=log.users,
        start=log.start - np.concatenate([[0], np.cumsum(~kept)])[log.start],
        item=np.searchsorted(rows, log.item[kept]).astype(np.int32),
        time=log.time[kept],
        preference=log.preference[kept],
    )
    held_out = HeldOut([], [], [])
    for user in chosen:
        first, last = int(log.start[user]), int(log.start[user + 1]) - 1
        target = log.items[log.item[last]]
        if target in learned.row_of:
            held_out.histories.append([log.items[row] for row in log.item[first:last]])
            held_out.times.append(log.time[first:last])
            held_out.targets.append(target)
    return learned, held_out


def _begin(learned: EventLog, config: GruConfig) -> TrainingState:
    import torch

    from retrieval.sequence.network import build, initialise

    network = build(config, len(learned.items))
    initialise(network, learned, torch.Generator().manual_seed(config.seed))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    return TrainingState(network, optimiser)


def _train_epoch(state: TrainingState, learned: EventLog, config: GruConfig) -> None:
    import torch

    from retrieval.sequence.loss import NextItemLoss
    from retrieval.sequence.network import states

    rng = np.random.default_rng((config.seed, state.epoch))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    state.network.train()
    batches = list(_batches(sample_users(learned, config.epoch_events, state.epoch), config, rng))
    loss_of = NextItemLoss(learned, config, rng)
    for number, batch in enumerate(batches, start=1):
        rate = config.learning_rate * _schedule(state.epoch + number / len(batches), config.epochs)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        after = states(state.network, config, batch.items, batch.times, generator)
        loss = loss_of(state.network["outputs"], after.flatten(0, 1)[batch.positions], batch.targets)
        if not torch.isfinite(loss):
            raise ModelError(
                f"training of the sequence model diverged in epoch {state.epoch + 1}",
                hint="lower its learning_rate",
            )
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), MAX_NORM)
        state.optimiser.step()


def _schedule(done: float, epochs: int) -> float:
    """Return the share of the learning rate: one epoch of warm-up, then a cosine."""
    return min(1.0, done) * 0.5 * (1 + math.cos(math.pi * done / epochs))


def _batches(learned: EventLog, config: GruConfig, rng: np.random.Generator) -> Iterator[SequenceBatch]:
    """Yield all histories once, in pieces batched by length."""
    pieces = list(_pieces(learned, config.length, rng))
    pieces = [pieces[n] for n in rng.permutation(len(pieces))]
    pieces.sort(key=lambda piece: len(piece[0]) + 0.2 * config.length * rng.random())
    groups: list[list[tuple[Array, Array]]] = [[]]
    longest = 0
    for piece in pieces:
        longest = max(longest, len(piece[0]))
        if groups[-1] and longest * (len(groups[-1]) + 1) > config.batch * config.length:
            groups.append([])
            longest = len(piece[0])
        groups[-1].append(piece)
    for n in rng.permutation(len(groups)):
        if groups[n]:
            yield _batch(groups[n])


def _pieces(learned: EventLog, length: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield (item rows, times) of pieces; the next begins with a piece's last event."""
    user = np.repeat(np.arange(len(learned.users)), np.diff(learned.start))
    moment = np.cumsum(np.concatenate([[True], learned.time[1:] != learned.time[:-1]])[: len(learned)])
    order = np.lexsort((rng.random(len(learned)), moment, user))
    for first, end in zip(learned.start[:-1], learned.start[1:], strict=True):
        last = int(end) - 1
        offset = int(rng.integers(1, length + 1)) if last - first > length else last - first
        for begin, stop in pairwise([int(first), *range(int(first) + offset, last, length), last]):
            piece = order[begin : stop + 1]
            if len(piece) > 1:
                yield learned.item[piece], learned.time[piece]


def _batch(pieces: list[tuple[Array, Array]]) -> SequenceBatch:
    import torch

    shape = (len(pieces), max(len(items) for items, _ in pieces) - 1)
    items, targets = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    times = np.full(shape, np.nan)
    for row, (piece, seconds) in enumerate(pieces):
        items[row, : len(piece) - 1] = piece[:-1]
        targets[row, : len(piece) - 1] = piece[1:]
        times[row, : len(piece) - 1] = seconds[:-1]
    positions = np.flatnonzero(targets.ravel() >= 0)
    arrays = (items, times, positions, targets.ravel()[positions])
    return SequenceBatch(*(torch.from_numpy(array) for array in arrays))


def _validate(state: TrainingState, learned: EventLog, config: GruConfig, held_out: HeldOut) -> None:
    """Keep the weights if they are the best so far on the held-out events."""
    weights = _arrays(state.network)
    record = TrainingRecord(config=config, fitted_on="", epochs=state.epoch, seconds=0.0, validation={})
    figures = _figures(SequenceModel(learned.items, weights, record), learned, held_out)
    if not state.best or not figures or figures["nll"] < state.figures["nll"]:
        state.best, state.best_epoch, state.figures = weights, state.epoch, figures


def _figures(model: SequenceModel, learned: EventLog, held_out: HeldOut) -> dict[str, float]:
    """Return the validation of a model; {} if nothing is held out."""
    log_p, better = list[float](), list[int]()
    block = max(1, BLOCK_SCORES // max(len(learned.items), 1))
    for first in range(0, len(held_out.targets), block):
        part = slice(first, first + block)
        scores = model.score_batch(held_out.histories[part], held_out.times[part])
        for row, history, target in zip(
            scores, held_out.histories[part], held_out.targets[part], strict=True
        ):
            if np.isnan(row).any():  # nobody else interacted with the items of this user
                continue
            of_target = row[learned.row_of[target]]
            row[[learned.row_of[item_id] for item_id in history if item_id in learned.row_of]] = -np.inf
            log_p.append(of_target)
            better.append(int((row > of_target).sum()))
    if not log_p:
        return {}
    return {"nll": float(-np.mean(log_p)), "hit@10": float((np.array(better) < 10).mean())}


def _model(state: TrainingState, learned: EventLog, config: GruConfig, *, fitted_on: str) -> SequenceModel:
    record = TrainingRecord(
        config=config,
        fitted_on=fitted_on,
        epochs=state.best_epoch,
        seconds=round(state.seconds, 1),
        validation=state.figures,
    )
    return SequenceModel(learned.items, state.best, record)


def _save_checkpoint(state: TrainingState, folder: Path, config: GruConfig, log: EventLog) -> None:
    tensors: dict[str, Array] = {f"now {name}": values for name, values in _arrays(state.network).items()}
    tensors |= {f"best {name}": values for name, values in state.best.items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser {number} {name}": values.numpy() for name, values in moments.items()}
    facts = {name: getattr(state, name) for name in ("epoch", "best_epoch", "figures", "seconds")}
    artefacts.save(folder, KIND, tensors, facts | _identity(config, log))


def _resume(state: TrainingState, folder: Path, config: GruConfig, log: EventLog) -> None:
    """Load the checkpoint, if there is an intact one of this training."""
    import torch

    try:
        tensors, facts = artefacts.load(folder, KIND, _identity(config, log))
    except IndexDamaged:
        return
    parts: dict[str, dict[str, Array]] = {"now": {}, "best": {}, "optimiser": {}}
    for name, values in tensors.items():
        part, _, rest = name.partition(" ")
        parts[part][rest] = values
    state.network.load_state_dict({name: torch.from_numpy(values) for name, values in parts["now"].items()})
    restored = state.optimiser.state_dict()
    for name, values in parts["optimiser"].items():
        number, _, moment = name.partition(" ")
        restored["state"].setdefault(int(number), {})[moment] = torch.from_numpy(values)
    state.optimiser.load_state_dict(restored)
    state.best = {name: values.astype(np.float32) for name, values in parts["best"].items()}
    state.epoch, state.best_epoch = facts["epoch"], facts["best_epoch"]
    state.figures, state.seconds = facts["figures"], facts["seconds"]


def _identity(config: GruConfig, log: EventLog) -> dict[str, Any]:
    return {"config": config.model_dump(), "fitted_on": log.hash}


def _arrays(network: Network) -> dict[str, FloatArray]:
    return {name: values.detach().numpy().copy() for name, values in network.state_dict().items()}
