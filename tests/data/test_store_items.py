"""Adding, replacing and removing single items in the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from recsys.data import store as store_module
from recsys.data.batch import Changes, ImportBatch
from recsys.data.store import Store
from recsys.errors import RequestError, UnknownItem
from recsys.types import Interaction, Item, User

ITEMS = tuple(Item(id=letter, title=f"Film {letter}", description="secret plot") for letter in "abc")
EVENTS = (
    Interaction(user_id="ann", item_id="a", timestamp=1),
    Interaction(user_id="ann", item_id="b", timestamp=2),
)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store(store_url) as store:
        store.import_batch("films", ImportBatch(ITEMS, (User(id="ann"),), EVENTS))
        yield store


def test_items_are_added_replaced_and_left_as_they_are(store: Store) -> None:
    before = store.data_hash("films")
    change = store.put_items(
        "films", [ITEMS[0], ITEMS[1].model_copy(update={"year": 1999}), Item(id="d", title="D")]
    )
    assert change.items == Changes(added=1, updated=1, unchanged=1)
    assert change.before == before != change.after == store.data_hash("films")
    assert [item.id for item in store.items("films")] == list("abcd")
    assert store.item("films", "b").year == 1999


def test_putting_what_is_there_changes_nothing(store: Store) -> None:
    change = store.put_items("films", ITEMS)
    assert (change.items, change.before) == (Changes(unchanged=3), change.after)


def test_a_removed_item_is_nowhere_and_its_events_stay(store: Store) -> None:
    change = store.remove_items("films", ["a", "c", "a"])
    assert (change.removed, change.after) == (2, store.data_hash("films"))
    assert change.after != change.before
    assert [item.id for item in store.items("films")] == ["b"]
    assert store.counts("films") == {"items": 1, "users": 1, "interactions": 2}
    assert store.history("films", "ann") == list(EVENTS)
    with pytest.raises(UnknownItem) as caught:
        store.item("films", "a")
    assert "Film a" not in caught.value.hint
    with pytest.raises(UnknownItem):
        store.remove_items("films", ["a"])


def test_nothing_of_a_removed_item_is_kept_but_the_id_that_events_name(store: Store) -> None:
    store.remove_items("films", ["a", "c"])
    with store.transaction() as connection:
        columns = "id, title, year, CAST(attributes AS TEXT), description"
        rows = connection.execute(sa.text(f"SELECT {columns} FROM items WHERE id <> 'b'"))
        assert [tuple(row) for row in rows] == [("a", "", None, "{}", "")]


def test_a_removed_item_is_new_when_it_comes_again(store: Store) -> None:
    before = store.data_hash("films")
    store.remove_items("films", ["a"])
    assert store.put_items("films", [ITEMS[0]]).items == Changes(added=1)
    assert store.data_hash("films") == before
    store.remove_items("films", ["a", "c"])
    assert store.import_batch("films", ImportBatch(ITEMS)).items == Changes(added=2, unchanged=1)
    assert store.items("films") == list(ITEMS)


def test_other_domains_keep_items_of_the_same_id(store: Store) -> None:
    store.import_batch("books", ImportBatch((Item(id="a", title="A book"), Item(id="z", title="Z"))))
    store.remove_items("films", ["a"])
    assert [item.title for item in store.items("books")] == ["A book", "Z"]


def test_a_change_that_is_interrupted_leaves_the_store_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = (store.items("films"), store.data_hash("films"))
    monkeypatch.setattr(store_module, "refresh_data_hash", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.put_items("films", [Item(id="d", title="D")])
    with pytest.raises(KeyboardInterrupt):
        store.remove_items("films", ["a"])
    assert (store.items("films"), store.data_hash("films")) == before


@pytest.mark.parametrize(
    "items",
    [[Item(id="d", title="D"), Item(id="d", title="E")], [Item(id="d", title="")], [Item(id=" ", title="D")]],
)
def test_wrong_items_are_refused_together(store: Store, items: list[Item]) -> None:
    with pytest.raises(RequestError):
        store.put_items("films", [Item(id="fine", title="Fine"), *items])
    assert store.items("films") == list(ITEMS)


def test_a_domain_is_never_left_empty(store: Store) -> None:
    with pytest.raises(RequestError, match="no item would be left"):
        store.remove_items("films", ["a", "b", "c"])
    assert store.items("films") == list(ITEMS)
