"""A catalogue that changes while requests read it: in the store first, then in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, TypeVar

from recsys.data.batch import ItemChange
from recsys.data.catalog import Catalog
from recsys.data.store import Store
from recsys.types import Item

State = TypeVar("State")
State_co = TypeVar("State_co", covariant=True)


class UpdatableRetriever(Protocol[State_co]):
    """A retriever whose items may change while it is read; `HybridRetriever` is one."""

    @property
    def state(self) -> State_co:
        """What a request reads. Never changes: an update puts another in its place."""
        ...

    def update(
        self,
        items: Sequence[Item],
        *,
        removed: Collection[str] = (),
        swap: AbstractContextManager[object] | None = None,
    ) -> None:
        """Add, replace and remove items; `swap` is held while the new state replaces the old."""
        ...


class LiveCatalog(Generic[State]):
    """The items of a domain in the store, as a catalogue and in a retriever, kept alike.

    Neither catalogue nor retriever state is ever altered: a change puts others in their
    place, so that requests read on undisturbed. Safe to use from several threads.
    `data_hash` is that of the store when `catalog` was read, by default now.
    """

    def __init__(
        self,
        store: Store,
        domain: str,
        catalog: Catalog,
        retriever: UpdatableRetriever[State],
        data_hash: str | None = None,
    ) -> None:
        self._store = store
        self._domain = domain
        self._catalog = catalog
        self._retriever = retriever
        self._hash = store.data_hash(domain) if data_hash is None else data_hash
        self._writing = threading.Lock()
        self._swapping = threading.Lock()  # held for a moment, while one catalogue and state follow another

    @property
    def catalog(self) -> Catalog:
        """The items of this moment."""
        return self._catalog

    def moment(self) -> tuple[Catalog, State]:
        """The items of this moment, and the retriever's state that belongs to them."""
        with self._swapping:
            return self._catalog, self._retriever.state

    def add(self, items: Sequence[Item]) -> ItemChange:
        """Add or replace items. Raises as `Store.put_items`, and ModelError from the embedder."""
        with self._writing:
            return self._take_over(self._store.put_items(self._domain, items), items, ())

    def remove(self, item_ids: Collection[str]) -> ItemChange:
        """Delete items. Raises as `Store.remove_items`."""
        with self._writing:
            return self._take_over(self._store.remove_items(self._domain, item_ids), (), item_ids)

    def refresh(self) -> None:
        """Take over what others changed in the store; where they did not, it costs one short query.

        Raises StoreError, and ModelError from the embedder.
        """
        if self._store.data_hash(self._domain) == self._hash:
            return
        with self._writing:
            now = self._store.data_hash(self._domain)
            items = self._store.items(self._domain)
            if items and now != self._hash:
                there = {item.id for item in items}
                self._apply(items, [item.id for item in self._catalog if item.id not in there])
                self._hash = now

    def _take_over(self, change: ItemChange, items: Sequence[Item], removed: Collection[str]) -> ItemChange:
        self._apply(items, removed)
        if change.before == self._hash:  # else others wrote too, and the next request looks
            self._hash = change.after
        return change

    def _apply(self, items: Sequence[Item], removed: Collection[str]) -> None:
        changed = [item for item in items if self._catalog.get(item.id) != item]
        gone = {item_id for item_id in removed if self._catalog.get(item_id) is not None}
        if changed or gone:
            kept = {item.id: item for item in self._catalog} | {item.id: item for item in changed}
            for item_id in gone:
                del kept[item_id]
            self._retriever.update(changed, removed=gone, swap=self._swap(Catalog(kept.values())))

    @contextmanager
    def _swap(self, catalog: Catalog) -> Iterator[None]:
        """While it is held the retriever takes its new state; then the catalogue follows, before anybody looks."""
        with self._swapping:
            yield
            self._catalog = catalog
