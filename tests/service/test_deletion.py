"""Deleting a user: rows, fitted files, caches, and naming of adapters."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from recsys.cli import app
from recsys.config import Domain, Privacy, Settings
from recsys.context import pii
from recsys.data import audit, erasure, traces
from recsys.data.batch import ImportBatch
from recsys.data.database import FEEDBACK, SCHEMA, TRACES, USERS
from recsys.data.erasure import delete_user, remove_fitted, trained_on
from recsys.data.store import Store
from recsys.errors import StoreError, UnknownUser
from recsys.service.api.schemas import RecommendationResponse
from recsys.types import Context, Interaction, Item, User
from recsys.utils import sanitize
from tests.adapter_files import World

# Tables without rows about a person, each with the reason.
IMPERSONAL = {
    "items": "what is recommended",
    "relations": "how items are related",
    "imports": "hashes and counts",
    "api_keys": "of programs",
    "audit_log": "names users by a hash",
    "sessions": "of nobody known, and they expire",
    "idempotency": "counts and ids of items, and they expire",
}
JAN_2025 = 1_735_689_600.0
ITEMS = tuple(Item(id=letter, title=f"Film {letter}") for letter in "abc")
EVENTS = (
    Interaction(user_id="ann", item_id="a", timestamp=JAN_2025, rating=5),
    Interaction(user_id="ann", item_id="b", timestamp=JAN_2025 + 9, context={"with": "a secret friend"}),
    Interaction(user_id="bob", item_id="a", timestamp=JAN_2025 + 5),
)
USERS_THERE = (User(id="ann", profile={"about": "very private words"}), User(id="bob"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store(store_url) as store:
        for domain in ("films", "books"):
            store.import_batch(domain, ImportBatch(ITEMS, USERS_THERE, EVENTS))
            with store.transaction(writes=True) as connection:
                for user in ("ann", "bob"):
                    trace = {
                        "domain": domain,
                        "id": f"r-{user}",
                        "user_id": user,
                        "time": 1.0,
                        "request_id": "q",
                        "request": {"user": user, "wish": f"wish of {user}"},
                        "answer": {},
                    }
                    feedback = {
                        "domain": domain,
                        "recommendation_id": f"r-{user}",
                        "item_id": "a",
                        "event": "liked",
                        "user_id": user,
                        "strategy": "pointwise",
                        "time": 1.0,
                    }
                    connection.execute(sa.insert(TRACES), [trace])
                    connection.execute(sa.insert(FEEDBACK), [feedback])
        yield store


def contents(store: Store) -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    with store.transaction() as connection:
        return {
            table.name: sorted(repr(tuple(row)) for row in connection.execute(sa.select(table)))
            for table in SCHEMA.sorted_tables
        }


def mentioning(rows: list[str], domain: str, word: str) -> list[str]:
    return [row for row in rows if f"'{domain}'" in row and word in row]


def test_every_table_says_whether_it_is_about_persons() -> None:
    """A new table has `domain` and `user_id`, or is listed above."""
    personal = {"users", *(table.name for table in SCHEMA.sorted_tables if "user_id" in table.c)}
    assert personal | set(IMPERSONAL) == set(SCHEMA.tables)
    assert not personal & set(IMPERSONAL)
    assert all("domain" in SCHEMA.tables[name].c for name in personal)


def test_nothing_of_the_person_is_left_and_nothing_of_others_is_gone(
    store: Store, films: Domain, settings: Settings
) -> None:
    before = contents(store)
    done = delete_user(store, films, "ann", settings)
    assert done.rows == {"feedback": 1, "traces": 1, "interactions": 2, "users": 1}
    after = contents(store)
    for table, rows in after.items():
        assert mentioning(rows, "films", "ann") == [], table
        if table != "imports":
            kept = [row for row in before[table] if row not in mentioning(before[table], "films", "ann")]
            assert rows == kept, table
    assert "very private words" in str(mentioning(after["users"], "books", "ann"))
    with pytest.raises(UnknownUser):
        store.user("films", "ann")
    assert store.history("films", "ann") == []
    assert store.popularity("films") == {"a": 1}


def test_the_bytes_are_gone_from_an_sqlite_file_too(
    tmp_path: Path, films: Domain, settings: Settings
) -> None:
    file = tmp_path / "one.db"
    with Store(f"sqlite:///{file}") as store:
        store.import_batch("films", ImportBatch(ITEMS, USERS_THERE, EVENTS))
    assert b"very private words" in file.read_bytes()
    with Store(f"sqlite:///{file}") as store:
        delete_user(store, films, "ann", settings)
    left = b"".join(path.read_bytes() for path in tmp_path.glob("one.db*"))
    assert b"very private words" not in left
    assert b"a secret friend" not in left


def test_the_hash_of_the_data_tells_others_that_it_changed(
    store: Store, films: Domain, settings: Settings
) -> None:
    before, other = store.data_hash("films"), store.data_hash("books")
    delete_user(store, films, "ann", settings)
    assert store.data_hash("films") not in ("", before)
    assert store.data_hash("books") == other


def test_somebody_unknown_cannot_be_deleted_and_nothing_happens(
    store: Store, films: Domain, settings: Settings
) -> None:
    before = contents(store)
    with pytest.raises(UnknownUser):
        delete_user(store, films, "eve", settings)
    delete_user(store, films, "bob", settings)
    with pytest.raises(UnknownUser):
        delete_user(store, films, "bob", settings)
    assert mentioning(contents(store)["users"], "films", "ann") == mentioning(before["users"], "films", "ann")


@pytest.mark.parametrize(
    ("known", "requested", "kept"),
    [("ann", "ann", False), ("bob", "bob", True), (None, "stranger", True), (None, None, True)],
)
def test_a_request_that_ends_after_its_person_was_deleted_leaves_no_trace(
    store: Store,
    films: Domain,
    settings: Settings,
    known: str | None,
    requested: str | None,
    kept: bool,
) -> None:
    """A request in progress used to write its trace after the deletion."""
    answer = RecommendationResponse(
        domain="films",
        user=known,
        recommendations=(),
        context=Context(),
        model=None,
        strategy="retriever",
        recommendation_id="r-late",
    )
    delete_user(store, films, "ann", settings)
    traces.add_trace(store, "r-late", answer, {"user": requested} if requested else {}, "q", keep=100)
    assert (traces.find_trace(store, "films", "r-late") is not None) is kept
    assert mentioning(contents(store)["traces"], "films", "ann") == []


def test_a_deletion_that_fails_in_the_middle_deletes_nothing(
    store: Store, films: Domain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = contents(store)
    monkeypatch.setattr(erasure, "refresh_data_hash", interrupted)
    with pytest.raises(KeyboardInterrupt):
        delete_user(store, films, "ann", settings)
    assert contents(store) == before


def fitted(settings: Settings) -> Path:
    """Create a retriever's folder as fitting leaves it."""
    folder = settings.retriever_folder("films")
    for name in ("text", "ease", "gru/model", "tuning/ease"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(b"weights")
    (folder / "weights.json").write_text("{}")
    cached = settings.cache_dir / "evaluation" / "films" / "0123" / "ease"
    cached.mkdir(parents=True)
    return folder


def test_what_was_fitted_on_their_events_goes_and_the_rest_stays(
    store: Store, films: Domain, settings: Settings
) -> None:
    folder = fitted(settings)
    other = settings.cache_dir / "evaluation" / "books"
    other.mkdir()
    assert delete_user(store, films, "ann", settings).refit == ("ease", "gru", "tuning")
    assert sorted(path.name for path in folder.iterdir()) == ["text", "weights.json"]
    assert not (settings.cache_dir / "evaluation" / "films").exists()
    assert other.exists()
    assert remove_fitted(films, settings) == ()


def test_somebody_without_events_leaves_the_retriever_as_it_is(
    store: Store, films: Domain, settings: Settings
) -> None:
    folder = fitted(settings)
    store.import_batch("films", ImportBatch(users=(User(id="new"),)))
    done = delete_user(store, films, "new", settings)
    assert (done.rows, done.refit, done.adapters) == ({"users": 1}, (), ())
    assert (folder / "ease").exists()


def test_files_that_cannot_be_removed_are_told(
    store: Store, films: Domain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fitted(settings)

    def fail(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.raises(StoreError, match="Permission denied"):
        remove_fitted(films, settings)
    assert (folder / "ease").exists()


def test_texts_that_were_remembered_are_forgotten(store: Store, films: Domain, settings: Settings) -> None:
    sanitize.clean_text("very private words")
    pii.mask("very private words", Privacy())
    assert sanitize._clean.cache_info().currsize
    assert pii._mask_cached.cache_info().currsize
    delete_user(store, films, "ann", settings)
    assert sanitize._clean.cache_info().currsize == 0
    assert pii._mask_cached.cache_info().currsize == 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_adapters_made_after_their_first_event_are_named(store: Store, films: Domain, world: World) -> None:
    def publish(seed: int, created: str, domain: str = "films") -> str:
        return world.publish(seed, created=created, domain=domain).ref

    publish(1, "2024-12-31T23:59:59+00:00")
    later = [publish(2, "2025-01-01T00:00:00+00:00"), publish(3, "2026-06-01T12:00:00+02:00")]
    publish(4, "2026-06-01T12:00:00+00:00", "books")
    assert trained_on(store, films, "ann", world.settings) == tuple(later)
    assert delete_user(store, films, "ann", world.settings).adapters == tuple(later)
    store.import_batch("films", ImportBatch(ITEMS, USERS_THERE, (Interaction(user_id="ann", item_id="a"),)))
    assert len(trained_on(store, films, "ann", world.settings)) == 3, "of unknown time: any may have read it"
    assert trained_on(store, films, "bob", world.settings) == (later[1],), "whose first event is later"


def test_the_command_asks_first_deletes_reports_and_leaves_a_trace_without_the_id(
    films: Domain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("WHYREC_CACHE_DIR", str(settings.cache_dir))
    person = User(id="person-4711")
    event = Interaction(user_id=person.id, item_id="a", timestamp=1)
    with Store(settings.database_url) as store:
        store.import_batch("films", ImportBatch(ITEMS, (person,), (event,)))
    command = ["users", "delete", person.id, "--domain", str(films.folder)]
    runner = CliRunner()
    refused = runner.invoke(app, command, input="n\n")
    assert refused.exit_code == 1
    assert "1 events" in refused.output
    with Store(settings.database_url) as store:
        assert store.users("films") == [person.id]
    done = runner.invoke(app, [*command, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == {"interactions": 1, "users": 1}
    with Store(settings.database_url) as store:
        assert store.users("films") == []
        entry = audit.entries(store)[0]
        assert entry.action == "users.delete"
        assert entry.target == audit.pseudonym("films", person.id)
        assert person.id not in str(dataclasses.asdict(entry))
        assert {table for table, rows in contents(store).items() if person.id in str(rows)} == set()


def test_a_user_table_has_no_other_name_for_an_id() -> None:
    assert [column.name for column in USERS.primary_key] == ["domain", "id"]
