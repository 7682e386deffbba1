"""The store: round trips, order, transactions, and errors in words."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from recsys.data import database
from recsys.data.batch import Changes, ImportBatch
from recsys.data.store import Store, refresh_data_hash
from recsys.errors import MissingDependency, RequestError, StoreError, UnknownItem, UnknownUser
from recsys.types import Interaction, Item, Place, User

ITEMS = (
    Item(id="b", title="Heat", year=1995, attributes={"genre": ("Crime", "Drama"), "star": ("Pacino",)}),
    Item(id="a", title="Les Misérables", description="A man; a policeman"),
)
USERS = (
    User(id="ann", profile={"age": "24"}, home=Place(city="Minneapolis", latitude=44.97, longitude=-93.3)),
    User(id="bob"),
)
EVENTS = (
    Interaction(user_id="ann", item_id="b", rating=4, timestamp=200, context={"device": "phone"}),
    Interaction(user_id="ann", item_id="a", rating=2, timestamp=100),
    Interaction(user_id="bob", item_id="b"),
)
BATCH = ImportBatch(ITEMS, USERS, EVENTS)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store(store_url) as store:
        yield store


@pytest.fixture
def file_store(url: str) -> Iterator[Store]:
    with Store(url) as store:
        yield store


def snapshot(store: Store) -> tuple[object, ...]:
    return (
        store.counts("films"),
        store.data_hash("films"),
        store.items("films"),
        [store.user("films", user_id) for user_id in store.users("films")],
        store.interactions("films"),
    )


def test_what_is_imported_comes_out_the_same(store: Store) -> None:
    store.import_batch("films", BATCH)
    assert store.items("films") == [ITEMS[1], ITEMS[0]]
    assert store.item("films", "b") == ITEMS[0]
    assert list(store.item("films", "b").attributes) == ["genre", "star"]
    assert store.users("films") == ["ann", "bob"]
    assert [store.user("films", user_id) for user_id in ("ann", "bob")] == list(USERS)
    assert store.counts("films") == {"items": 2, "users": 2, "interactions": 3}
    assert store.popularity("films") == {"a": 1, "b": 2}


def test_events_come_oldest_first_and_those_of_unknown_time_before_all(store: Store) -> None:
    store.import_batch("films", BATCH)
    assert store.interactions("films") == [EVENTS[2], EVENTS[1], EVENTS[0]]
    assert store.history("films", "ann") == [EVENTS[1], EVENTS[0]]


def test_events_of_the_same_moment_stay_in_the_order_of_the_input(store: Store) -> None:
    items = tuple(Item(id=letter, title=letter) for letter in "zaymbx")
    events = tuple(Interaction(user_id="bob", item_id=item.id, timestamp=5) for item in items)
    store.import_batch("films", ImportBatch(items[:3], USERS, events[:3]))
    store.import_batch("films", ImportBatch(items, USERS, events[::-1]))
    assert "".join(event.item_id for event in store.history("films", "bob")) == "zay" + "xbm"
    assert "".join(event.item_id for event in store.history("films", "bob", limit=2)) == "bm"


def test_ties_are_broken_by_sequence_and_not_by_where_rows_happen_to_lie(
    file_store: Store, tmp_path: Path
) -> None:
    store = file_store
    events = tuple(Interaction(user_id="bob", item_id=letter, timestamp=5) for letter in "ba")
    store.import_batch("films", ImportBatch(ITEMS, USERS, events))
    raw = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    raw.execute("DROP INDEX interactions_in_time")
    assert raw.execute("SELECT item_id FROM interactions ORDER BY sequence").fetchall() == [("b",), ("a",)]
    raw.execute("UPDATE interactions SET sequence = -sequence")
    raw.close()
    assert store.history("films", "bob") == list(events[::-1])
    assert store.interactions("films") == list(events[::-1])


def test_a_limited_history_is_the_newest_part_oldest_first(store: Store) -> None:
    store.import_batch("films", BATCH)
    assert store.history("films", "ann", limit=1) == [EVENTS[0]]
    assert store.history("films", "ann", limit=9) == [EVENTS[1], EVENTS[0]]
    assert store.history("films", "ann", limit=0) == []
    assert store.history("films", "nobody") == []
    with pytest.raises(RequestError):
        store.history("films", "ann", limit=-1)


def test_importing_twice_changes_nothing(store: Store) -> None:
    first = store.import_batch("films", BATCH)
    assert (first.items, first.users, first.interactions) == (Changes(2), Changes(2), Changes(3))
    before = snapshot(store)
    again = store.import_batch("films", BATCH)
    assert (again.items, again.users) == (Changes(unchanged=2), Changes(unchanged=2))
    assert again.interactions == Changes(unchanged=3)
    assert snapshot(store) == before
    assert again.data_hash == first.data_hash == before[1]


def test_only_what_changed_is_updated(store: Store) -> None:
    first = store.import_batch("films", BATCH)
    events = (EVENTS[0].model_copy(update={"rating": 1.0}), *EVENTS[1:])
    users = (USERS[0].model_copy(update={"home": None}), USERS[1])
    second = store.import_batch("films", ImportBatch(ITEMS, users, events))
    assert second.items == Changes(unchanged=2)
    assert second.users == Changes(updated=1, unchanged=1)
    assert second.interactions == Changes(updated=1, unchanged=2)
    assert store.history("films", "ann") == [events[1], events[0]]
    assert store.user("films", "ann").home is None
    assert second.data_hash != first.data_hash


def test_another_order_of_attributes_is_a_change(store: Store) -> None:
    store.import_batch("films", BATCH)
    reordered = dict(reversed(list(ITEMS[0].attributes.items())))
    item = ITEMS[0].model_copy(update={"attributes": reordered})
    assert store.import_batch("films", ImportBatch((item,))).items == Changes(updated=1)
    assert list(store.item("films", "b").attributes) == ["star", "genre"]


def test_the_same_event_at_another_time_is_another_event(store: Store) -> None:
    store.import_batch("films", BATCH)
    later = EVENTS[0].model_copy(update={"timestamp": 300.0})
    assert store.import_batch("films", ImportBatch(ITEMS, USERS, (later,))).interactions == Changes(added=1)
    assert store.history("films", "ann")[-2:] == [EVENTS[0], later]


def test_the_hash_depends_on_content_alone(store: Store, tmp_path: Path) -> None:
    assert store.data_hash("films") == ""
    digest = store.import_batch("films", BATCH).data_hash
    assert len(digest) == 64
    with Store(f"sqlite:///{tmp_path / 'other.db'}") as other:
        reordered = ImportBatch(ITEMS[::-1], USERS[::-1], EVENTS[::-1])
        assert other.import_batch("elsewhere", reordered).data_hash == digest
    renamed = ITEMS[0].model_copy(update={"title": "Heat 2"})
    assert store.import_batch("films", ImportBatch((renamed,))).data_hash != digest


def test_the_hash_of_an_import_is_that_of_what_is_stored_afterwards(store: Store) -> None:
    store.import_batch("films", BATCH)
    changed = EVENTS[0].model_copy(update={"rating": 1.0, "context": {"device": "tv", "mood": "bored"}})
    undated = Interaction(user_id="ann", item_id="b", rating=3)
    digest = store.import_batch("films", ImportBatch(ITEMS, USERS, (undated, changed))).data_hash
    assert store.interactions("films")[-1] == changed
    with store.transaction(writes=True) as connection:
        refresh_data_hash(connection, "films")
    assert store.data_hash("films") == digest


def test_domains_do_not_see_each_other(store: Store) -> None:
    store.import_batch("films", BATCH)
    store.import_batch("books", ImportBatch((Item(id="b", title="A book"),)))
    assert store.item("films", "b").title == "Heat"
    assert store.items("books") == [Item(id="b", title="A book")]
    assert store.counts("books") == {"items": 1, "users": 0, "interactions": 0}
    assert store.counts("nothing") == {"items": 0, "users": 0, "interactions": 0}
    assert store.data_hash("nothing") == ""


def test_a_refused_row_leaves_the_store_as_it_was(store: Store) -> None:
    store.import_batch("films", BATCH)
    before = snapshot(store)
    new = Item(id="c", title="New")
    orphan = Interaction(user_id="ann", item_id="not there", timestamp=1)
    with pytest.raises(StoreError, match="refused a row"):
        store.import_batch("films", ImportBatch((new,), USERS, (orphan,)))
    assert snapshot(store) == before


def test_an_import_that_is_interrupted_leaves_the_store_as_it_was(store: Store) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "storing interactions" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_batch("films", BATCH, interrupt)
    assert store.counts("films") == {"items": 0, "users": 0, "interactions": 0}
    assert store.import_batch("films", BATCH).items == Changes(added=2)


def test_a_disk_that_is_full_in_the_middle_of_an_import_loses_nothing(file_store: Store) -> None:
    file_store.import_batch("films", BATCH)
    before = snapshot(file_store)
    events = tuple(Interaction(user_id="ann", item_id="a", timestamp=n) for n in range(9000))
    with file_store.transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(StoreError, match="no room to grow"):
        file_store.import_batch("films", ImportBatch(ITEMS, USERS, events))
    assert snapshot(file_store) == before


def test_a_process_that_is_killed_in_the_middle_of_an_import_loses_nothing(url: str) -> None:
    with Store(url) as store:
        store.import_batch("films", ImportBatch(ITEMS[:1], USERS, EVENTS[:1]))
        before = snapshot(store)
    code = f"""
import os, signal
from recsys.data.store import Store
from tests.data.test_store import BATCH
def kill(stage, done, total):
    if stage == "storing interactions" and done == total:
        os.kill(os.getpid(), signal.SIGKILL)
Store({url!r}).import_batch("films", BATCH, kill)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    with Store(url) as store:
        assert snapshot(store) == before


def test_progress_ends_at_all_rows(store: Store) -> None:
    calls: list[tuple[str, int, int]] = []
    store.import_batch("films", BATCH, lambda *call: calls.append(call))
    ends = [call for call in calls if call[1] == call[2]]
    assert ends == [("storing items", 2, 2), ("storing users", 2, 2), ("storing interactions", 3, 3)]


def test_hostile_text_is_only_text(store: Store) -> None:
    title = "Robert'); DROP TABLE items;-- \x07 \u202e %_\\ 🎬"
    item = Item(id="' OR 1=1 --", title=title, attributes={"a\"'": ("b;",)})
    store.import_batch("films'; --", ImportBatch((item,)))
    assert store.items("films'; --") == [item]
    assert store.item("films'; --", "' OR 1=1 --") == item


def test_an_unknown_item_is_answered_with_suggestions(store: Store) -> None:
    store.import_batch("films", BATCH)
    for text in ("heat", "HEA", "Haet"):
        with pytest.raises(UnknownItem) as caught:
            store.item("films", text)
        assert caught.value.hint == "did you mean b (Heat)?"
    with pytest.raises(UnknownItem, match="import the domain first"):
        store.item("films", "zzz")
    with pytest.raises(UnknownItem) as caught:
        store.item("films", "x" * 10_000)
    assert len(str(caught.value)) < 300


def test_an_unknown_user_is_answered_with_examples(store: Store) -> None:
    with pytest.raises(UnknownUser, match="import the domain first"):
        store.user("films", "eve")
    store.import_batch("films", BATCH)
    with pytest.raises(UnknownUser) as caught:
        store.user("films", "eve")
    assert "ann, bob" in caught.value.hint


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "store.db"
    Store(f"sqlite:///{path}").close()
    assert path.is_file()


def test_a_store_is_found_again_after_it_was_closed(store_url: str) -> None:
    with Store(store_url) as store:
        store.import_batch("films", BATCH)
        before = snapshot(store)
        store.close()
    with Store(store_url) as store:
        assert snapshot(store) == before


def test_a_file_that_is_no_database_is_told_in_words(tmp_path: Path, url: str) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match=r"store\.db.*not an SQLite database") as caught:
        Store(url)
    assert "import again" in caught.value.hint


def test_a_damaged_database_is_told_in_words(tmp_path: Path, url: str) -> None:
    events = tuple(Interaction(user_id="ann", item_id="a", timestamp=n) for n in range(5000))
    with Store(url) as store:
        store.import_batch("films", ImportBatch(ITEMS, USERS, events))
    path = tmp_path / "store.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    with pytest.raises(StoreError) as caught, Store(url) as store:
        store.interactions("films")
    assert "damaged" in caught.value.message
    assert "import again" in caught.value.hint


@pytest.mark.parametrize("value", ["{broken", '{"genre": 7}'])
def test_rows_that_cannot_be_read_are_told_in_words(file_store: Store, tmp_path: Path, value: str) -> None:
    store = file_store
    store.import_batch("films", BATCH)
    raw = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    raw.execute("UPDATE items SET attributes = ?", [value])
    raw.close()
    with pytest.raises(StoreError, match="cannot be read"):
        store.items("films")


def test_a_folder_or_a_file_in_the_way_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path / 'folder'}")
    with pytest.raises(StoreError, match="folder cannot be made"):
        Store(f"sqlite:///{tmp_path / 'file' / 'store.db'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_told_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be"):
        Store(f"sqlite:///{folder / 'store.db'}")


def test_a_database_that_may_only_be_read_can_be_read(tmp_path: Path, url: str) -> None:
    with Store(url) as store:
        store.import_batch("films", BATCH)
        before = snapshot(store)
    with Store(f"sqlite:///file:{tmp_path / 'store.db'}?mode=ro&uri=true") as store:
        assert snapshot(store) == before
        with pytest.raises(StoreError, match="cannot be written"):
            store.import_batch("films", ImportBatch((Item(id="c", title="New"),)))


def test_a_locked_database_can_be_tried_again(tmp_path: Path, url: str) -> None:
    with Store(url, busy_timeout=0.05) as store:
        store.import_batch("films", BATCH)
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as caught:
            store.import_batch("films", ImportBatch((Item(id="c", title="New"),)))
        assert caught.value.retryable
        assert len(store.items("films")) == 2, "reading works while another process writes"
        other.close()
        assert store.import_batch("films", ImportBatch((Item(id="c", title="New"),))).items == Changes(
            added=1
        )


def test_many_may_open_and_fill_a_new_store_at_once(store_url: str) -> None:
    def fill(number: int) -> Changes:
        with Store(store_url) as store:
            return store.import_batch("films", BATCH).interactions

    with ThreadPoolExecutor(8) as pool:
        changes = list(pool.map(fill, range(16)))
    assert sorted(change.added for change in changes) == [0] * 15 + [3]


@pytest.mark.parametrize("url", ["", "store.db", "sqlite//x", "mysql://host/x", "nonsense://host/x"])
def test_a_wrong_url_is_told_in_words(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert "sqlite:///" in caught.value.hint


def test_a_wrong_url_does_not_give_a_password_away() -> None:
    with pytest.raises(StoreError) as caught:
        Store("mysql://me:secret@host:port/x")
    assert "secret" not in str(caught.value)


def test_a_missing_driver_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(sa, "create_engine", no_driver)
    with pytest.raises(MissingDependency) as caught:
        Store("postgresql+psycopg://me@host/x")
    assert caught.value.hint == "pip install psycopg"


def test_postgresql_is_sent_its_own_upsert() -> None:
    sent: list[str] = []

    class Recorder:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

        def execute(self, statement: sa.Executable, rows: object) -> None:
            sent.append(str(statement.compile(dialect=self.dialect)))  # type: ignore[attr-defined]

    table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("x", sa.JSON))
    database.upsert(Recorder(), table, [{"id": "1", "x": {}}], ["x"])  # type: ignore[arg-type]
    assert "ON CONFLICT (id) DO UPDATE SET x = excluded.x" in sent[0]
