"""A catalog that may change during requests: in the store, then in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, TypeVar

from recsys.data.batch import ItemChange
from recsys.data.catalog import Catalog
from recsys.data.store import Store
from recsys.knowledge.relations import Edge
from recsys.types import Item

State = TypeVar("State")
State_co = TypeVar("State_co", covariant=True)


class UpdatableRetriever(Protocol[State_co]):
    """A retriever whose items may change while it is read, such as `HybridRetriever`."""

    @property
    def state(self) -> State_co:
        """What a request reads; immutable, an update replaces it."""
        ...

    def update(
        self,
        items: Sequence[Item],
        *,
        removed: Collection[str] = (),
        edges: Collection[Edge] | None = None,
        swap: AbstractContextManager[object] | None = None,
    ) -> None:
        """Add, replace and remove items; replace the edges of files.

        Hold `swap` while the state is replaced.
        """
        ...


class LiveCatalog(Generic[State]):
    """Keeps the items of a domain equal in the store, in a catalog and in a retriever.

    What an import changed of relations reaches the retriever, too.

    Catalog and retriever state are immutable: a change replaces both, so requests that read the
    old ones are undisturbed. Thread-safe.

    Args:
        store: Where the items are stored.
        domain: Name of the domain.
        catalog: The items, as they were read from the store.
        retriever: Holds the same items.
        data_hash: Hash of the store's data when `catalog` was read; by default that of now.
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
        self._swapping = threading.Lock()  # held briefly, while catalog and state are replaced

    @property
    def catalog(self) -> Catalog:
        """The current items."""
        return self._catalog

    def snapshot(self) -> tuple[Catalog, State]:
        """Return the current items, and the retriever state that belongs to them."""
        with self._swapping:
            return self._catalog, self._retriever.state

    def add(self, items: Sequence[Item]) -> ItemChange:
        """Add or replace items.

        Raises as `Store.put_items`, and ModelError from the embedder.
        """
        with self._writing:
            return self._adopt(self._store.put_items(self._domain, items), items, ())

    def remove(self, item_ids: Collection[str]) -> ItemChange:
        """Delete items. Raises as `Store.remove_items`."""
        with self._writing:
            return self._adopt(self._store.remove_items(self._domain, item_ids), (), item_ids)

    def refresh(self) -> None:
        """Adopt what others changed in the store; one short query if there was no change.

        Raises:
            StoreError: The store cannot be read.
            ModelError: New items cannot be embedded.
        """
        if self._store.data_hash(self._domain) == self._hash:
            return
        with self._writing:
            data_hash = self._store.data_hash(self._domain)
            items = self._store.items(self._domain)
            if items and data_hash != self._hash:
                stored = {item.id for item in items}
                gone = [item.id for item in self._catalog if item.id not in stored]
                self._apply(items, gone, self._store.edges(self._domain))
                self._hash = data_hash

    def _adopt(self, change: ItemChange, items: Sequence[Item], removed: Collection[str]) -> ItemChange:
        self._apply(items, removed)
        if change.before == self._hash:  # else others wrote too, and the next refresh sees it
            self._hash = change.after
        return change

    def _apply(
        self, items: Sequence[Item], removed: Collection[str], edges: Collection[Edge] | None = None
    ) -> None:
        changed = [item for item in items if self._catalog.get(item.id) != item]
        gone = {item_id for item_id in removed if self._catalog.get(item_id) is not None}
        if changed or gone or edges is not None:
            items_by_id = {item.id: item for item in self._catalog} | {item.id: item for item in changed}
            for item_id in gone:
                del items_by_id[item_id]
            swap = self._swap(Catalog(items_by_id.values()))
            self._retriever.update(changed, removed=gone, edges=edges, swap=swap)

    @contextmanager
    def _swap(self, catalog: Catalog) -> Iterator[None]:
        """Replace the catalog and the retriever's state together, under one lock."""
        with self._swapping:
            yield
            self._catalog = catalog
