"""Next-item models: how likely each item comes next, given what came before.

`train` (in `retrieval.sequence.training`) makes a model from events; this module is what
a request needs: it scores a history, saves a model and opens it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.config.retrieval import SequenceConfig
from recsys.data.dataset import DoubleArray, FloatArray
from recsys.errors import RequestError
from retrieval import artefacts

if TYPE_CHECKING:
    from retrieval.sequence.network import Network

__all__ = ["SequenceConfig", "SequenceModel", "Training"]

Times = Sequence[float] | DoubleArray

KIND = "sequence model 1"
"""Change it when the network changes: models saved before are trained again."""

BATCH = 256
"""Histories that go through the network at a time."""

TAIL = 32
"""Histories that differ from the longest in so many of their last items at most go through it together."""


class Training(BaseModel):
    """How a model came to be: `fitted_on` is the hash of its events, `seconds` what it took.

    `validation` holds figures on the events held out of the training: "nll" is their mean
    negative log-probability in nats, "hit@10" the share of them among the ten most likely.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: SequenceConfig
    fitted_on: str
    epochs: int
    seconds: float
    validation: dict[str, float]


class SequenceModel:
    """A trained next-item model. It never changes and may be shared between threads.

    `items` (i,) are the ids it knows: those with at least one event in its training.
    """

    def __init__(self, items: Sequence[str], weights: Mapping[str, FloatArray], training: Training) -> None:
        self.items = tuple(items)
        self.weights = dict(weights)
        self.training = training
        self._row_of = {item_id: row for row, item_id in enumerate(self.items)}

    @property
    def config(self) -> SequenceConfig:
        return self.training.config

    @property
    def fitted_on(self) -> str:
        """Hash of the events it was trained on."""
        return self.training.fitted_on

    @cached_property
    def item_vectors(self) -> FloatArray:
        """Shape (i, d + 1): its inner product with a user vector is log-probability plus a constant."""
        return np.column_stack([self.weights["outputs.weight"], self.weights["outputs.bias"]])

    def user_vector(self, history: Sequence[str], times: Times | None = None) -> FloatArray | None:
        """Shape (d + 1,), the last value 1; None if no item of the history is known.

        `history` holds item ids, oldest first, `times` their seconds since 1970, NaN
        where unknown. Raises RequestError if they differ in number.
        """
        vector = self.user_vectors([history], None if times is None else [times])[0]
        return None if np.isnan(vector).any() else vector

    def user_vectors(
        self, histories: Sequence[Sequence[str]], times: Sequence[Times] | None = None
    ) -> FloatArray:
        """Shape (n, d + 1); a row is NaN where `user_vector` would be None."""
        if times is not None and [len(one) for one in times] != [len(one) for one in histories]:
            raise RequestError(
                "a history and its times differ in number", hint="give NaN where one is unknown"
            )
        vectors = np.full((len(histories), self.config.dimension + 1), np.nan, dtype=np.float32)
        read = [
            self._known(history, None if times is None else times[number])
            for number, history in enumerate(histories)
        ]
        some = sorted((n for n, (rows, _) in enumerate(read) if len(rows)), key=lambda n: len(read[n][0]))
        for group in _alike(some, [rows for rows, _ in read]):
            for first in range(0, len(group), BATCH):
                chosen = group[first : first + BATCH]
                vectors[chosen, :-1] = self._states([read[n] for n in chosen])
                vectors[chosen, -1] = 1.0
        return vectors

    def score(self, history: Sequence[str], times: Times | None = None) -> FloatArray | None:
        """Log-probabilities of what comes next, nats, shape (i,); None if no item of the history is known.

        The items of the history have theirs too. Raises as `user_vector` does.
        """
        vector = self.user_vector(history, times)
        return None if vector is None else _log_softmax(self.item_vectors @ vector)

    def score_batch(
        self, histories: Sequence[Sequence[str]], times: Sequence[Times] | None = None
    ) -> FloatArray:
        """Log-probabilities, shape (n, i); a row is NaN where `score` would be None."""
        return _log_softmax(self.user_vectors(histories, times) @ self.item_vectors.T)

    def save(self, folder: Path) -> None:
        """Write it to `folder`, in the place of whatever is there. Raises OSError."""
        ids = json.dumps(self.items).encode()
        facts = {"training": self.training.model_dump(), "items_sha256": hashlib.sha256(ids).hexdigest()}
        artefacts.save(folder, KIND, {**self.weights, "ids": np.frombuffer(ids, dtype=np.uint8)}, facts)

    @classmethod
    def load(cls, folder: Path) -> SequenceModel:
        """A saved model. Raises IndexDamaged, saying why, if it cannot be used as it is.

        Whether it is the one that is wanted, `fitted_on` and `config` tell.
        """
        weights, facts = artefacts.load(folder, KIND, {})
        try:
            training = Training.model_validate(facts.get("training"))
            ids = weights.pop("ids").tobytes()
            items = json.loads(ids)
        except (KeyError, ValidationError, ValueError) as error:
            raise artefacts.damaged(folder, f"is no sequence model: {error}") from error
        if hashlib.sha256(ids).hexdigest() != facts.get("items_sha256"):
            raise artefacts.damaged(folder, "items are not those the manifest names")
        expected = _shapes(training.config, len(items))
        found = {name: values.shape for name, values in weights.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                reason = f"weights '{name}' have shape {found.get(name)}, not {expected.get(name)}"
                raise artefacts.damaged(folder, reason)
            if weights[name].dtype != np.float32:
                raise artefacts.damaged(folder, f"weights '{name}' are not of 32 bits")
        return cls(items, weights, training)

    def _known(
        self, history: Sequence[str], times: Times | None
    ) -> tuple[npt.NDArray[np.int64], DoubleArray]:
        """Rows and times of the last known items."""
        seconds = np.full(len(history), np.nan) if times is None else np.asarray(times, dtype=np.float64)
        rows = np.array([self._row_of.get(item_id, -1) for item_id in history], dtype=np.int64)
        kept = np.flatnonzero(rows >= 0)[-self.config.length :]
        return rows[kept], seconds[kept]

    def _states(self, read: Sequence[tuple[npt.NDArray[np.int64], DoubleArray]]) -> FloatArray:
        """What the network says after the last item of each history, shape (n, d)."""
        import torch

        from retrieval.sequence.network import states

        length = max(len(rows) for rows, _ in read)
        items = np.full((len(read), length), -1, dtype=np.int64)
        times = np.full((len(read), length), np.nan)
        for number, (rows, seconds) in enumerate(read):
            items[number, : len(rows)] = rows
            times[number, : len(rows)] = seconds
        last = torch.tensor([len(rows) - 1 for rows, _ in read])
        with torch.inference_mode():
            after = states(self._network, self.config, torch.from_numpy(items), torch.from_numpy(times))
            chosen: FloatArray = after[torch.arange(len(read)), last].numpy()
        return chosen

    @cached_property
    def _network(self) -> Network:
        import torch

        from retrieval.sequence.network import build

        network = build(self.config, len(self.items))
        network.load_state_dict({name: torch.from_numpy(values) for name, values in self.weights.items()})
        return network.eval()


def _alike(some: Sequence[int], rows: Sequence[npt.NDArray[np.int64]]) -> list[list[int]]:
    """Those that differ from the longest, which is the last, near their ends alone, and the others.

    So it is where one history is asked about without some of its newest items: a recurrent
    network reads their common beginning once.
    """
    if not some:
        return []
    longest = rows[some[-1]]
    start = longest[: max(0, len(longest) - TAIL)]
    like = {n for n in some if np.array_equal(rows[n][: len(start)], start)}
    groups = [n for n in some if n in like], [n for n in some if n not in like]
    return [group for group in groups if group]


def _shapes(config: SequenceConfig, n_items: int) -> dict[str, tuple[int, ...]]:
    from retrieval.sequence.network import build

    return {name: tuple(values.shape) for name, values in build(config, n_items).state_dict().items()}


def _log_softmax(logits: FloatArray) -> FloatArray:
    if not logits.shape[-1]:
        return logits
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]
