"""A nearest-neighbour index over item texts that takes new items without being rebuilt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.errors import IndexDamaged, RequestError, UnknownItem
from recsys.types import Item
from retrieval.embedding import Embedder, FloatArray
from retrieval.text_index import files
from retrieval.text_index.kinds import BoolArray, IndexConfig, Kind
from retrieval.text_index.rows import (
    Progress,
    Rows,
    check_catalogue,
    check_unique,
    empty_catalogue,
    fingerprint,
)
from retrieval.text_index.segment import IndexSegment

__all__ = ["Progress", "TextIndex", "open_or_build"]

COMPACT_FROM, COMPACT_SHARE = 1_000, 0.1
"""Changed rows, at least and as a share of all, at which an index is compacted by itself."""

MOST_ADDED = 10_000
"""Added rows at which it is too: they are all scored, 1.5 ms a query for this many."""


class TextIndex:
    """Item vectors of L2 norm 1, searched by inner product; `config` says how.

    An index never changes after it is made, so any number of threads may read it,
    and a reader sees the same items for as long as it keeps it. `with_items` and
    `without` give a new index, which shares all large arrays with the old one: its
    base is the same, items added since are kept apart and scored one by one, and
    items gone are masked. `compact` makes one base of what is left.

    Rows are the items of the base, then those added since, each in ascending order
    of id. An index that was built, compacted, saved or opened is all base.
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
        """Item ids in row order; see the class."""
        base = self._base.ids if self._all_alive else tuple(compress(self._base.ids, self._alive))
        return base + self._added.ids

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._base.index.d)

    @property
    def kind(self) -> Kind:
        """How the base is held, which `config` may have left open."""
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

        Raises RequestError if there are no items or two of one id, ModelError if the
        embedder gives vectors that are not finite or not of its dimension.
        """
        check_catalogue(items)
        rows = Rows.embedded(items, embedder, embedder.dimension, progress)
        return cls._of(rows, embedder.name, config or IndexConfig())

    @classmethod
    def open(cls, folder: Path, *, embedder_name: str, config: IndexConfig | None = None) -> TextIndex:
        """Read a saved index, held as it was saved.

        Raises IndexDamaged, saying why, if it is missing, of another format, made by
        another embedder, truncated, altered, or inconsistent.
        """
        base = files.read(folder, embedder_name=embedder_name)
        return cls._of_base(base, embedder_name, config or IndexConfig())

    def save(self, folder: Path) -> None:
        """Write, compacted, to `folder`, replacing an older index there as a whole, or not at all.

        Raises ConfigError if the folder holds anything but an index, OSError if it
        cannot be written.
        """
        compacted = self.compact()
        with files.only_writer(folder):
            compacted._write(folder)

    def with_items(
        self, items: Sequence[Item], embedder: Embedder, progress: Progress | None = None
    ) -> TextIndex:
        """An index with `items` too, in place of those of the same ids.

        Only new items and those whose text changed are embedded; without any, it is
        this index. Compacts when the changes have become many, see `compact`.

        Raises RequestError for two items of one id or another embedder than the
        index was made by, ModelError as `build`.
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
        rows = Rows.embedded(items, embedder, self.dimension, progress)
        return self._changed(rows.ids, rows)

    def without(self, ids: Iterable[str]) -> TextIndex:
        """An index without these items; ids it does not have are passed over.

        They are never found again, but their vectors lie in memory until `compact`.
        Raises RequestError if no item would be left.
        """
        gone = [item_id for item_id in set(ids) if item_id in self]
        if not gone:
            return self
        if len(gone) == len(self):
            raise empty_catalogue()
        return self._changed(gone, None)

    def compact(self) -> TextIndex:
        """This index as one base, of the kind `config` wants, without a trace of items gone.

        Takes as long as filling a new FAISS index: `ivfpq` keeps what it learned while
        `index_kinds.lists_for` wants as many lists, `hnsw` links its whole graph anew.
        """
        wanted = self.config.kind_for(len(self))
        if self._all_alive and not len(self._added) and self.kind == wanted:
            return self
        rows = self._base.read(self._alive)
        if len(self._added):
            rows = rows.joined(_read_all(self._added))
        return self._of(rows, self.embedder_name, self.config, like=self._base)

    def search(
        self,
        vector: FloatArray,
        n: int,
        exclude_ids: Collection[str] = frozenset(),
        allowed: BoolArray | None = None,
    ) -> tuple[list[str], FloatArray]:
        """The `n` items nearest to `vector` (dimension,), best first: ids and inner products.

        `allowed` (len(ids),) is True for the rows that may be found. It and
        `exclude_ids` filter inside the search, so the list is shorter than `n` only
        if no more items are left. Ties are ordered by item id.

        Raises RequestError for a vector that is not finite or not of the index's
        dimension, and for an `allowed` of another shape or type.
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
        """Array (len(ids), dimension) of item vectors. Raises UnknownItem."""
        places = [self._find(item_id) for item_id in ids]
        unknown = [item_id for item_id, place in zip(ids, places, strict=True) if place is None]
        if unknown:
            raise UnknownItem(f"not in the text index: {', '.join(unknown[:5])}")
        vectors = np.empty((len(ids), self.dimension), dtype=np.float32)
        for segment in (self._base, self._added):
            here = [(at, place[1]) for at, place in enumerate(places) if place and place[0] is segment]
            if here:
                at, rows = np.array(here, dtype=np.int64).T
                vectors[at] = segment.vectors(np.ascontiguousarray(rows))
        return vectors

    def at(self, places: npt.NDArray[np.int64]) -> FloatArray:
        """Array (len(places), dimension): the vectors of `ids` at these places, faster than by id."""
        vectors = np.empty((len(places), self.dimension), dtype=np.float32)
        in_base = places < len(self._living)
        if in_base.any():
            vectors[in_base] = self._base.vectors(self._living[places[in_base]])
        if not in_base.all():
            vectors[~in_base] = self._added.vectors(places[~in_base] - len(self._living))
        return vectors

    @cached_property
    def _living(self) -> npt.NDArray[np.int64]:
        """Rows of the base that are not deleted."""
        return np.flatnonzero(self._alive)

    def fingerprint(self, item_id: str) -> bytes | None:
        """Identifies the text an item was embedded with (`index_rows.fingerprint`); None if it is not here."""
        place = self._find(item_id)
        return bytes(place[0].fingerprints[place[1]]) if place else None

    @classmethod
    def _of(
        cls, rows: Rows, embedder_name: str, config: IndexConfig, like: IndexSegment | None = None
    ) -> TextIndex:
        base = IndexSegment.of(rows, config.kind_for(len(rows.ids)), like)
        return cls._of_base(base, embedder_name, config)

    @classmethod
    def _of_base(cls, base: IndexSegment, embedder_name: str, config: IndexConfig) -> TextIndex:
        added = IndexSegment.of(Rows.none(base.index.d), "exact")
        alive = np.ones(len(base), dtype=np.bool_)
        return cls(base, added, alive, embedder_name=embedder_name, config=config)

    @property
    def _all_alive(self) -> bool:
        return self._base_count == len(self._base)

    def _find(self, item_id: object) -> tuple[IndexSegment, int] | None:
        """The segment and row of a living item."""
        row = self._added.rows.get(item_id)  # type: ignore[call-overload]  # an id of any type is unknown
        if row is not None:
            return self._added, row
        row = self._base.rows.get(item_id)  # type: ignore[call-overload]
        return (self._base, row) if row is not None and self._alive[row] else None

    def _changed(self, gone: Collection[str], new: Rows | None) -> TextIndex:
        """Items `gone` taken out, then `new` ones put in."""
        gone = set(gone)
        alive = self._alive.copy()
        alive[[row for item_id in gone if (row := self._base.rows.get(item_id)) is not None]] = False
        added = self._added
        if new or not gone.isdisjoint(added.rows):
            rows = _read_all(added).without(gone)
            added = IndexSegment.of(rows.joined(new) if new else rows, "exact")
        index = TextIndex(self._base, added, alive, embedder_name=self.embedder_name, config=self.config)
        changed = len(added) + len(alive) - index._base_count
        many = changed > max(COMPACT_FROM, COMPACT_SHARE * len(index)) or len(added) > MOST_ADDED
        return index.compact() if many else index

    def _masks(
        self, exclude_ids: Collection[str], allowed: BoolArray | None
    ) -> tuple[BoolArray | None, BoolArray | None]:
        """Which rows of base and added may be found; None where all may."""
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (len(self),)):
            raise RequestError(
                f"`allowed` is of type {allowed.dtype} and shape {allowed.shape}, not bool and ({len(self)},)",
                hint="it has a value for each id of `index.ids`, in that order",
            )
        if allowed is None and not exclude_ids and self._all_alive:
            return None, None
        in_base, in_added = self._alive.copy(), np.ones(len(self._added), dtype=np.bool_)
        if allowed is not None:
            in_base[self._alive] = allowed[: self._base_count]
            in_added = allowed[self._base_count :].copy()
        for item_id in exclude_ids:
            if place := self._find(item_id):
                (in_base if place[0] is self._base else in_added)[place[1]] = False
        return in_base, in_added

    def _checked_query(self, vector: FloatArray) -> FloatArray:
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (self.dimension,):
            raise RequestError(
                f"the query vector has shape {query.shape}, the index wants ({self.dimension},)",
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
    """The index of `items`, kept in `folder`; and what had to be done for it ("" if nothing).

    A saved index is brought up to date: only new items and those whose text changed
    are embedded. One that cannot be used is built anew. Of several processes that
    need the same index at once, one works and the others wait. An index that cannot
    be saved is still returned, and the reason says so.

    Raises RequestError for an empty catalogue or two items of one id, ConfigError if
    `folder` holds other files, ModelError from the embedder.
    """
    check_catalogue(items)
    wanted = {item.id: fingerprint(item) for item in items}

    def opened() -> tuple[TextIndex, str]:
        index = TextIndex.open(folder, embedder_name=embedder.name, config=config)
        return index, _difference(index, wanted)

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
            stale = [item for item in items if index.fingerprint(item.id) != wanted[item.id]]
            if stale and embedder.dimension != index.dimension:
                raise files.damaged(
                    folder, f"has dimension {index.dimension}, the embedder gives {embedder.dimension}"
                )
            index = index.with_items(stale, embedder, progress)
            index = index.without(set(index.ids) - wanted.keys()).compact()
        except IndexDamaged as error:
            reason = error.message
            index = TextIndex.build(items, embedder, progress, config)
        try:
            index._write(folder)
        except OSError as error:
            reason += f"; the new one could not be saved: {error}"
        return index, reason


def _difference(index: TextIndex, wanted: Mapping[str, bytes]) -> str:
    """In words, what of a saved index is not as `wanted` (fingerprints by id); "" if nothing."""
    known = [index.fingerprint(item_id) for item_id in wanted]
    kept = len(known) - known.count(None)
    same = sum(ours == theirs for ours, theirs in zip(known, wanted.values(), strict=True))
    counts = {"new": len(wanted) - kept, "changed": kept - same, "gone": len(index) - kept}
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    parts = [f"items: {told}"] if told else []
    kind = index.config.kind_for(len(wanted))
    if index.kind != kind:
        parts.append(f"held as '{kind}', until now as '{index.kind}'")
    return "; ".join(parts)


def _read_all(segment: IndexSegment) -> Rows:
    return segment.read(np.ones(len(segment), dtype=np.bool_))
