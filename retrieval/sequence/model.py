"""The next-item model: scores the next item of a history, is saved and loaded.

`retrieval.sequence.training.train` makes one from events.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from recsys.config.retrieval import GruConfig
from recsys.errors import RequestError
from recsys.types import StrictModel
from retrieval import artefacts
from retrieval.arrays import DoubleArray, FloatArray, RowArray
from retrieval.threads import torch_threads

if TYPE_CHECKING:
    from retrieval.sequence.network import Network

Times = Sequence[float] | DoubleArray

KIND = "sequence model 2"
"""Change it when the network or its options change: models saved before are trained again."""

BATCH = 256
"""Histories per pass of the network."""

MANY = 8
"""Histories from which more than one thread pays."""

TAIL = 32
"""Histories that share all but so many of their last items with the longest are read with it."""


class TrainingRecord(StrictModel):
    """How a model was trained."""

    config: GruConfig
    fitted_on: str  # hash of the events
    epochs: int  # after which its weights were kept
    seconds: float
    validation: dict[str, float]
    """Figures on the held-out events: "nll", their mean negative log-probability in nats, and
    "hit@10", the share of them among the ten likeliest."""


class SequenceModel:
    """A trained next-item model. Immutable, may be shared between threads.

    `items` (i,) are the ids it knows: those with at least one training event.
    """

    def __init__(
        self, items: Sequence[str], weights: Mapping[str, FloatArray], training: TrainingRecord
    ) -> None:
        self.items = tuple(items)
        self.weights = dict(weights)
        self.training = training
        self._row_of = {item_id: row for row, item_id in enumerate(self.items)}

    @property
    def config(self) -> GruConfig:
        """Options it was trained with."""
        return self.training.config

    @property
    def fitted_on(self) -> str:
        """Hash of the events it was trained on."""
        return self.training.fitted_on

    @cached_property
    def item_vectors(self) -> FloatArray:
        """Item vectors (i, d + 1): products with a user vector are logits."""
        return np.column_stack([self.weights["outputs.weight"], self.weights["outputs.bias"]])

    def user_vector(self, history: Sequence[str], times: Times | None = None) -> FloatArray | None:
        """Return the user vector, (d + 1,), its last value 1; None without known items.

        Args:
            history: Item ids, oldest first.
            times: Their seconds since 1970, NaN where unknown.

        Raises:
            RequestError: History and times differ in number.
        """
        vector = self.user_vectors([history], None if times is None else [times])[0]
        return None if np.isnan(vector).any() else vector

    def user_vectors(
        self, histories: Sequence[Sequence[str]], times: Sequence[Times] | None = None
    ) -> FloatArray:
        """Return the user vector of each history, (n, d + 1); NaN instead of None."""
        if times is not None and list(map(len, times)) != list(map(len, histories)):
            raise RequestError(
                "a history and its times differ in number", hint="give NaN where a time is unknown"
            )
        vectors = np.full((len(histories), self.config.dimension + 1), np.nan, dtype=np.float32)
        known = [
            self._known(history, None if times is None else times[number])
            for number, history in enumerate(histories)
        ]
        for group in _group_by_beginning([rows for rows, _ in known]):
            for first in range(0, len(group), BATCH):
                batch = group[first : first + BATCH]
                vectors[batch, :-1] = self._states([known[n] for n in batch])
                vectors[batch, -1] = 1.0
        return vectors

    def score(self, history: Sequence[str], times: Times | None = None) -> FloatArray | None:
        """Return log-probabilities of the next item (i,), nats, history items included.

        None if no item of the history is known. Raises as `user_vector` does.
        """
        vector = self.user_vector(history, times)
        return None if vector is None else _log_softmax(self.item_vectors @ vector)

    def score_batch(
        self, histories: Sequence[Sequence[str]], times: Sequence[Times] | None = None
    ) -> FloatArray:
        """Return `score` of each history, (n, i); a row is NaN where that is None."""
        return _log_softmax(self.user_vectors(histories, times) @ self.item_vectors.T)

    def save(self, folder: Path) -> None:
        """Write to `folder`, replacing what is there.

        Raises:
            OSError: It cannot be written.
        """
        ids = json.dumps(self.items).encode()
        facts = {"training": self.training.model_dump(), "items_sha256": hashlib.sha256(ids).hexdigest()}
        artefacts.save(folder, KIND, {**self.weights, "ids": np.frombuffer(ids, dtype=np.uint8)}, facts)

    @classmethod
    def load(cls, folder: Path) -> SequenceModel:
        """Read a saved model; `fitted_on` and `config` tell whether it is the wanted one.

        Raises:
            IndexDamaged: It cannot be used; the message says why.
        """
        weights, facts = artefacts.load(folder, KIND, {})
        try:
            training = TrainingRecord.model_validate(facts.get("training"))
            ids = weights.pop("ids").tobytes()
            items = json.loads(ids)
        except (KeyError, ValidationError, ValueError) as error:
            raise artefacts.damaged(folder, f"is no sequence model: {error}") from error
        if hashlib.sha256(ids).hexdigest() != facts.get("items_sha256"):
            raise artefacts.damaged(folder, "items are not those the manifest names")
        expected = _shapes(training.config, len(items))
        actual = {name: values.shape for name, values in weights.items()}
        for name in sorted(expected.keys() | actual.keys()):
            if expected.get(name) != actual.get(name):
                reason = f"weights '{name}' have shape {actual.get(name)}, not {expected.get(name)}"
                raise artefacts.damaged(folder, reason)
            if weights[name].dtype != np.float32:
                raise artefacts.damaged(folder, f"weights '{name}' are not of 32 bits")
        return cls(items, weights, training)

    def _known(self, history: Sequence[str], times: Times | None) -> tuple[RowArray, DoubleArray]:
        """Return rows and times of the last known items."""
        seconds = np.full(len(history), np.nan) if times is None else np.asarray(times, dtype=np.float64)
        rows = np.array([self._row_of.get(item_id, -1) for item_id in history], dtype=np.int64)
        kept = np.flatnonzero(rows >= 0)[-self.config.length :]
        return rows[kept], seconds[kept]

    def _states(self, histories: Sequence[tuple[RowArray, DoubleArray]]) -> FloatArray:
        """Return the state after the last item of each history, (n, d)."""
        import torch

        from retrieval.sequence.network import states

        length = max(len(rows) for rows, _ in histories)
        items = np.full((len(histories), length), -1, dtype=np.int64)
        times = np.full((len(histories), length), np.nan)
        for number, (rows, seconds) in enumerate(histories):
            items[number, : len(rows)] = rows
            times[number, : len(rows)] = seconds
        last = torch.tensor([len(rows) - 1 for rows, _ in histories])
        # Two threads wait for each other at every step: a request took a second on busy cores.
        with torch.inference_mode(), torch_threads(1 if len(histories) < MANY else None):
            after = states(self._network, self.config, torch.from_numpy(items), torch.from_numpy(times))
            chosen: FloatArray = after[torch.arange(len(histories)), last].numpy()
        return chosen

    @cached_property
    def _network(self) -> Network:
        import torch

        from retrieval.sequence.network import build

        network = build(self.config, len(self.items))
        network.load_state_dict({name: torch.from_numpy(values) for name, values in self.weights.items()})
        return network.eval()


def _group_by_beginning(rows: Sequence[RowArray]) -> list[list[int]]:
    """Group non-empty histories: those that begin as the longest does, and others.

    An ablation asks about one history without some of its newest items; the network then reads
    their shared beginning once.
    """
    known = sorted((n for n, history in enumerate(rows) if len(history)), key=lambda n: len(rows[n]))
    if not known:
        return []
    longest = rows[known[-1]]
    start = longest[: max(0, len(longest) - TAIL)]
    alike = {n for n in known if np.array_equal(rows[n][: len(start)], start)}
    groups = [n for n in known if n in alike], [n for n in known if n not in alike]
    return [group for group in groups if group]


def _shapes(config: GruConfig, n_items: int) -> dict[str, tuple[int, ...]]:
    from retrieval.sequence.network import build

    return {name: tuple(values.shape) for name, values in build(config, n_items).state_dict().items()}


def _log_softmax(logits: FloatArray) -> FloatArray:
    if not logits.shape[-1]:
        return logits
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p
