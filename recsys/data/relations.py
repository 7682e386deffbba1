"""Edges of relations in the store, see `recsys.knowledge.relations`."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from recsys.data.batch import Changes
from recsys.data.database import RELATIONS
from recsys.knowledge.relations import Edge, Entity, Node

_FIELDS = ("relation", "source", "target", "source_is_entity", "target_is_entity")


def read_edges(connection: sa.Connection, domain: str) -> list[Edge]:
    """Return all edges of a domain, sorted."""
    query = sa.select(*(RELATIONS.c[name] for name in _FIELDS)).where(RELATIONS.c.domain == domain)
    return [
        Edge(relation, _node(source, source_is_entity), _node(target, target_is_entity))
        for relation, source, target, source_is_entity, target_is_entity in sorted(
            tuple(row) for row in connection.execute(query)
        )
    ]


def replace_edges(connection: sa.Connection, domain: str, edges: Iterable[Edge]) -> Changes:
    """Store these edges and no others: a file of relations is complete."""
    stored, wanted = set(read_edges(connection, domain)), set(edges)
    gone, new = stored - wanted, wanted - stored
    if gone:
        statement = sa.delete(RELATIONS).where(
            RELATIONS.c.domain == domain,
            *(RELATIONS.c[name] == sa.bindparam(f"old_{name}") for name in _FIELDS),
        )
        connection.execute(
            statement, [{f"old_{name}": value for name, value in _row(edge).items()} for edge in gone]
        )
    if new:
        connection.execute(sa.insert(RELATIONS), [_row(edge) | {"domain": domain} for edge in new])
    return Changes(added=len(new), unchanged=len(stored & wanted), removed=len(gone))


def _row(edge: Edge) -> dict[str, str | bool]:
    values = (
        edge.relation,
        _name(edge.source),
        _name(edge.target),
        isinstance(edge.source, Entity),
        isinstance(edge.target, Entity),
    )
    return dict(zip(_FIELDS, values, strict=True))


def _name(node: Node) -> str:
    return node.name if isinstance(node, Entity) else node


def _node(name: str, is_entity: bool) -> Node:
    return Entity(name) if is_entity else name
