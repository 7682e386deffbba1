"""Concurrent writers on both databases, and failures that only PostgreSQL has."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from recsys.data import audit
from recsys.data.batch import ImportBatch
from recsys.data.database import AUDIT_LOG, USERS
from recsys.data.store import CHUNK, Store
from recsys.errors import StoreError
from recsys.types import Interaction, Item, User
from tests.postgres.server import PostgresServer

WRITERS = 6
EACH = 15


def events(number: int) -> tuple[Interaction, ...]:
    return tuple(Interaction(user_id=f"u{number}", item_id="a", timestamp=n) for n in range(EACH))


def test_nothing_of_several_writers_is_lost(store_url: str) -> None:
    """Each transaction reads the newest sequence number before it writes the next."""
    with Store(store_url) as store:
        store.import_batch("films", ImportBatch((Item(id="a", title="Heat"),)))

    def write(number: int) -> None:
        with Store(store_url, busy_timeout=60) as store:
            for event in events(number):
                store.import_batch(
                    "films", ImportBatch(users=(User(id=event.user_id),), interactions=(event,))
                )

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    with Store(store_url) as store:
        assert store.counts("films") == {"items": 1, "users": WRITERS, "interactions": WRITERS * EACH}
        with store.transaction() as connection:
            sequences = list(connection.scalars(sa.text("SELECT sequence FROM interactions")))
        assert sorted(sequences) == list(range(1, WRITERS * EACH + 1)), "every number is used once"
        hashes = store.data_hash("films")
        store.import_batch("films", ImportBatch((Item(id="b", title="Ronin"),)))
        assert store.data_hash("films") != hashes


def test_who_reads_sees_one_moment(store_url: str) -> None:
    with Store(store_url) as store:
        store.import_batch("films", ImportBatch(users=(User(id="ann"),)))
        with store.transaction() as connection:
            count = sa.select(sa.func.count()).select_from(USERS)
            assert connection.scalar(count) == 1
            store.import_batch("films", ImportBatch(users=(User(id="bob"),)))
            assert connection.scalar(count) == 1
        assert store.counts("films")["users"] == 2


def test_who_waits_too_long_for_another_writer_is_told_to_try_again(store_url: str) -> None:
    with Store(store_url) as holder, Store(store_url, busy_timeout=0.05) as store:
        with holder.transaction(writes=True), pytest.raises(StoreError, match="locked") as caught:
            audit.record(store, "me", "test")
        assert caught.value.retryable
        audit.record(store, "me", "test")
        assert len(audit.entries(store)) == 1


def test_a_large_import_goes_in_by_chunks_and_comes_out_the_same(store_url: str) -> None:
    items = tuple(
        Item(id=f"{n:06}", title=f"Film {n}", attributes={"n": (str(n),)}) for n in range(CHUNK + 7)
    )
    with Store(store_url) as store:
        assert store.import_batch("films", ImportBatch(items)).items.added == len(items)
        assert store.items("films") == list(items)
        gone = [item.id for item in items[:-1]]
        assert store.remove_items("films", gone).removed == len(gone)


def test_ids_of_acts_count_up(store_url: str) -> None:
    with Store(store_url) as store:
        for _ in range(3):
            audit.record(store, "me", "test")
        with store.transaction() as connection:
            assert list(connection.scalars(sa.select(AUDIT_LOG.c.id).order_by(AUDIT_LOG.c.id))) == [1, 2, 3]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


def test_a_server_that_was_restarted_is_found_again(postgres: PostgresServer, url: str) -> None:
    with Store(url) as store:
        audit.record(store, "me", "before")
        postgres.stop()
        with pytest.raises(StoreError, match="cannot be reached") as caught:
            audit.record(store, "me", "meanwhile")
        assert caught.value.retryable
        postgres.start()
        audit.record(store, "me", "after")
        assert [entry.action for entry in audit.entries(store)] == ["after", "before"]


def test_a_connection_that_was_cut_in_a_transaction_is_told_and_nothing_is_kept(url: str) -> None:
    def cut(store: Store) -> None:
        with store.transaction(writes=True) as connection:
            connection.execute(sa.insert(USERS), [{"domain": "films", "id": "ann", "profile": {}}])
            number = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [number])
            connection.execute(sa.text("SELECT 1"))

    with Store(url) as store:
        with pytest.raises(StoreError, match="cannot be reached") as caught:
            cut(store)
        assert caught.value.retryable
        assert store.users("films") == []


def test_no_server_is_told_in_words_without_the_password() -> None:
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        Store("postgresql://me:hunter22@127.0.0.1:1/db", busy_timeout=1)
    assert "hunter22" not in str(caught.value)
    assert caught.value.retryable


def test_a_database_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        Store(url.replace("/test_", "/other_"))
    assert "the URL is right" in caught.value.hint


def test_text_that_postgresql_cannot_hold_is_told_and_nothing_is_kept(url: str) -> None:
    with Store(url) as store:
        with pytest.raises(StoreError, match="refused a row") as caught:
            store.import_batch("films", ImportBatch((Item(id="a", title="nul \x00 inside"),)))
        assert not caught.value.retryable
        assert store.counts("films")["items"] == 0


def test_somebody_without_rights_is_told(url: str) -> None:
    Store(url).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    with Store(url.replace("tester@", "reader@")) as store:
        assert store.users("films") == []
        with pytest.raises(StoreError, match="denies a right"):
            store.import_batch("films", ImportBatch(users=(User(id="ann"),)))


def test_the_driver_is_found_without_being_named(url: str) -> None:
    assert url.startswith("postgresql://")
    with Store(url) as plain, Store(url.replace("postgresql:", "postgresql+psycopg:")) as named:
        audit.record(plain, "me", "test")
        assert len(audit.entries(named)) == 1


def test_many_threads_share_one_store(store_url: str) -> None:
    with Store(store_url, busy_timeout=60) as store:
        ready = threading.Barrier(8)

        def act(number: int) -> None:
            ready.wait()
            audit.record(store, "me", f"act {number}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(act, range(8)))
        assert {entry.action for entry in audit.entries(store)} == {f"act {number}" for number in range(8)}
