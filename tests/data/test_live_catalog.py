"""A catalog that changes while the recommender runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from recsys.config import Domain, Settings
from recsys.config.relations import Relation
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.errors import ModelError, RequestError, UnknownItem
from recsys.knowledge.relations import RelationGraph
from recsys.recommender.recommender import Recommender
from recsys.types import Item, Place, Recommendations
from retrieval import TextIndex
from retrieval.channels.related import RelatedChannel
from tests.fakes import ScriptedEngine, build_recommender, film

SOLARIS = film("f13", "Solaris", "Sci-Fi", year=1972, plot="A planet that remembers")


@pytest.fixture
def other(settings: Settings, recommender: Recommender) -> Iterator[Store]:
    """The store as another process has it open."""
    with Store(settings.database_url) as store:
        yield store


def candidate_ids(recommender: Recommender, user: str | None = "ann", **options: Any) -> list[str]:
    """Ids of everything that is left to recommend to a user."""
    answer: Recommendations = recommender.recommend(user, k=1, n_candidates=50, reasons=False, **options)
    assert len(answer) == 1
    prepared = recommender.prepare(user, k=1, n_candidates=50, **options)
    return [candidate.item.id for candidate in prepared.request.candidates]


def title(recommender: Recommender, item_id: str) -> str:
    prepared = recommender.prepare("new", k=1, n_candidates=50)
    return next(
        candidate.item.title for candidate in prepared.request.candidates if candidate.item.id == item_id
    )


def test_a_new_item_is_found_by_the_next_request(recommender: Recommender) -> None:
    assert "f13" not in candidate_ids(recommender)
    change = recommender.add_items([SOLARIS])
    assert (change.items.added, change.items.updated, change.removed) == (1, 0, 0)
    assert "f13" in candidate_ids(recommender)
    assert candidate_ids(recommender, None, liked=["Solaris"])
    assert recommender.catalog.find("solaris") == SOLARIS


def test_a_new_item_comes_first_for_the_wish_that_describes_it(recommender: Recommender) -> None:
    recommender.add_items([film("f13", "Solaris")])
    assert candidate_ids(recommender, "new", wish="Solaris")[0] == "f13"


def test_only_what_is_new_is_embedded(recommender: Recommender) -> None:
    embedded = recommender.retriever.state.channels["text"].embedder.texts  # type: ignore[attr-defined]
    before = len(embedded)
    recommender.add_items([SOLARIS, recommender.catalog.by_id("f3")])
    assert len(embedded) == before + 1


def test_an_item_that_is_added_again_has_its_new_text(recommender: Recommender) -> None:
    change = recommender.add_items([film("f3", "Aliens", "Action", year=1986)])
    assert (change.items.added, change.items.updated) == (0, 1)
    assert title(recommender, "f3") == "Aliens"
    assert recommender.store.item("films", "f3").year == 1986
    with pytest.raises(UnknownItem):
        recommender.catalog.find("Alien (1979)")
    assert len(recommender.catalog) == 12


def test_a_deleted_item_is_gone_and_its_events_are_skipped(recommender: Recommender) -> None:
    assert [entry.item.id for entry in recommender.prepare("ann").request.history] == [
        "f3",
        "f4",
        "f10",
        "f2",
    ]
    recommender.remove_items(["f3", "f9"])
    assert not {"f3", "f9"} & set(candidate_ids(recommender, "new"))
    assert [entry.item.id for entry in recommender.prepare("ann").request.history] == ["f4", "f10", "f2"]
    assert not {"f3", "f9"} & {item.id for item in recommender.store.items("films")}
    text: TextIndex = recommender.retriever.state.channels["text"].index  # type: ignore[attr-defined]
    assert "f3" not in text
    assert next(iter(recommender.store.history("films", "ann"))).item_id == "f3"


def test_a_deleted_item_can_come_back(recommender: Recommender) -> None:
    alien = recommender.catalog.by_id("f3")
    recommender.remove_items(["f3"])
    assert recommender.add_items([alien]).items.added == 1
    assert "f3" in candidate_ids(recommender, "new")
    assert "f3" not in candidate_ids(recommender, "ann"), "ann has met it"


def test_what_another_process_changed_is_seen_by_the_next_request(
    recommender: Recommender, other: Store
) -> None:
    candidate_ids(recommender)
    other.put_items("films", [SOLARIS, film("f1", "Toy Story, restored")])
    other.remove_items("films", ["f12"])
    assert "f13" in candidate_ids(recommender, "new")
    assert "f12" not in candidate_ids(recommender, "new")
    assert title(recommender, "f1") == "Toy Story, restored"


def test_changes_here_and_elsewhere_do_not_hide_each_other(recommender: Recommender, other: Store) -> None:
    other.put_items("films", [SOLARIS])
    recommender.add_items([film("f14", "Stalker", "Sci-Fi")])
    assert {"f13", "f14"} <= set(candidate_ids(recommender))


def test_nothing_is_read_again_where_nothing_changed(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender.add_items([SOLARIS])
    monkeypatch.setattr(recommender.store, "items", lambda domain: pytest.fail("the items are read again"))
    assert "f13" in candidate_ids(recommender)


def test_after_a_restart_the_changes_are_there(
    recommender: Recommender, films: Domain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender.add_items([SOLARIS, film("f1", "Toy Story, restored")])
    recommender.remove_items(["f3"])
    monkeypatch.setattr("tests.fakes.import_domain", lambda *words, **options: None)
    with build_recommender(films, settings, ScriptedEngine()) as again:
        assert {"f13"} <= set(candidate_ids(again, "new"))
        assert "f3" not in candidate_ids(again, "new")
        assert title(again, "f1") == "Toy Story, restored"
        assert [entry.item.id for entry in again.prepare("ann").request.history] == ["f4", "f10", "f2"]


def test_an_import_brings_a_deleted_item_back(recommender: Recommender, films: Domain) -> None:
    recommender.remove_items(["f3"])
    assert (
        import_domain(
            films, recommender.store, resolve_place=lambda text: Place(city=text)
        ).result.items.added
        == 1
    )
    assert "f3" in candidate_ids(recommender, "new")


@pytest.mark.parametrize(
    "items", [[film("x"), film("x", "Twin")], [Item(id="x", title=" ")], [film("x"), Item(id="", title="X")]]
)
def test_wrong_items_are_refused_and_nothing_changes(recommender: Recommender, items: list[Item]) -> None:
    before = recommender.store.data_hash("films")
    with pytest.raises(RequestError):
        recommender.add_items(items)
    assert recommender.store.data_hash("films") == before
    assert recommender.catalog.get("x") is None


def test_an_unknown_id_removes_nothing(recommender: Recommender) -> None:
    with pytest.raises(UnknownItem, match="f99"):
        recommender.remove_items(["f3", "f99"])
    assert recommender.catalog.get("f3")
    assert "f3" in candidate_ids(recommender, "new")


def test_the_last_items_cannot_be_removed(recommender: Recommender) -> None:
    with pytest.raises(RequestError, match="no item would be left"):
        recommender.remove_items([item.id for item in recommender.catalog])
    assert len(recommender.store.items("films")) == 12


def test_what_the_embedder_refuses_is_tried_again_by_the_next_request(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise ModelError("no embedder today")

    with monkeypatch.context() as patch:
        patch.setattr(recommender.retriever, "update", refuse)
        with pytest.raises(ModelError):
            recommender.add_items([SOLARIS])
        assert recommender.catalog.get("f13") is None, "catalogue and retriever stay alike"
    assert "f13" in candidate_ids(recommender)


def test_requests_go_on_while_items_come_and_go(recommender: Recommender) -> None:
    """Each list is whole: the fixed items, and of the pair that changes at once both or none."""
    pair = [film("p1", "First half", "Noir"), film("p2", "Second half", "Noir")]
    stop, failed = threading.Event(), list[BaseException]()
    seen: set[frozenset[str]] = set()

    def read() -> None:
        try:
            while not stop.is_set():
                request = recommender.prepare("new", k=1, n_candidates=50).request
                seen.add(frozenset(candidate.item.id for candidate in request.candidates))
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(8):
        recommender.add_items(pair)
        recommender.remove_items(["p1", "p2"])
    stop.set()
    for reader in readers:
        reader.join()
    assert not failed
    fixed = frozenset(item.id for item in recommender.catalog)
    assert seen <= {fixed, fixed | {"p1", "p2"}}


def test_a_changed_file_of_relations_counts_from_the_next_request_on(
    films: Domain, settings: Settings, scripted: ScriptedEngine
) -> None:
    """A running server kept the relations that it was started with."""
    file = films.folder / "sequels.csv"
    file.write_text("film,of\nf2,f1\n")
    columns = {"file": file.name, "head": "film", "tail": "of"}
    films = films.model_copy(update={"relations": {"sequel": Relation.model_validate({"edges": columns})}})
    with build_recommender(films, settings, scripted) as recommender:
        items = recommender.store.items(films.name)
        graph = RelationGraph.of(films.relations, recommender.store.edges(films.name), items)
        recommender.retriever.join("related", RelatedChannel(graph, films.retriever.related), items)
        file.write_text("film,of\nf2,f1\nf3,f2\n")
        with Store(settings.database_url) as store:
            import_domain(films, store)
        assert not recommender.retriever.state.relations.related("f3", "f2", "sequel")
        recommender.retrieve("ann")
        assert recommender.retriever.state.relations.related("f3", "f2", "sequel")
        assert recommender.retriever.state.relations.related("f2", "f1", "sequel")
