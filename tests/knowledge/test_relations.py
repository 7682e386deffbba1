"""Relations: what an edge means, how far paths lead, and what cycles do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.config.relations import Relation
from recsys.errors import RequestError
from recsys.knowledge.relations import MOST_STEPS, Edge, Entity, Link, Node, RelationGraph
from recsys.types import Item

FILE = {"file": "edges.csv", "head": "a", "tail": "b"}
IDS = "abcdef"

few = settings(max_examples=40, deadline=None)

edge_lists = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=15)
"""Edges between six items: cycles, chains and edges from an item to itself."""


def items(*ids: str, **attributes: str) -> list[Item]:
    held = {name: tuple(values.split("|")) for name, values in attributes.items()}
    return [Item(id=name, title=name.upper(), attributes=held) for name in ids]


def graph(
    pairs: Iterable[tuple[Node, Node]], catalog: Iterable[Item] = items(*IDS), **options: object
) -> RelationGraph:
    relation = Relation.model_validate({"edges": FILE} | options)
    return RelationGraph.of({"next": relation}, [Edge("next", a, b) for a, b in pairs], list(catalog))


def distances(pairs: Iterable[tuple[str, str]], start: str) -> Mapping[str, int]:
    """Steps from an item to each other one, by trying all walks."""
    reached: dict[str, int] = {}
    at = {start}
    for step in range(1, MOST_STEPS + 1):
        at = {b for a, b in pairs if a in at}
        reached |= {node: step for node in at if node not in reached}
    return {node: step for node, step in reached.items() if node != start}


class TestPaths:
    @few
    @given(edge_lists)
    def test_a_transitive_relation_holds_along_every_walk_of_three_edges_at_most(
        self, pairs: list[tuple[str, str]]
    ) -> None:
        edges = graph(pairs, transitive=True)
        for a in IDS:
            assert {b for b in IDS if edges.related(a, b, "next")} == distances(pairs, a).keys()

    @few
    @given(edge_lists)
    def test_without_it_only_edges_count(self, pairs: list[tuple[str, str]]) -> None:
        edges = graph(pairs)
        expected = {(a, b) for a, b in pairs if a != b}
        assert {(a, b) for a in IDS for b in IDS if edges.related(a, b, "next")} == expected

    @few
    @given(edge_lists, st.booleans())
    def test_a_symmetric_relation_holds_both_ways(
        self, pairs: list[tuple[str, str]], transitive: bool
    ) -> None:
        edges = graph(pairs, symmetric=True, transitive=transitive)
        for a in IDS:
            for b in IDS:
                assert edges.related(a, b, "next") == edges.related(b, a, "next")

    @few
    @given(edge_lists, st.booleans())
    def test_the_inverse_holds_from_the_other_end(
        self, pairs: list[tuple[str, str]], transitive: bool
    ) -> None:
        edges = graph(pairs, inverse="previous", transitive=transitive)
        for a in IDS:
            for b in IDS:
                assert edges.related(a, b, "next") == edges.related(b, a, "previous")

    @few
    @given(edge_lists, st.booleans(), st.booleans())
    def test_links_are_the_pairs_that_are_related_either_way(
        self, pairs: list[tuple[str, str]], symmetric: bool, transitive: bool
    ) -> None:
        edges = graph(pairs, symmetric=symmetric, transitive=transitive)
        for a in IDS:
            linked = [link.item_id for link in edges.links(a)]
            assert len(set(linked)) == len(linked)  # cycles name nothing twice, and never the item
            expected = {b for b in IDS if edges.related(a, b, "next") or edges.related(b, a, "next")}
            assert set(linked) == expected - {a}

    def test_a_path_of_four_edges_is_too_long(self) -> None:
        edges = graph([("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")], transitive=True)
        assert edges.related("a", "d", "next")
        assert not edges.related("a", "e", "next")
        assert not edges.related("a", "d", "next", steps=2)

    def test_of_two_ways_the_shorter_one_is_told(self) -> None:
        edges = graph([("a", "b"), ("b", "c"), ("c", "a")], transitive=True)
        assert edges.links("a") == [Link("next", "b", True, 1), Link("next", "c", False, 1)]


class TestEntities:
    def test_items_that_share_a_value_are_related_by_the_rarest_one(self) -> None:
        films = [
            *items("a", director="Joel Coen|Ethan Coen"),
            *items("b", director="Joel Coen|Ethan Coen"),
            *items("c", director="Joel Coen"),
            *items("d"),
        ]
        relation = Relation(attributes=("director",))
        edges = RelationGraph.of({"director": relation}, [], films)
        assert edges.related("a", "c", "director")
        assert edges.related("c", "Joel Coen", "director")
        assert not edges.related("c", "Ethan Coen", "director")
        assert not edges.related("a", "d", "director")
        assert edges.links("a") == [
            Link("director", "b", value="Ethan Coen", sharing=2),
            Link("director", "c", value="Joel Coen", sharing=3),
        ]
        assert edges.entities("a", "director") == ["Joel Coen", "Ethan Coen"]

    def test_what_too_many_have_in_common_relates_none_of_them_and_still_holds_of_each(self) -> None:
        relation = Relation(attributes=("country",), most=5)
        edges = RelationGraph.of({"country": relation}, [], items(*IDS, country="USA"))
        assert edges.links("a") == []
        assert not edges.related("a", "b", "country")
        assert edges.related("a", "USA", "country")

    def test_a_taxonomy_in_a_file_is_followed_upwards(self) -> None:
        beer, drinks, stout = Entity("Beer"), Entity("Drinks"), Entity("Stout")
        edges = graph(
            [("a", stout), (stout, beer), (beer, drinks), ("b", beer), ("c", drinks)],
            transitive=True,
            edges=FILE | {"entities": True},
        )
        assert edges.related("a", "Drinks", "next")
        assert edges.related("a", "b", "next")
        assert not edges.related("b", "Stout", "next")
        by_item = {link.item_id: link.value for link in edges.links("a")}
        assert by_item == {"b": "Beer", "c": "Drinks"}

    def test_new_changed_and_deleted_items_count_at_once(self) -> None:
        relation = Relation(attributes=("director",))
        before = RelationGraph.of({"director": relation}, [], items("a", "b", director="Joel Coen"))
        after = before.with_items(
            [*items("c", director="Joel Coen"), *items("b", director="Nora Ephron")], removed=["a"]
        )
        assert {link.item_id for link in before.links("a")} == {"b"}
        assert after.links("a") == after.links("b") == after.links("c") == []
        again = after.with_items(items("a", director="Joel Coen"))
        assert [link.item_id for link in again.links("c")] == ["a"]

    @few
    @given(st.lists(st.sets(st.sampled_from("xyz")), min_size=2, max_size=5), st.data())
    def test_a_changed_graph_is_the_graph_of_the_changed_items(
        self, values: list[set[str]], data: st.DataObject
    ) -> None:
        relation = {"kind": Relation(attributes=("kind",))}

        def catalog(of: list[set[str]]) -> list[Item]:
            return [
                Item(id=IDS[n], title="T", attributes={"kind": tuple(sorted(kinds))})
                for n, kinds in enumerate(of)
            ]

        changed = data.draw(st.lists(st.sets(st.sampled_from("xyz")), min_size=len(values), max_size=6))
        updated = RelationGraph.of(relation, [], catalog(values)).with_items(catalog(changed))
        fresh = RelationGraph.of(relation, [], catalog(changed))
        for item_id in IDS:
            assert sorted(updated.links(item_id)) == sorted(fresh.links(item_id))


class TestUnknown:
    def test_an_unknown_relation_is_an_error_that_names_the_known_ones(self) -> None:
        with pytest.raises(RequestError, match="no relation 'sequel'"):
            graph([("a", "b")], inverse="previous").related("a", "b", "sequel")

    def test_items_that_are_not_in_the_catalog_are_related_to_nothing(self) -> None:
        edges = graph([("a", "z"), ("z", "b")], transitive=True)
        assert not edges.related("z", "b", "next")
        assert not edges.related("a", "z", "next")
        assert [link.item_id for link in edges.links("a")] == ["b"]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({}, "either edges"),
            ({"edges": FILE, "attributes": ["x"]}, "either edges"),
            ({"attributes": ["x"], "transitive": True}, "leave out symmetric, transitive and inverse"),
            ({"edges": FILE, "symmetric": True, "inverse": "y"}, "its own inverse"),
            ({"edges": FILE, "say": {"en": "is one of {title} and {value}"}}, "must hold {title} once"),
            ({"attributes": ["x"], "say": {"en": "is by {value}"}}, "must hold {title} and {value} once"),
            ({"edges": FILE, "inverse_say": {"en": "is"}}, "inverse_say.en must hold"),
            ({"edges": FILE | {"named": "y"}}, "named would do nothing"),
            ({"edges": FILE | {"entities": True, "unknown": "skip"}}, "unknown would do nothing"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, options: dict[str, object], problem: str) -> None:
        with pytest.raises(ValidationError, match=problem):
            Relation.model_validate(options)


def test_sizes_count_what_says_something() -> None:
    relation = Relation(attributes=("kind",), most=3)
    films = [*items("a", "b", kind="x|y"), *items("c", "d", "e", kind="y"), *items("f", kind="z")]
    assert RelationGraph.of({"kind": relation}, [], films).sizes() == {
        "kind": {"edges": 2, "items": 2, "entities": 1}
    }
    assert graph([("a", "b"), ("b", "c"), ("c", "gone")]).sizes() == {
        "next": {"edges": 2, "items": 3, "entities": 0}
    }
