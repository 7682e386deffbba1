"""A domain's tables -> validated items, users and interactions, and into the store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from recsys.config import Domain
from recsys.config.tables import InteractionTable, ItemTable, UserTable
from recsys.data.batch import ImportBatch, ImportOutcome, ImportReport, Progress, ResolvePlace
from recsys.data.importers.readers import Table, locate, read_table
from recsys.data.importers.validate import columns_of, read_interactions, read_items, read_users
from recsys.types import Interaction, User

if TYPE_CHECKING:
    from recsys.data.store import Store

__all__ = [
    "Batch",
    "ImportOutcome",
    "ImportReport",
    "Progress",
    "ResolvePlace",
    "import_domain",
    "read_domain",
]


def import_domain(
    domain: Domain,
    store: Store,
    progress: Progress | None = None,
    *,
    resolve_place: ResolvePlace | None = None,
) -> ImportOutcome:
    """Read a domain and put it into the store: all of it, or nothing if a row is wrong.

    Raises as `read_domain` does, and StoreError if the database cannot be written.
    """
    batch = read_domain(domain, progress, resolve_place=resolve_place)
    return ImportOutcome(batch.report, store.import_batch(domain.name, batch, progress))


def ensure_imported(domain: Domain, store: Store, progress: Progress | None = None) -> None:
    """Import a domain of which the store has no items. Raises as `import_domain` does."""
    if not store.counts(domain.name)["items"]:
        import_domain(domain, store, progress)


def read_domain(
    domain: Domain, progress: Progress | None = None, *, resolve_place: ResolvePlace | None = None
) -> ImportBatch:
    """The validated rows of a domain's tables, and a count of the odd ones.

    `progress` is called with ("reading items", rows done, rows in all); `resolve_place` finds
    the homes of users (default: `recsys.context.builder.locate`). Without a table of users they
    are those who interacted. Raises DataError naming file, row and field, MissingDependency if
    the package that ships the data is not installed, ConfigError for a format that is not known.
    """
    report = ImportReport()
    progress = progress or _no_progress

    def table(name: str, mapping: ItemTable | UserTable | InteractionTable) -> Table:
        table = read_table(locate(domain, mapping.file), mapping.format, columns_of(mapping))
        report.rows[name] = len(table)
        progress(f"reading {name}", 0, len(table))
        return table

    def done(name: str) -> None:
        progress(f"reading {name}", report.rows[name], report.rows[name])

    items = read_items(table("items", domain.items), domain.items, report)
    done("items")
    users: tuple[User, ...] = ()
    if domain.users:
        places = resolve_place or _find_place(domain)
        users = read_users(table("users", domain.users), domain.users, places, report)
        done("users")
    interactions: tuple[Interaction, ...] = ()
    if domain.interactions:
        interactions = read_interactions(
            table("interactions", domain.interactions),
            domain.interactions,
            {item.id for item in items},
            {user.id for user in users} if domain.users else None,
            report,
            progress,
        )
        done("interactions")
    if domain.users is None:
        users = tuple(User(id=one) for one in dict.fromkeys(event.user_id for event in interactions))
    return ImportBatch(items, users, interactions, report)


def _find_place(domain: Domain) -> ResolvePlace:
    from recsys.context.builder import locate  # loads a table of places: only when there are homes to find

    return partial(locate, locality=domain.locality)


def _no_progress(what: str, done: int, total: int) -> None:
    pass
