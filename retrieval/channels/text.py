"""Items whose text is similar to the history and the wish."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.config.retrieval import TextConfig
from recsys.knowledge.typed_values import with_attributes
from recsys.types import HistoryEntry, Item
from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.base import Query
from retrieval.embedding import Embedder, item_text
from retrieval.table import ItemRows
from retrieval.text_index.index import TextIndex

UNKNOWN_WEIGHT = 0.5
"""Weight of a history item without a known preference; a liked one has 1."""

DISLIKE_WEIGHT = 0.25
"""Length of the disliked centroid; the liked one has 1."""

MEMORY_HALF_LIVES = 10
"""Entries older than this would weigh under a thousandth, and are left out."""

MEAN_OF = 10_000
"""Vectors of a larger index that its mean is taken of."""

_TINY = 1e-6


@dataclass(frozen=True)
class _WeightedHistory:
    """Distinct history items with signed weights."""

    ids: tuple[str, ...]
    vectors: FloatArray  # (h, d)
    weights: FloatArray  # (h,)


@dataclass(frozen=True)
class TextScores:
    """Cosines of the items to one query vector."""

    index: TextIndex
    table: ItemRows
    vector: FloatArray  # (d,), the query
    history: _WeightedHistory | None  # its part of the query

    def top(self, n: int, allowed: BoolArray) -> RowArray:
        """Search the index, with the filter inside, for the nearest `n` rows, best first."""
        index_row = self.table.positions_in(self.index.ids)
        rows = np.flatnonzero(allowed & (index_row >= 0))
        searchable = np.zeros(len(self.index.ids), dtype=bool)
        searchable[index_row[rows]] = True
        ids, _ = self.index.search(self.vector, n, allowed=searchable)
        return np.array([self.table.row_of[item_id] for item_id in ids], dtype=np.int64)

    def at(self, rows: RowArray) -> FloatArray:
        """Return cosines, (len(rows),); NaN for items that are not in the index."""
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        known = self._known(rows)
        # Not by BLAS, here and below: its threads wait for each other, 50 ms on busy cores.
        scores[known] = np.einsum("nd,d->n", self._vectors(rows[known]), self.vector)
        return scores

    def contributions(self, rows: RowArray) -> list[dict[str, float]]:
        """Return each history item's exact share of the score, negative ones included.

        The score is a dot product with a weighted sum, so the shares of all history items and
        of the wish add up to it.
        """
        shares: list[dict[str, float]] = [{} for _ in rows]
        known = np.flatnonzero(self._known(rows))
        if self.history is None or not len(known):
            return shares
        vectors = self._vectors(rows[known])
        products = np.einsum("nd,hd->nh", vectors, self.history.vectors) * self.history.weights
        for position, row in zip(known.tolist(), products.tolist(), strict=True):
            shares[position] = dict(zip(self.history.ids, row, strict=True))
        return shares

    def _known(self, rows: RowArray) -> BoolArray:
        return self.table.positions_in(self.index.ids)[rows] >= 0

    def _vectors(self, rows: RowArray) -> FloatArray:
        return self.index.vectors_at(self.table.positions_in(self.index.ids)[rows])


@dataclass(frozen=True)
class TextChannel:
    """Searches the text index with a vector of history and wish.

    The query is Rocchio's: the wish, plus the centroid of the liked history, less a quarter of the
    centroid of the disliked history, each scaled to length 1, weighted `config.wish_weight` for the
    wish and the rest for the history. In a centroid an entry weighs `0.5 ** (age / config.half_life)`,
    the newest having age 0; an entry without a known preference counts as mildly liked. Dislikes
    alone give no direction to search in. A score is the cosine of query and item, -1 to 1.

    A history item that is not in the index is embedded for the request. With `config.centred` the mean
    of the catalogue is subtracted from the vectors of the history, so that what all texts have in common
    says nothing (Mu and Viswanath: All-but-the-top, ICLR 2018).

    Rocchio: Relevance feedback in information retrieval, in The SMART Retrieval System, 1971.
    """

    index: TextIndex
    embedder: Embedder
    config: TextConfig
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> TextScores | None:
        """Score items by nearness to history and wish; None if there is neither."""
        vector, history = self._query_vector(query)
        return None if vector is None else TextScores(self.index, table, vector, history)

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> TextChannel:
        """Return the channel over a changed index; only changed items are embedded."""
        index = self.index.without([item_id for item_id in removed if item_id in self.index])
        shown = shown_items(changed, self.config)
        return dataclasses.replace(self, index=index.with_items(shown, self.embedder) if shown else index)

    @cached_property
    def _mean(self) -> FloatArray:
        """Return the mean of the index, (d,), or of as many vectors as tell it."""
        rows = np.arange(len(self.index.ids), dtype=np.int64)
        mean: FloatArray = self.index.vectors_at(rows[:: 1 + len(rows) // MEAN_OF]).mean(axis=0)
        return mean

    def _query_vector(self, query: Query) -> tuple[FloatArray | None, _WeightedHistory | None]:
        """Return the unit query vector (d,), and the history scaled to its part of it.

        The history's part of the vector is `history.weights @ history.vectors`.
        """
        wish = query.wish.strip() if self.config.wish_weight > 0 else ""
        history = self._weighted_history(query.history, alone=not wish)
        vector = np.zeros(self.index.dimension, dtype=np.float32)
        if wish:
            vector += (self.config.wish_weight if history else 1.0) * self.embedder.embed([wish])[0]
        if history:
            vector += history.weights @ history.vectors
        norm = float(np.linalg.norm(vector))
        if norm < _TINY:
            return None, None
        if history:
            history = _WeightedHistory(history.ids, history.vectors, history.weights / np.float32(norm))
        return vector / np.float32(norm), history

    def _weighted_history(self, entries: Sequence[HistoryEntry], *, alone: bool) -> _WeightedHistory | None:
        """Weigh the history, `alone` or next to a wish; None without direction."""
        scale = 1.0 if alone else 1.0 - self.config.wish_weight
        half_life = self.config.half_life
        oldest = int(min(MEMORY_HALF_LIVES * half_life, len(entries)))
        remembered = entries[-(oldest + 1) :]
        liked: dict[str, float] = {}
        disliked: dict[str, float] = {}
        for age, entry in enumerate(reversed(remembered)):
            weight = 0.5 ** (age / half_life) * (UNKNOWN_WEIGHT if entry.liked is None else 1.0)
            side = disliked if entry.liked is False else liked
            side[entry.item.id] = side.get(entry.item.id, 0.0) + weight
        if scale == 0 or not remembered:
            return None

        items = {entry.item.id: entry.item for entry in remembered}
        ids = tuple(items)
        vectors = self._vectors_of(items)
        if self.config.centred:
            vectors = vectors - self._mean
        positive = _unit_weights(ids, vectors, liked)
        if alone and not positive.any():
            return None
        negative = _unit_weights(ids, vectors, disliked)
        return _WeightedHistory(ids, vectors, np.float32(scale) * (positive - DISLIKE_WEIGHT * negative))

    def _vectors_of(self, items: dict[str, Item]) -> FloatArray:
        """Return vectors (len(items), d), from the index where it has them."""
        vectors = np.empty((len(items), self.index.dimension), dtype=np.float32)
        known = np.array([item_id in self.index for item_id in items])
        if known.any():
            vectors[known] = self.index.vectors([item_id for item_id in items if item_id in self.index])
        if not known.all():
            others = [item for item_id, item in items.items() if item_id not in self.index]
            vectors[~known] = self.embedder.embed(list(map(item_text, shown_items(others, self.config))))
        return vectors


def shown_items(items: Sequence[Item], config: TextConfig) -> list[Item]:
    """Return items with the attributes and the description that their text has."""
    shown = (with_attributes(item, config.attributes) for item in items)
    return [
        item
        if len(item.description) <= config.description
        else item.model_copy(update={"description": item.description[: config.description]})
        for item in shown
    ]


def _unit_weights(ids: Sequence[str], vectors: FloatArray, weights: dict[str, float]) -> FloatArray:
    """Scale weights (h,) so that their sum of vectors has length 1, or is zero."""
    row = np.array([weights.get(item_id, 0.0) for item_id in ids], dtype=np.float32)
    norm = float(np.linalg.norm(row @ vectors))
    return row / np.float32(norm) if norm > _TINY else np.zeros_like(row)
