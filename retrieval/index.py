"""An exact nearest-neighbour index over item texts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys.errors import IndexDamaged, ModelError, RequestError, UnknownItem
from recsys.types import Item
from retrieval import index_files
from retrieval.embedding import Embedder, FloatArray, item_text

if TYPE_CHECKING:
    import faiss

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

_CHUNK = 512


class TextIndex:
    """Item vectors of L2 norm 1, searched exactly by inner product (FAISS `IndexFlatIP`).

    `ids` are the item ids in ascending order, which is the order of the rows. An
    index never changes after it is made, so any number of threads may read it.
    """

    def __init__(
        self, ids: Sequence[str], index: faiss.IndexFlat, *, embedder_name: str, data_hash: str
    ) -> None:
        self.ids = tuple(ids)
        self.embedder_name = embedder_name
        self.data_hash = data_hash
        self._index = index
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._rows

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    @classmethod
    def build(
        cls, items: Sequence[Item], embedder: Embedder, data_hash: str, progress: Progress | None = None
    ) -> TextIndex:
        """Embed every item. Nothing is written.

        Raises RequestError if there are no items or two of one id, ModelError if the
        embedder gives vectors that are not finite or not of its dimension.
        """
        import faiss

        _check_catalogue(items)
        ordered = sorted(items, key=lambda item: item.id)
        index = faiss.IndexFlatIP(embedder.dimension)
        for start in range(0, len(ordered), _CHUNK):
            texts = [item_text(item) for item in ordered[start : start + _CHUNK]]
            vectors = np.ascontiguousarray(embedder.embed(texts), dtype=np.float32)
            if vectors.shape != (len(texts), index.d) or not np.isfinite(vectors).all():
                raise ModelError(
                    f"embedder '{embedder.name}' gave vectors of a wrong shape or values that are not finite",
                    hint="choose another embedder",
                )
            index.add(vectors)
            if progress:
                progress(start + len(texts), len(ordered))
        return cls([item.id for item in ordered], index, embedder_name=embedder.name, data_hash=data_hash)

    @classmethod
    def open(cls, folder: Path, *, embedder_name: str, data_hash: str) -> TextIndex:
        """Read a saved index. `data_hash` is the caller's hash of the catalogue.

        Raises IndexDamaged, saying why, if it is missing, of another format, made by
        another embedder or from other data, truncated, altered, or inconsistent.
        """
        ids, index = index_files.read(folder, embedder_name=embedder_name, data_hash=data_hash)
        return cls(ids, index, embedder_name=embedder_name, data_hash=data_hash)

    def save(self, folder: Path) -> None:
        """Write to `folder`, replacing an older index there as a whole, or not at all.

        Raises ConfigError if the folder holds anything but an index, OSError if it
        cannot be written.
        """
        with index_files.only_writer(folder):
            self._write(folder)

    def search(
        self, vector: FloatArray, n: int, exclude_ids: Collection[str] = frozenset()
    ) -> tuple[list[str], FloatArray]:
        """The `n` items nearest to `vector` (dimension,), best first: ids and inner products.

        Excluded items are skipped inside the search, so the list is shorter than `n`
        only if no more items are left. Ties are ordered by item id.
        """
        import faiss

        excluded = np.array(
            sorted({self._rows[item_id] for item_id in exclude_ids if item_id in self._rows}), dtype=np.int64
        )
        n = min(n, len(self) - len(excluded))
        if n <= 0:
            return [], np.zeros(0, dtype=np.float32)
        query = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        parameters = None
        if len(excluded):
            allowed = faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))
            parameters = faiss.SearchParameters(sel=allowed)  # type: ignore[call-arg]  # not in its stubs
        scores, rows = self._index.search(query, n, params=parameters)
        order = np.lexsort((rows[0], -scores[0]))
        return [self.ids[row] for row in rows[0][order]], scores[0][order]

    def vectors(self, ids: Sequence[str]) -> FloatArray:
        """Array (len(ids), dimension) of item vectors. Raises UnknownItem."""
        unknown = [item_id for item_id in ids if item_id not in self._rows]
        if unknown:
            raise UnknownItem(f"not in the text index: {', '.join(unknown[:5])}")
        if not ids:
            return np.zeros((0, self.dimension), dtype=np.float32)
        rows = np.array([self._rows[item_id] for item_id in ids], dtype=np.int64)
        vectors: FloatArray = self._index.reconstruct_batch(rows)
        return vectors

    def _write(self, folder: Path) -> None:
        index_files.write(
            folder, self.ids, self._index, embedder_name=self.embedder_name, data_hash=self.data_hash
        )


def open_or_build(
    folder: Path,
    items: Sequence[Item],
    embedder: Embedder,
    data_hash: str,
    progress: Progress | None = None,
) -> tuple[TextIndex, str]:
    """The saved index, or a new one that is saved there; and why it was built ("" if opened).

    Of several processes that need the same index at once, one builds it and the
    others wait. An index that cannot be saved is still returned, and the reason
    says so.

    Raises RequestError for an empty catalogue or two items of one id, ConfigError if
    `folder` holds other files, ModelError from the embedder.
    """
    _check_catalogue(items)

    def opened() -> TextIndex:
        index = TextIndex.open(folder, embedder_name=embedder.name, data_hash=data_hash)
        if index.ids != tuple(sorted(item.id for item in items)):
            raise index_files.damaged(folder, "holds other items than the catalogue")
        return index

    try:
        return opened(), ""
    except IndexDamaged:
        index_files.refuse_foreign(folder)
    with index_files.only_writer(folder):
        try:  # another process may have built it while this one waited
            return opened(), ""
        except IndexDamaged as error:
            reason = error.message
        index = TextIndex.build(items, embedder, data_hash, progress)
        try:
            index._write(folder)
        except OSError as error:
            reason += f"; the new one could not be saved: {error}"
        return index, reason


def _check_catalogue(items: Sequence[Item]) -> None:
    if not items:
        raise RequestError("empty catalogue", hint="import at least one item")
    for first, second in pairwise(sorted(item.id for item in items)):
        if first == second:
            raise RequestError(f"item '{first}' is in the catalogue twice", hint="keep one of them")
