"""Typed edges between items, or between items and what they have in common.

A graph is a value: a change of items returns another graph. Paths are followed for three edges at most,
and a cycle leads nowhere new.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from recsys.config.relations import Relation
from recsys.errors import RequestError
from recsys.types import Item

MOST_STEPS = 3
"""Edges of the longest path that counts."""


MAX_KNOWN = 10_000
"""Items whose links are kept."""


class Entity(NamedTuple):
    """Something that items have in common: a director, a category."""

    name: str


Node = str | Entity
"""The id of an item, or an entity."""

Targets = Mapping[Node, tuple[Node, ...]]


class Edge(NamedTuple):
    """One edge of a relation."""

    relation: str
    source: Node
    target: Node


class Link(NamedTuple):
    """How an item is related to another one."""

    relation: str
    item_id: str  # of the other
    forward: bool = True  # False: the edge leads from the other to the item
    steps: int = 1
    value: str = ""  # the entity that both lead to
    sharing: int = 2  # how many items do

    @property
    def strength(self) -> float:
        """From 0 to 1: a longer path, or an entity of more items, says less.

        Of an entity it is that of Adamic and Adar: Friends and neighbors on the web, Social Networks, 2003.
        """
        return 1 / math.log2(max(2, self.sharing)) if self.value else 1 / self.steps


@dataclass(frozen=True)
class Edges:
    """The edges of one relation."""

    relation: Relation
    forward: Targets
    backward: Targets

    @classmethod
    def of(cls, relation: Relation, pairs: Iterable[tuple[Node, Node]]) -> Edges:
        forward: dict[Node, dict[Node, None]] = defaultdict(dict)
        backward: dict[Node, dict[Node, None]] = defaultdict(dict)
        for source, target in pairs:
            for a, b in ((source, target), (target, source))[: 1 + relation.symmetric]:
                if a != b:
                    forward[a][b] = backward[b][a] = None
        return cls(
            relation, {k: tuple(v) for k, v in forward.items()}, {k: tuple(v) for k, v in backward.items()}
        )

    @property
    def entities(self) -> list[Entity]:
        """What items have in common."""
        nodes = dict.fromkeys((*self.forward, *self.backward))
        return [node for node in nodes if isinstance(node, Entity)]

    def reached(self, start: Node, steps: int, *, forward: bool = True) -> Iterator[tuple[Node, int]]:
        """Yield the nodes that paths lead to, nearest first, with their steps."""
        targets = self.forward if forward else self.backward
        seen, frontier = {start}, [start]
        for step in range(1, (steps if self.relation.transitive else min(steps, 1)) + 1):
            following = dict.fromkeys(node for at in frontier for node in targets.get(at, ()))
            frontier = [node for node in following if node not in seen]
            seen.update(frontier)
            yield from ((node, step) for node in frontier)

    def with_values(self, changed: Mapping[str, tuple[Node, ...]]) -> Edges:
        """Return the edges where these items have other targets."""
        forward, backward = dict(self.forward), dict(self.backward)
        for item_id, targets in changed.items():
            for target in forward.pop(item_id, ()):
                backward[target] = tuple(node for node in backward[target] if node != item_id)
            if targets:
                forward[item_id] = targets
            for target in targets:
                backward[target] = (*backward.get(target, ()), item_id)
        return Edges(self.relation, forward, {node: sources for node, sources in backward.items() if sources})


@dataclass(frozen=True)
class RelationGraph:
    """The relations of a domain."""

    edges: Mapping[str, Edges] = field(default_factory=dict)  # by name, in the order of domain.toml
    items: frozenset[str] = frozenset()  # ids; others are not returned
    _known: dict[str, list[Link]] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def of(
        cls, relations: Mapping[str, Relation], edges: Iterable[Edge], items: Collection[Item]
    ) -> RelationGraph:
        """Build the graph.

        Args:
            relations: Those of the domain.
            edges: Of relations that have a file; those of attributes are derived from the items.
            items: The catalog.
        """
        pairs: dict[str, list[tuple[Node, Node]]] = defaultdict(list)
        for edge in edges:
            pairs[edge.relation].append((edge.source, edge.target))
        for name, relation in relations.items():
            if relation.attributes:
                pairs[name] = [(item.id, value) for item in items for value in _values(item, relation)]
        return cls(
            {name: Edges.of(relation, pairs[name]) for name, relation in relations.items()},
            frozenset(item.id for item in items),
        )

    def related(self, a: str, b: str, name: str, steps: int = MOST_STEPS) -> bool:
        """Return whether an item is related to another, or to an entity.

        It is if an edge leads from `a` to `b`, or a path where the relation is transitive; and two items
        are if both lead to one entity, unless more than `most` items do.

        Args:
            a: The id of an item.
            b: The id of an item, or the name of an entity.
            name: A relation, or the inverse of one.
            steps: Edges of the longest path, 1 to 3.

        Raises:
            RequestError: There is no such relation.
        """
        edges, forward = self._named(name)
        target: Node = b if b in self.items else Entity(b)
        if a not in self.items or a == b:
            return False
        reached = [node for node, _ in edges.reached(a, min(steps, MOST_STEPS), forward=forward)]
        if target in reached:
            return True
        return target in self.items and any(
            isinstance(node, Entity) and b in self._sharing(edges, node) for node in reached
        )

    def links(self, item_id: str) -> Sequence[Link]:
        """Return how the item is related to each other one, a link for each relation.

        Relations come in the order of domain.toml; of several paths the shortest is taken, of several
        entities the one of the fewest items.
        """
        if (known := self._known.get(item_id)) is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[item_id] = self._nearest_links(item_id)
        return known

    def entities(self, item_id: str, name: str) -> list[str]:
        """Return the names of the entities of an item, nearest first."""
        edges, _ = self._named(name)
        return [node.name for node, _ in edges.reached(item_id, MOST_STEPS) if isinstance(node, Entity)]

    def sizes(self) -> dict[str, dict[str, int]]:
        """Count the edges, the items with any, and the entities of each relation.

        Of edges of entities, those of entities that say something: of 2 to `most` items.
        """
        sizes = {}
        for name, edges in self.edges.items():
            shared = {node: self._sharing(edges, node) for node in edges.entities}
            shared = {node: members for node, members in shared.items() if len(members) > 1}
            between = [(a, b) for a in self.items for b in edges.forward.get(a, ()) if b in self.items]
            linked = {item for members in shared.values() for item in members}.union(*between)
            n_edges = len(between) + sum(map(len, shared.values()))
            sizes[name] = {"edges": n_edges, "items": len(linked), "entities": len(shared)}
        return sizes

    def with_items(self, changed: Collection[Item], removed: Collection[str] = ()) -> RelationGraph:
        """Return the graph after items were added, changed or deleted."""
        gone: dict[str, tuple[Node, ...]] = dict.fromkeys(removed, ())
        edges = {
            name: of.with_values(gone | {item.id: _values(item, of.relation) for item in changed})
            if of.relation.attributes
            else of
            for name, of in self.edges.items()
        }
        return dataclasses.replace(
            self, edges=edges, items=self.items.difference(removed).union(item.id for item in changed)
        )

    def with_edges(self, edges: Iterable[Edge], items: Collection[Item]) -> RelationGraph:
        """Return the graph with other edges of files, of these items."""
        return RelationGraph.of({name: of.relation for name, of in self.edges.items()}, edges, items)

    def _named(self, name: str) -> tuple[Edges, bool]:
        """Return the edges of a relation, and whether they are read forward."""
        if name in self.edges:
            return self.edges[name], True
        for edges in self.edges.values():
            if edges.relation.inverse == name:
                return edges, False
        known = ", ".join(self.names) or "none"
        raise RequestError(f"no relation '{name}'", hint=f"there are: {known}")

    @property
    def names(self) -> list[str]:
        """The relations and their inverses."""
        inverses = (edges.relation.inverse for edges in self.edges.values())
        return [*self.edges, *(name for name in inverses if name)]

    def _nearest_links(self, item_id: str) -> list[Link]:
        links: list[Link] = []
        for name, edges in self.edges.items():
            found: dict[str, Link] = {}
            for link in self._links(name, edges, item_id):
                known = found.get(link.item_id)
                if known is None or (bool(known.value), -known.strength) > (bool(link.value), -link.strength):
                    found[link.item_id] = link
            links += found.values()
        return links

    def _links(self, name: str, edges: Edges, item_id: str) -> Iterator[Link]:
        ahead = list(edges.reached(item_id, MOST_STEPS))
        behind = () if edges.relation.symmetric else edges.reached(item_id, MOST_STEPS, forward=False)
        for node, steps in ahead:
            if isinstance(node, Entity):
                members = self._sharing(edges, node)
                links = (Link(name, other, True, steps, node.name, len(members)) for other in members)
                yield from (link for link in links if link.item_id != item_id)
            elif node in self.items:
                yield Link(name, node, True, steps)
        yield from (
            Link(name, node, False, steps)
            for node, steps in behind
            if isinstance(node, str) and node in self.items
        )

    def _sharing(self, edges: Edges, entity: Entity) -> list[str]:
        """Return the items that lead to an entity; [] if too many to say anything."""
        if len(edges.backward.get(entity, ())) > edges.relation.most:
            return []  # thousands may share a value: they are not looked at
        members = []
        for node, _ in edges.reached(entity, MOST_STEPS, forward=False):
            if isinstance(node, str) and node in self.items:
                members.append(node)
                if len(members) > edges.relation.most:
                    return []
        return members


def _values(item: Item, relation: Relation) -> tuple[Node, ...]:
    """Return an item's values of the attributes of a relation."""
    values = (value for name in relation.attributes for value in item.attributes.get(name, ()))
    return tuple(dict.fromkeys(map(Entity, values)))
