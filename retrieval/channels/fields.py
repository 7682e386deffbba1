"""Items whose attributes, each by itself, are like those of the history."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from recsys.config.retrieval import FieldsConfig
from recsys.types import HistoryEntry, Item
from retrieval.arrays import FloatArray
from retrieval.base import DenseScores, Query, StaticChannel
from retrieval.channels.text import DISLIKE_WEIGHT, MEMORY_HALF_LIVES, UNKNOWN_WEIGHT
from retrieval.table import ItemRows

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

YEAR = "year"
"""The year of an item, among its attributes."""

PRIOR = 3.0
"""Entries, of weight 1, whose numbers are those of the catalogue."""

Fields = Mapping[str, csr_array]
"""Attribute -> (rows, values) of the items that have it, each row of L2 norm 1."""


@dataclass(frozen=True)
class FieldsChannel(StaticChannel):
    """Scores items by the cosine of each attribute's values with those of the history.

    A value counts by its rarity (idf), an entry as in the text channel; the cosines are summed by
    the weights of `config`. Of a number, the product of its standard score with the mean one of the
    history is added, which `PRIOR` entries of the catalogue's mean shrink. It needs no interactions of the
    candidate: a new item scores as any other. Nothing is fitted here.
    Salton and Buckley, Term-weighting approaches, 1988.
    """

    config: FieldsConfig
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score every item; None for a history of dislikes alone, or none."""
        if all(entry.liked is False for entry in query.history):
            return None
        liked, disliked = _weights(query.history, table, self.config.half_life)
        fields = table.derived(_fields_of)
        weights = self.config.weights or dict.fromkeys(fields, 1.0)
        total = np.zeros(len(table), dtype=np.float32)
        for name, weight in weights.items():
            if name in self.config.numbers:
                numbers = table.derived(_Numbers(name))
                total += np.float32(weight) * numbers * (liked @ numbers) / (liked.sum() + np.float32(PRIOR))
            elif name in fields:
                values = fields[name]
                centroid = _unit(_unit(liked @ values) - DISLIKE_WEIGHT * _unit(disliked @ values))
                total += np.float32(weight) * (values @ centroid)
        return DenseScores(total)


def _weights(
    history: Sequence[HistoryEntry], table: ItemRows, half_life: float
) -> tuple[FloatArray, FloatArray]:
    """Return the weights of what was liked and of what was disliked, each (rows,)."""
    liked, disliked = np.zeros((2, len(table)), dtype=np.float32)
    oldest = int(min(MEMORY_HALF_LIVES * half_life, len(history)))
    for age, entry in enumerate(reversed(history[-(oldest + 1) :])):
        if (row := table.row_of.get(entry.item.id)) is not None:
            side = disliked if entry.liked is False else liked
            side[row] += 0.5 ** (age / half_life) * (UNKNOWN_WEIGHT if entry.liked is None else 1.0)
    return liked, disliked


@dataclass(frozen=True)
class _Numbers:
    """Reads a number of each item of a table: equal readers share what they read."""

    attribute: str

    def __call__(self, table: ItemRows) -> FloatArray:
        """Return standard scores, (rows,); of logarithms where none is below 0."""
        numbers = np.array([_number(item.attributes.get(self.attribute, ())) for item in table.items])
        if np.nanmin(numbers, initial=0.0) >= 0:
            numbers = np.log1p(numbers)
        known = ~np.isnan(numbers)
        if not known.any():
            return np.zeros(len(table), dtype=np.float32)
        scores = (numbers - numbers[known].mean()) / max(float(numbers[known].std()), 1e-9)
        return np.where(known, scores, 0.0).astype(np.float32)


def _number(values: Sequence[str]) -> float:
    found = _NUMBER.search(values[0].replace(",", "")) if values else None
    return float(found[0]) if found else float("nan")


def _fields_of(table: ItemRows) -> Fields:
    """Arrange the values of each attribute that two items or more have."""
    rows_of: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, item in enumerate(table.items):
        for name, values in _values_of(item).items():
            for value in dict.fromkeys(values):
                rows_of[name][value].append(row)
    return {name: _matrix(list(held.values()), len(table)) for name, held in rows_of.items()}


def _values_of(item: Item) -> Mapping[str, Sequence[str]]:
    return {YEAR: (str(item.year),), **item.attributes} if item.year else item.attributes


def _matrix(rows_of: Sequence[Sequence[int]], n: int) -> csr_array:
    shared = [rows for rows in rows_of if len(rows) > 1]
    rows = np.array([row for held in shared for row in held], dtype=np.int64)
    columns = np.repeat(np.arange(len(shared)), [len(held) for held in shared])
    rarity = np.array([np.log(n / len(held)) for held in shared], dtype=np.float32)
    weights = rarity[columns] if len(columns) else np.zeros(0, dtype=np.float32)
    norms = np.sqrt(np.bincount(rows, weights.astype(np.float64) ** 2, minlength=n))
    scaled = (weights / np.maximum(norms[rows], 1e-9)).astype(np.float32)
    return csr_array((scaled, (rows, columns)), shape=(n, len(shared)))


def _unit(vector: FloatArray) -> FloatArray:
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm > 1e-6 else np.zeros_like(vector)
