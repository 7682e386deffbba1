"""The further sources of a domain, read and joined to its items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recsys.config import Domain
from recsys.config.sources import KnowledgeSource
from recsys.config.tables import Column, FileTable, ItemTable
from recsys.data.batch import ImportReport
from recsys.data.importers.files import path_in_package
from recsys.data.importers.readers import Table, read_table
from recsys.data.importers.validate import read_items
from recsys.data.importers.values import identifier, quote, whole_ids
from recsys.errors import DataError
from recsys.knowledge.sources import (
    JoinedSource,
    SourceReport,
    SourceRows,
    join_sources,
    merge_sources,
)
from recsys.types import Item

Read = Callable[[str, FileTable, Path], Table]
"""Reads the columns of a table: called with (what it is called, mapping, file)."""


def read_sources(
    domain: Domain, items: tuple[Item, ...], report: ImportReport, read: Read
) -> tuple[tuple[Item, ...], SourceReport | None]:
    """Read every source of a domain, and add what it knows to the items.

    Args:
        domain: Without sources, its items are returned, and no report.
        items: As their own table has them.
        report: Where odd values are counted, and warnings kept.
        read: Reads a table.

    Raises:
        DataError: A row or an alias is wrong; names file, row and field.
        MissingDependency: The package that ships a source is not installed.
    """
    if not domain.sources:
        return items, None
    tables = [_table_of(domain, source, read) for source in domain.sources]
    sources = [
        _rows_of(domain, source, table, items) for source, table in zip(domain.sources, tables, strict=True)
    ]
    joined = join_sources(items, sources)
    values = [
        _values_of(domain, source, table, one, report)
        for source, table, one in zip(domain.sources, tables, joined, strict=True)
    ]
    merged, coverage = merge_sources(
        items, list(zip(joined, values, strict=True)), tuple(domain.items.attributes)
    )
    for source, one in zip(domain.sources, joined, strict=True):
        if not one.rows:
            report.warnings.append(_joins_nothing(source, one.source, items))
    return tuple(merged), coverage


def _table_of(domain: Domain, source: KnowledgeSource, read: Read) -> Table:
    path, owner = f"{source.path}/{source.file}", f"source {source.name}"
    file = path_in_package(source.package, path, owner) if source.package else domain.folder / path
    table = read(owner, source, file)
    if not len(table):
        raise DataError(table.file, None, None, "there are no rows", hint=f"leave out source '{source.name}'")
    return table


def _rows_of(domain: Domain, source: KnowledgeSource, table: Table, items: Sequence[Item]) -> SourceRows:
    """Read what the rows are called."""
    rows = read_items(table, _as_items(source, {}), ImportReport())
    return SourceRows(
        source.name,
        rows,
        tuple(source.attributes),
        by_title=source.title is not None,
        year_within=source.year_within if source.year else None,
        via=source.via or "",
        aliases=_aliases(domain.folder / source.aliases, items, rows) if source.aliases else {},
    )


def _values_of(
    domain: Domain, source: KnowledgeSource, table: Table, joined: JoinedSource, report: ImportReport
) -> dict[str, Item]:
    """Read the attributes of joined rows by id; the others may hold anything."""
    wanted = {row.id for row in joined.rows.values()}
    if not wanted:
        return {}
    ids = whole_ids(list(map(identifier, table.texts(source.id.column))))
    indices = [index for index, row_id in enumerate(ids) if row_id in wanted]
    of_source = ImportReport()
    rows = read_items(table.take(indices), _as_items(source, source.attributes), of_source, domain.attributes)
    report.missing.update({f"{field} of {source.name}": n for field, n in of_source.missing.items()})
    report.warnings += of_source.warnings
    return dict(zip(dict.fromkeys(ids[index] for index in indices), rows, strict=True))


def _as_items(source: KnowledgeSource, attributes: Mapping[str, Column]) -> ItemTable:
    """Map the rows of a source as items; those without a title have their id for one."""
    return ItemTable(
        file=source.file,
        format=source.format,
        id=source.id,
        title=source.title or source.id,
        year=source.year,
        attributes=dict(attributes),
    )


def _aliases(path: Path, items: Sequence[Item], rows: Sequence[Item]) -> dict[str, str]:
    """Read item id -> row id; "" says that no row is the item's.

    Raises:
        DataError: An id is unknown, or an item comes twice.
    """
    table = read_table(path, "csv", ["item", "row"])
    known_items, known_rows = {item.id for item in items}, {row.id for row in rows}
    aliases: dict[str, str] = {}
    for index, (item_id, row_id) in enumerate(
        zip(map(identifier, table.texts("item")), map(identifier, table.texts("row")), strict=True)
    ):
        if item_id not in known_items:
            raise table.error(
                index, "item", f"no item has the id {quote(item_id)}", hint="correct or remove it"
            )
        if item_id in aliases:
            raise table.error(index, "item", f"item {quote(item_id)} has an alias already", hint="keep one")
        if row_id and row_id not in known_rows:
            problem = f"the source has no row of id {quote(row_id)}"
            raise table.error(index, "row", problem, hint="leave it empty to join no row to the item")
        aliases[item_id] = row_id
    return aliases


def _joins_nothing(source: KnowledgeSource, rows: SourceRows, items: Sequence[Item]) -> str:
    """Word the warning about a source none of whose rows belongs to an item."""
    row = rows.rows[0]
    if source.via:
        what = f"by the ids of '{source.via}', such as {quote(row.id)}: are they the same ids?"
    elif rows.by_title:
        what = f"by title and year: compare {quote(items[0].name)} with {quote(row.name)}"
    else:
        what = f"by id: compare {quote(items[0].id)} with {quote(row.id)}, or name its title column"
    return f"source '{source.name}' joins none of its {len(rows.rows):,} rows {what}"
