"""The tables of a domain, as validated items, users and interactions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.config import Domain
from recsys.config.tables import FileTable
from recsys.data.batch import ImportBatch, ImportOutcome, ImportReport, Progress, ResolvePlace
from recsys.data.event_columns import EventColumns
from recsys.data.importers.edges import read_relations
from recsys.data.importers.files import data_file, left_out
from recsys.data.importers.interactions import read_interactions
from recsys.data.importers.readers import Table, read_table
from recsys.data.importers.source_tables import read_sources
from recsys.data.importers.summary import summarize
from recsys.data.importers.validate import columns_of, read_items, read_users, require_no_header
from recsys.knowledge.relations import Edge
from recsys.types import Item, User
from recsys.utils.garbage import garbage_collection_paused

if TYPE_CHECKING:
    from recsys.data.store import Store


def import_domain(
    domain: Domain,
    store: Store,
    progress: Progress | None = None,
    *,
    resolve_place: ResolvePlace | None = None,
) -> ImportOutcome:
    """Import a domain into the store: everything, or nothing if a row is wrong.

    Args and errors are those of `read_domain`; StoreError if the database cannot be written.
    """
    with garbage_collection_paused():
        batch = read_domain(domain, progress, resolve_place=resolve_place)
        return ImportOutcome(batch.report, store.import_batch(domain.name, batch, progress))


def ensure_imported(domain: Domain, store: Store, progress: Progress | None = None) -> None:
    """Import a domain of which the store has no items; see `import_domain`."""
    if not store.counts(domain.name)["items"]:
        import_domain(domain, store, progress)


def read_domain(
    domain: Domain, progress: Progress | None = None, *, resolve_place: ResolvePlace | None = None
) -> ImportBatch:
    """Read and validate the tables of a domain.

    Without a table of users, they come from the interactions.

    Args:
        domain: The domain.
        progress: Called with ("reading items", rows done, rows in all).
        resolve_place: Finds the homes of users; by default `recsys.context.gazetteer.find_place`.

    Raises:
        DataError: A row is wrong; the message names file, row and field.
        MissingDependency: The package that ships the data is not installed.
        ConfigError: The format of a file is unknown.
    """
    report = ImportReport()
    progress = progress or _no_progress

    def start(name: str, mapping: FileTable) -> Table:
        table = _table(progress, name, mapping, data_file(domain, mapping.file))
        report.rows[name] = len(table)
        return table

    def finish(name: str) -> None:
        progress(f"reading {name}", report.rows[name], report.rows[name])

    items = read_items(start("items", domain.items), domain.items, report, domain.attributes)
    finish("items")
    items, report.sources = read_sources(domain, items, report, partial(_table, progress))
    users: tuple[User, ...] = ()
    if domain.users:
        resolve = resolve_place or _default_resolver(domain)
        users = read_users(start("users", domain.users), domain.users, resolve, report)
        finish("users")
    interactions = EventColumns.of(())
    if domain.interactions:
        interactions = read_interactions(
            start("interactions", domain.interactions),
            domain.interactions,
            {item.id for item in items},
            {user.id for user in users} if domain.users else None,
            report,
        )
        finish("interactions")
    if domain.users is None:
        users = tuple(
            User(id=user_id) for user_id in interactions.frame["user_id"].unique(maintain_order=True)
        )
    report.left_out.update(left_out(domain))
    edges = read_relations(domain, items, partial(_table, progress), report)
    batch = ImportBatch(items, users, interactions, report, edges)
    summarize(batch, domain)
    return batch


def check_relations(domain: Domain, items: Sequence[Item]) -> tuple[tuple[Edge, ...], ImportReport]:
    """Read the files of relations as an import does.

    Raises DataError for a file that is missing or a row that is wrong.
    """
    report = ImportReport()
    return read_relations(domain, items, partial(_table, _no_progress), report), report


def _table(progress: Progress, name: str, mapping: FileTable, file: Path) -> Table:
    def rows_read(done: int, total: int) -> None:
        if done < total:
            progress(f"reading {name}", done, total)

    table = read_table(file, mapping.format, columns_of(mapping), mapping, rows_read)
    require_no_header(table, mapping)
    return table


def _default_resolver(domain: Domain) -> ResolvePlace:
    from recsys.context.gazetteer import find_place  # here, because it is only needed for homes

    return partial(find_place, locality=domain.locality, country=domain.country)


def _no_progress(stage: str, done: int, total: int) -> None:
    pass
