"""Items whose text agrees with what a person liked and asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config import RetrieverConfig
from recsys.types import Candidate, HistoryEntry, Item
from retrieval.base import Query
from retrieval.embedding import Embedder, FloatArray, item_text
from retrieval.index import TextIndex

UNKNOWN_WEIGHT = 0.5
"""Weight of a history item that nobody said they liked, where a liked one has 1."""

DISLIKE_WEIGHT = 0.25
"""Length of the disliked centroid, where the liked one has 1."""

MEMORY_HALF_LIVES = 10
"""Entries older than this would weigh under a thousandth, and are left out."""

_TINY = 1e-6


@dataclass(frozen=True)
class _WeightedHistory:
    """Distinct history items with their signed weights: ids (h), vectors (h, d), weights (h,)."""

    ids: tuple[str, ...]
    vectors: FloatArray
    weights: FloatArray


class TextRetriever:
    """Searches the text index with a vector made of history and wish.

    The query is Rocchio's: the wish, plus the centroid of the liked history, less a
    quarter of the centroid of the disliked history, each of length 1 before they
    are mixed, `config.wish_weight` for the wish and the rest for the history. In a
    centroid an entry weighs `0.5 ** (age / config.half_life)`, age 0 being the
    newest; an entry of unknown liking counts as mildly liked. Dislikes alone give no
    direction to search in. `score` is the cosine of query and item, -1 to 1.

    An item of the history that is not in the index is embedded for the request.

    Rocchio: Relevance feedback in information retrieval, in The SMART Retrieval
    System, 1971.
    """

    def __init__(
        self, items: Sequence[Item], index: TextIndex, embedder: Embedder, config: RetrieverConfig
    ) -> None:
        self._items = {item.id: item for item in items}
        self._index = index
        self._embedder = embedder
        self._config = config

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """The `n` items nearest to history and wish; [] if there is neither.

        `because` maps each history item to its exact share of the score: the score
        is a dot product with a weighted sum, so the shares of all history items and
        of the wish add up to it. Negative shares are those that spoke against.
        """
        vector, history = self._query_vector(query)
        if vector is None:
            return []
        ids, scores = self._index.search(vector, n, query.exclude)
        shares = self._shares(history, ids)
        return [
            Candidate(
                item=self._items[item_id],
                score=float(score),
                source="text",
                channels={"text": rank},
                because=because,
            )
            for rank, (item_id, score, because) in enumerate(zip(ids, scores, shares, strict=True), start=1)
        ]

    def _query_vector(self, query: Query) -> tuple[FloatArray | None, _WeightedHistory | None]:
        """The unit query vector (d,), and the history scaled to its part in it.

        The history part of the vector is `history.weights @ history.vectors`.
        """
        wish = query.wish.strip() if self._config.wish_weight > 0 else ""
        history = self._weighted_history(query.history, alone=not wish)
        vector = np.zeros(self._index.dimension, dtype=np.float32)
        if wish:
            vector += (self._config.wish_weight if history else 1.0) * self._embedder.embed([wish])[0]
        if history:
            vector += history.weights @ history.vectors
        norm = float(np.linalg.norm(vector))
        if norm < _TINY:
            return None, None
        if history:
            history = _WeightedHistory(history.ids, history.vectors, history.weights / np.float32(norm))
        return vector / np.float32(norm), history

    def _weighted_history(self, entries: Sequence[HistoryEntry], *, alone: bool) -> _WeightedHistory | None:
        """History with the weights it has beside a wish, or alone; None if it says nothing."""
        scale = 1.0 if alone else 1.0 - self._config.wish_weight
        half_life = self._config.half_life
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
        positive = _unit_weights(ids, vectors, liked)
        if alone and not positive.any():
            return None
        negative = _unit_weights(ids, vectors, disliked)
        return _WeightedHistory(ids, vectors, np.float32(scale) * (positive - DISLIKE_WEIGHT * negative))

    def _vectors_of(self, items: dict[str, Item]) -> FloatArray:
        """Array (len(items), d), from the index where it has them."""
        vectors = np.empty((len(items), self._index.dimension), dtype=np.float32)
        known = np.array([item_id in self._index for item_id in items])
        if known.any():
            vectors[known] = self._index.vectors([item_id for item_id in items if item_id in self._index])
        if not known.all():
            texts = [item_text(item) for item_id, item in items.items() if item_id not in self._index]
            vectors[~known] = self._embedder.embed(texts)
        return vectors

    def _shares(self, history: _WeightedHistory | None, ids: Sequence[str]) -> list[dict[str, float]]:
        if history is None or not ids:
            return [{} for _ in ids]
        products = (self._index.vectors(ids) @ history.vectors.T) * history.weights
        return [dict(zip(history.ids, row, strict=True)) for row in products.tolist()]


def _unit_weights(ids: Sequence[str], vectors: FloatArray, weights: dict[str, float]) -> FloatArray:
    """Weights (h,) scaled so that the weighted sum of `vectors` has length 1; zeros if it has none."""
    row = np.array([weights.get(item_id, 0.0) for item_id in ids], dtype=np.float32)
    norm = float(np.linalg.norm(row @ vectors))
    return row / np.float32(norm) if norm > _TINY else np.zeros_like(row)
