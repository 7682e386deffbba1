"""Files of relations as edges between items and entities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product

from recsys.config import Domain
from recsys.config.relations import EdgeTable, LinkTable
from recsys.config.tables import Column
from recsys.data.batch import ImportReport
from recsys.data.importers import values
from recsys.data.importers.files import data_file
from recsys.data.importers.readers import Table
from recsys.data.importers.source_tables import Read
from recsys.data.importers.values import collapse, quote
from recsys.knowledge.relations import Edge, Entity, Node
from recsys.types import Item

ItemsOf = Mapping[str, Sequence[str]]
"""The ids of the items that a head or tail may be."""


def read_relations(
    domain: Domain, items: Collection[Item], read: Read, report: ImportReport
) -> tuple[Edge, ...]:
    """Return the edges of all relations that have a file.

    Args:
        domain: Its relations.
        items: The catalog.
        read: Reads a table.
        report: Where edges are counted, and what is left out.

    Raises:
        DataError: A row is wrong; the message names the first.
    """
    edges: dict[Edge, None] = {}
    ids: ItemsOf = {item.id: (item.id,) for item in items}
    for name, relation in domain.relations.items():
        if (mapping := relation.edges) is None:
            continue
        home = domain.model_copy(update={"source": mapping.source or domain.source})
        of_entity = ids
        if mapping.link:
            file = data_file(home, mapping.link.file)
            links = read(f"links of {name}", mapping.link, file)
            of_entity = _links(links, mapping.link, ids)
        table = read(name, mapping, data_file(home, mapping.file))
        of_relation = dict.fromkeys(_edges(name, mapping, table, of_entity, report))
        if len(table) and not of_relation:
            problem = f"no edge of {name} joins two items of the catalog"
            raise table.error(0, mapping.head.column, problem, hint="are these ids those of the items?")
        report.edges[name] = len(of_relation)
        edges |= of_relation
    return tuple(edges)


def _links(table: Table, mapping: LinkTable, ids: ItemsOf) -> ItemsOf:
    """Return the known items of each entity, without items that the catalog lacks."""
    items_of: dict[str, list[str]] = defaultdict(list)
    for item_id, entity in zip(_names(table, mapping.item), _names(table, mapping.entity), strict=True):
        items_of[entity] += ids.get(item_id, ())
    return {entity: items for entity, items in items_of.items() if items}


def _edges(
    name: str, mapping: EdgeTable, table: Table, items_of: ItemsOf, report: ImportReport
) -> Iterator[Edge]:
    """Yield the edges of one relation.

    Raises:
        DataError: A head or tail is empty or no item, or no edge is left.
    """
    kept = [True] * len(table)
    if mapping.relation:
        wanted = mapping.named or name
        kept = [text == wanted for text in table.texts(mapping.relation.column)]
        if not any(kept):
            found = ", ".join(sorted(set(table.texts(mapping.relation.column)))[:5])
            problem = f"no row is of the relation {quote(wanted)}; there are: {found or 'none'}"
            raise table.error(0, mapping.relation.column, problem, hint="set `named` to one of them")
    heads, tails = _names(table, mapping.head), _names(table, mapping.tail)
    left_out: list[str] = []
    for index in (index for index, keep in enumerate(kept) if keep):
        ends: list[Sequence[Node]] = []
        for column, names in ((mapping.head, heads), (mapping.tail, tails)):
            nodes = _nodes(names[index], items_of, entities=mapping.entities)
            if not nodes and (mapping.unknown == "error" or not names[index]):
                raise _unknown(table, index, column, names[index])
            left_out += [] if nodes else [names[index]]
            ends.append(nodes)
        yield from (Edge(name, source, target) for source, target in product(*ends) if source != target)
    if left_out:
        report.left_out[f"ends of edges of {name} that are no item, such as {quote(left_out[0])}"] += len(
            left_out
        )


def _nodes(name: str, items_of: ItemsOf, *, entities: bool) -> Sequence[Node]:
    """Return the items that a name stands for, or the entity if it may be one."""
    if name in items_of:
        return items_of[name]
    return [Entity(collapse(name))] if entities and name else []


def _unknown(table: Table, index: int, column: Column, name: str) -> Exception:
    if not name:
        return table.error(index, column.column, "expected a value, found nothing")
    hint = 'correct it, or set under `edges`: unknown = "skip", or entities = true if it is no item'
    return table.error(index, column.column, f"{quote(name)} is no item", hint=hint)


def _names(table: Table, column: Column) -> list[str]:
    return values.whole_ids([values.identifier(text) for text in table.texts(column.column)])
