"""Items as rows of a text index: id, fingerprint of the text, vector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise

import numpy as np
import numpy.typing as npt

from recsys.errors import ModelError, RequestError
from recsys.types import Item
from retrieval.arrays import FloatArray
from retrieval.embedding import MANY, Embedder, item_text

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

Fingerprints = npt.NDArray[np.bytes_]
"""One `fingerprint` per row."""

FINGERPRINT_DTYPE = "S16"


@dataclass(frozen=True)
class IndexRows:
    """Rows in ascending order of id."""

    ids: tuple[str, ...]  # (n)
    fingerprints: Fingerprints  # (n,)
    vectors: FloatArray  # (n, d)

    @classmethod
    def empty(cls, dimension: int) -> IndexRows:
        """Return no rows, of vectors (d,)."""
        return cls((), np.zeros(0, dtype=FINGERPRINT_DTYPE), np.zeros((0, dimension), dtype=np.float32))

    @classmethod
    def embed(
        cls, items: Sequence[Item], embedder: Embedder, dimension: int, progress: Progress | None = None
    ) -> IndexRows:
        """Embed items of distinct ids, in chunks; equal texts once.

        Raises:
            ModelError: The vectors are not finite or not of length `dimension`.
        """
        items = sorted(items, key=lambda item: item.id)
        number_of: dict[str, int] = {}
        numbers = [number_of.setdefault(item_text(item), len(number_of)) for item in items]
        distinct = list(number_of)
        vectors = np.empty((len(distinct), dimension), dtype=np.float32)
        for start in range(0, len(distinct), MANY):
            texts = distinct[start : start + MANY]
            chunk = np.asarray(embedder.embed(texts), dtype=np.float32)
            if chunk.shape != (len(texts), dimension) or not np.isfinite(chunk).all():
                raise ModelError(
                    f"embedder '{embedder.name}' gave vectors of a wrong shape or values that are not finite",
                    hint="choose another embedder",
                )
            vectors[start : start + len(texts)] = chunk
            if progress:
                progress(start + len(texts), len(distinct))
        fingerprints = np.array([fingerprint(item) for item in items], dtype=FINGERPRINT_DTYPE)
        if len(distinct) < len(items):
            vectors = vectors[numbers]
        return cls(tuple(item.id for item in items), fingerprints, vectors)

    def without(self, ids: Collection[str]) -> IndexRows:
        """Return the rows of other ids."""
        kept = np.array([item_id not in ids for item_id in self.ids], dtype=np.bool_)
        return IndexRows(tuple(compress(self.ids, kept)), self.fingerprints[kept], self.vectors[kept])

    def joined(self, other: IndexRows) -> IndexRows:
        """Return the rows of both, which share no id."""
        ids, split = self.ids + other.ids, len(self.ids)
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        position = np.empty_like(order)
        position[order] = np.arange(len(ids))
        # Filled part by part: at a million rows a concatenation would hold them a third time.
        vectors = np.empty((len(ids), self.vectors.shape[1]), dtype=np.float32)
        vectors[position[:split]] = self.vectors
        vectors[position[split:]] = other.vectors
        fingerprints = np.concatenate([self.fingerprints, other.fingerprints])[order]
        return IndexRows(tuple(ids[row] for row in order), fingerprints, vectors)


def fingerprint(item: Item) -> bytes:
    """Identify an item's text: 16 hexadecimal digits of its SHA-256."""
    text = item_text(item).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16].encode()


def check_unique(items: Sequence[Item]) -> None:
    """Raise RequestError if two items have one id."""
    for first, second in pairwise(sorted(item.id for item in items)):
        if first == second:
            raise RequestError(f"item '{first}' is in the catalogue twice", hint="keep one of them")


def check_catalogue(items: Sequence[Item]) -> None:
    """Raise RequestError if there are no items, or two of one id."""
    if not items:
        raise empty_catalogue()
    check_unique(items)


def empty_catalogue() -> RequestError:
    """Return the error for an index without items."""
    return RequestError("empty catalogue", hint="import at least one item")
