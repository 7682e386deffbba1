"""A nearest-neighbour index over item texts that takes changes without a rebuild."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from pathlib import Path

import numpy as np

from recsys.errors import IndexDamaged, RequestError, UnknownItem
from recsys.types import Item
from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.embedding import Embedder
from retrieval.text_index import files
from retrieval.text_index.kinds import IndexConfig, Kind
from retrieval.text_index.rows import (
    IndexRows,
    Progress,
    check_catalogue,
    check_unique,
    empty_catalogue,
    fingerprint,
)
from retrieval.text_index.segment import IndexSegment

__all__ = ["Progress", "TextIndex", "open_or_build"]

COMPACT_FROM, COMPACT_SHARE = 1_000, 0.1
"""Changed rows, at least and as a share of all, from which an index compacts itself."""

MOST_ADDED = 10_000
"""Added rows from which it does too: all of them are scored, 1.5 ms a query for this many."""


class TextIndex:
    """Item vectors of L2 norm 1, searched by inner product.

    An index is immutable, so any number of threads may read it. `with_items` and `without` return a
    new index that shares all large arrays with the old one: its base is the same, items added since
    are in a second segment that is scored exactly, and deleted items are masked. `compact` makes one
    base of what is left.

    Rows are the items of the base, then those added since, each in ascending order of id. An index
    that was built, compacted, saved or opened is all base.
    """

    def __init__(
        self,
        base: IndexSegment,
        added: IndexSegment,
        alive: BoolArray,
        *,
        embedder_name: str,
        config: IndexConfig,
    ) -> None:
        self.embedder_name = embedder_name
        self.config = config
        self._base = base
        self._added = added
        self._alive = alive
        self._base_count = int(np.count_nonzero(alive))

    def __len__(self) -> int:
        return self._base_count + len(self._added)

    def __contains__(self, item_id: object) -> bool:
        return self._find(item_id) is not None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Item ids in row order."""
        base = self._base.ids if self._all_alive else tuple(compress(self._base.ids, self._alive))
        return base + self._added.ids

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._base.index.d)

    @property
    def kind(self) -> Kind:
        """How the base is held."""
        return self._base.kind

    @classmethod
    def build(
        cls,
        items: Sequence[Item],
        embedder: Embedder,
        progress: Progress | None = None,
        config: IndexConfig | None = None,
    ) -> TextIndex:
        """Embed every item. Nothing is written.

        Raises:
            RequestError: There are no items, or two of one id.
            ModelError: The vectors are not finite or not of the embedder's dimension.
        """
        check_catalogue(items)
        rows = IndexRows.embed(items, embedder, embedder.dimension, progress)
        return cls._of(rows, embedder.name, config or IndexConfig())

    @classmethod
    def open(cls, folder: Path, *, embedder_name: str, config: IndexConfig | None = None) -> TextIndex:
        """Read a saved index, held as it was saved.

        Raises:
            IndexDamaged: It is missing, of another format, made by another embedder, truncated,
                altered or inconsistent; the message says which.
        """
        base = files.read(folder, embedder_name=embedder_name)
        return cls._of_base(base, embedder_name, config or IndexConfig())

    def save(self, folder: Path) -> None:
        """Write, compacted, to `folder`, replacing an old index as a whole or not at all.

        Raises:
            ConfigError: The folder holds other files.
            OSError: It cannot be written.
        """
        compacted = self.compact()
        with files.only_writer(folder):
            compacted._write(folder)

    def with_items(
        self, items: Sequence[Item], embedder: Embedder, progress: Progress | None = None
    ) -> TextIndex:
        """Return an index where `items` are added, or replace those of the same ids.

        Only new items and those whose text changed are embedded; without any, it is this index.
        Compacts when there are many changes.

        Raises:
            RequestError: Two items have one id, or the index was made by another embedder.
            ModelError: As in `build`.
        """
        if embedder.name != self.embedder_name:
            raise RequestError(
                f"the index was made by embedder '{self.embedder_name}', not '{embedder.name}'",
                hint="build a new index",
            )
        check_unique(items)
        items = [item for item in items if self.fingerprint(item.id) != fingerprint(item)]
        if not items:
            return self
        rows = IndexRows.embed(items, embedder, self.dimension, progress)
        return self._changed(rows.ids, rows)

    def without(self, ids: Iterable[str]) -> TextIndex:
        """Return an index without these items; unknown ids are ignored.

        They are never found again, but their vectors stay in memory until `compact`.

        Raises:
            RequestError: No item would be left.
        """
        removed = [item_id for item_id in set(ids) if item_id in self]
        if not removed:
            return self
        if len(removed) == len(self):
            raise empty_catalogue()
        return self._changed(removed, None)

    def compact(self) -> TextIndex:
        """Return this index as one base, as `config` asks for, without deleted items.

        Takes as long as filling a new FAISS index; it is trained again only if `kinds.lists_for`
        asks for another number of lists.
        """
        wanted = self.config.kind_for(len(self))
        if self._all_alive and not len(self._added) and self.kind == wanted:
            return self
        rows = self._base.read(self._alive)
        if len(self._added):
            rows = rows.joined(_read_all(self._added))
        return self._of(rows, self.embedder_name, self.config, trained=self._base)

    def search(
        self,
        vector: FloatArray,
        n: int,
        exclude_ids: Collection[str] = frozenset(),
        allowed: BoolArray | None = None,
    ) -> tuple[list[str], FloatArray]:
        """Search the items nearest to a vector.

        Args:
            vector: (dimension,).
            n: Items to return; fewer are found only if no more are left.
            exclude_ids: Ids that are not returned; they filter inside the search.
            allowed: (len(ids),), True for the rows that may be returned; likewise.

        Returns:
            Ids and inner products, best first; ties are ordered by id.

        Raises:
            RequestError: `vector` is not finite or not of the index's dimension, or `allowed`
                has another shape or type.
        """
        query = self._checked_query(vector)
        if n <= 0:
            return [], np.zeros(0, dtype=np.float32)
        in_base, in_added = self._masks(exclude_ids, allowed)
        found: list[tuple[float, str]] = []
        for segment, mask in ((self._base, in_base), (self._added, in_added)):
            rows, scores = segment.nearest(query, n, mask, self.config)
            found += zip((-scores).tolist(), [segment.ids[row] for row in rows], strict=True)
        found = sorted(found)[:n]
        return [item_id for _, item_id in found], np.array([-score for score, _ in found], dtype=np.float32)

    def vectors(self, ids: Sequence[str]) -> FloatArray:
        """Return the vectors of these items, (len(ids), dimension).

        Raises:
            UnknownItem: An item is not in the index.
        """
        locations = [self._find(item_id) for item_id in ids]
        unknown = [item_id for item_id, location in zip(ids, locations, strict=True) if location is None]
        if unknown:
            raise UnknownItem(f"not in the text index: {', '.join(unknown[:5])}")
        vectors = np.empty((len(ids), self.dimension), dtype=np.float32)
        for segment in (self._base, self._added):
            pairs = [(n, found[1]) for n, found in enumerate(locations) if found and found[0] is segment]
            if pairs:
                positions, rows = np.array(pairs, dtype=np.int64).T
                vectors[positions] = segment.vectors(np.ascontiguousarray(rows))
        return vectors

    def vectors_at(self, rows: RowArray) -> FloatArray:
        """Return the vectors of these rows, (len(rows), dimension); faster than by id."""
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        in_base = rows < len(self._alive_rows)
        if in_base.any():
            vectors[in_base] = self._base.vectors(self._alive_rows[rows[in_base]])
        if not in_base.all():
            vectors[~in_base] = self._added.vectors(rows[~in_base] - len(self._alive_rows))
        return vectors

    @cached_property
    def _alive_rows(self) -> RowArray:
        """Rows of the base that are not deleted."""
        return np.flatnonzero(self._alive)

    def fingerprint(self, item_id: str) -> bytes | None:
        """Return the `rows.fingerprint` an item was embedded with; None if unknown."""
        location = self._find(item_id)
        return bytes(location[0].fingerprints[location[1]]) if location else None

    @classmethod
    def _of(
        cls, rows: IndexRows, embedder_name: str, config: IndexConfig, trained: IndexSegment | None = None
    ) -> TextIndex:
        base = IndexSegment.of(rows, config.kind_for(len(rows.ids)), trained)
        return cls._of_base(base, embedder_name, config)

    @classmethod
    def _of_base(cls, base: IndexSegment, embedder_name: str, config: IndexConfig) -> TextIndex:
        added = IndexSegment.of(IndexRows.empty(base.index.d), "exact")
        alive = np.ones(len(base), dtype=np.bool_)
        return cls(base, added, alive, embedder_name=embedder_name, config=config)

    @property
    def _all_alive(self) -> bool:
        return self._base_count == len(self._base)

    def _find(self, item_id: object) -> tuple[IndexSegment, int] | None:
        """Return the segment and row of an item."""
        if not isinstance(item_id, str):
            return None
        row = self._added.rows.get(item_id)
        if row is not None:
            return self._added, row
        row = self._base.rows.get(item_id)
        return (self._base, row) if row is not None and self._alive[row] else None

    def _changed(self, removed: Collection[str], new: IndexRows | None) -> TextIndex:
        """Return an index with `removed` items taken out, then `new` ones put in."""
        removed = set(removed)
        alive = self._alive.copy()
        alive[[row for item_id in removed if (row := self._base.rows.get(item_id)) is not None]] = False
        added = self._added
        if new or not removed.isdisjoint(added.rows):
            rows = _read_all(added).without(removed)
            added = IndexSegment.of(rows.joined(new) if new else rows, "exact")
        index = TextIndex(self._base, added, alive, embedder_name=self.embedder_name, config=self.config)
        changed = len(added) + len(alive) - index._base_count
        too_many = changed > max(COMPACT_FROM, COMPACT_SHARE * len(index)) or len(added) > MOST_ADDED
        return index.compact() if too_many else index

    def _masks(
        self, exclude_ids: Collection[str], allowed: BoolArray | None
    ) -> tuple[BoolArray | None, BoolArray | None]:
        """Return which rows of base and added may be returned; None where all may."""
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (len(self),)):
            raise RequestError(
                f"`allowed` has type {allowed.dtype} and shape {allowed.shape}, not bool and ({len(self)},)",
                hint="give a value for each id of `index.ids`, in that order",
            )
        if allowed is None and not exclude_ids and self._all_alive:
            return None, None
        in_base, in_added = self._alive.copy(), np.ones(len(self._added), dtype=np.bool_)
        if allowed is not None:
            in_base[self._alive] = allowed[: self._base_count]
            in_added = allowed[self._base_count :].copy()
        for item_id in exclude_ids:
            if location := self._find(item_id):
                (in_base if location[0] is self._base else in_added)[location[1]] = False
        return in_base, in_added

    def _checked_query(self, vector: FloatArray) -> FloatArray:
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (self.dimension,):
            raise RequestError(
                f"the query vector has shape {query.shape}, the index needs ({self.dimension},)",
                hint="embed it with the embedder of the index",
            )
        if not np.isfinite(query).all():
            raise RequestError("the query vector has values that are not finite", hint="check what made it")
        return query

    def _write(self, folder: Path) -> None:
        files.write(folder, self._base, embedder_name=self.embedder_name)


def open_or_build(
    folder: Path,
    items: Sequence[Item],
    embedder: Embedder,
    progress: Progress | None = None,
    config: IndexConfig | None = None,
) -> tuple[TextIndex, str]:
    """Open the index of `items` in `folder`, or bring it up to date.

    Only new items and those whose text changed are embedded. An index that cannot be used is
    rebuilt. Of several processes that need the same index at once, one works and the others wait.

    Returns:
        The index, and what had to be done for it ("" if nothing); also if it could not be saved.

    Raises:
        RequestError: The catalogue is empty, or two items have one id.
        ConfigError: `folder` holds other files.
        ModelError: From the embedder.
    """
    check_catalogue(items)
    fingerprints = {item.id: fingerprint(item) for item in items}

    def opened() -> tuple[TextIndex, str]:
        index = TextIndex.open(folder, embedder_name=embedder.name, config=config)
        return index, _difference(index, fingerprints)

    try:
        index, reason = opened()
        if not reason:
            return index, ""
    except IndexDamaged:
        files.refuse_foreign(folder)
    with files.only_writer(folder):
        try:  # another process may have done it while this one waited
            index, reason = opened()
            if not reason:
                return index, ""
            stale = [item for item in items if index.fingerprint(item.id) != fingerprints[item.id]]
            if stale and embedder.dimension != index.dimension:
                raise files.damaged(
                    folder, f"has dimension {index.dimension}, the embedder gives {embedder.dimension}"
                )
            index = index.with_items(stale, embedder, progress)
            index = index.without(set(index.ids) - fingerprints.keys()).compact()
        except IndexDamaged as error:
            reason = error.message
            index = TextIndex.build(items, embedder, progress, config)
        try:
            index._write(folder)
        except OSError as error:
            reason += f"; the new one could not be saved: {error}"
        return index, reason


def _difference(index: TextIndex, fingerprints: Mapping[str, bytes]) -> str:
    """Describe how a saved index differs from `fingerprints` by id; "" if it does not."""
    saved = [index.fingerprint(item_id) for item_id in fingerprints]
    kept = len(saved) - saved.count(None)
    same = sum(old == new for old, new in zip(saved, fingerprints.values(), strict=True))
    counts = {"new": len(fingerprints) - kept, "changed": kept - same, "gone": len(index) - kept}
    changes = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
    parts = [f"items: {changes}"] if changes else []
    kind = index.config.kind_for(len(fingerprints))
    if index.kind != kind:
        parts.append(f"held as '{kind}', until now as '{index.kind}'")
    return "; ".join(parts)


def _read_all(segment: IndexSegment) -> IndexRows:
    return segment.read(np.ones(len(segment), dtype=np.bool_))
