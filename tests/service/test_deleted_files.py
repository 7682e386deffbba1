"""After a deletion no file of the installation holds a text of the person."""

from __future__ import annotations

import gzip
import random
import tempfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recsys.cli import app
from recsys.config import Domain, Settings
from recsys.data.batch import ImportBatch
from recsys.data.database import INTERACTIONS
from recsys.data.erasure import delete_user
from recsys.data.store import Store
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.types import Interaction, Item, User
from tests.fakes import ScriptedEngine, build_recommender
from tests.service.planted import PERSON, PLANTED, files_with, plant


def by_http(client: TestClient, films: Domain, settings: Settings) -> None:
    answer = client.delete(f"/v1/users/{PERSON}")
    assert answer.status_code == 200
    assert answer.json()["remains"] == []


def by_command(client: TestClient, films: Domain, settings: Settings) -> None:
    command = ["users", "delete", PERSON, "--domain", str(films.folder), "--yes"]
    folders = {"WHYREC_DATA_DIR": str(settings.data_dir), "WHYREC_CACHE_DIR": str(settings.cache_dir)}
    done = CliRunner(env=folders).invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "still in" not in done.output


def by_python(client: TestClient, films: Domain, settings: Settings) -> None:
    with Store(settings.database_url) as store:
        assert delete_user(store, films, PERSON, settings).remains == ()


@pytest.mark.parametrize("delete", [by_http, by_command, by_python])
def test_no_file_holds_a_text_of_the_person_while_the_service_runs(
    delete: Callable[[TestClient, Domain, Settings], None],
    films: Domain,
    settings: Settings,
    scripted: ScriptedEngine,
    log_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The write-ahead log and the slack of pages used to hold the name."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for is_fitted in (False, True):  # the second retriever is fitted on the person's events
        with (
            build_recommender(films, settings, scripted) as recommender,
            TestClient(
                create_app({"films": recommender}, ServiceOptions()),
                "http://localhost",
                client=("127.0.0.1", 5000),
            ) as client,
        ):
            plant(client)
            assert files_with(PLANTED, [settings.data_dir])
            if is_fitted:
                delete(client, films, settings)
                assert files_with(PLANTED, [tmp_path]) == []
    assert log_file.stat().st_size
    assert files_with(PLANTED, [tmp_path]) == []


def test_the_search_finds_what_is_hidden_in_other_forms(tmp_path: Path) -> None:
    (tmp_path / "wide").write_bytes("..zqtext..".encode("utf-16"))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(b"--ZQText"))
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", "zqtext" * 9)
    (tmp_path / "a-zqText-name").write_bytes(b"")
    (tmp_path / "other").write_bytes(b"zq text")
    assert [Path(name).name for name in files_with("zqText", [tmp_path])] == [
        "a-zqText-name",
        "arrays.npz",
        "packed.gz",
        "wide",
    ]


@pytest.mark.parametrize("seed", [1, 4, 5])
def test_rebalanced_pages_keep_no_copy(seed: int, tmp_path: Path, films: Domain, settings: Settings) -> None:
    """`secure_delete` alone left copies behind for these seeds."""
    chance = random.Random(seed)
    items = tuple(Item(id=str(number), title=f"T{number}") for number in range(50))

    def person(number: int) -> User:
        about = f"PLANT{number}# " + "x" * chance.choice([1, 20, 300, 2000, 9000])
        return User(id=f"u{number:04}PLANT{number}#", profile={"about": about})

    people = [person(number) for number in range(60)]
    events = tuple(
        Interaction(user_id=one.id, item_id=chance.choice(items).id, timestamp=float(chance.randrange(10**9)))
        for one in people
        for _ in range(chance.randrange(30))
    )
    with Store(f"sqlite:///{tmp_path / 'one.db'}") as store:
        store.import_batch("films", ImportBatch(items, tuple(people), events))
        for gone in chance.sample(range(60), 12):
            for number in chance.sample(range(60), 3):
                store.put_user("films", person(number))
            store.put_user("films", person(gone))
            assert delete_user(store, films, f"u{gone:04}PLANT{gone}#", settings).remains == ()
            assert files_with(f"PLANT{gone}#", [tmp_path]) == []


def test_a_reader_that_stays_is_named_and_the_next_deletion_cleans_up(
    tmp_path: Path, films: Domain, settings: Settings
) -> None:
    people = (User(id="ann", profile={"about": "PLANT-ann"}), User(id="bob"))
    url = f"sqlite:///{tmp_path / 'one.db'}"
    with Store(url, busy_timeout=0.2) as store, Store(url) as other:
        store.import_batch("films", ImportBatch(users=people))
        with other.transaction() as reading:
            reading.execute(sa.select(INTERACTIONS)).all()
            (remains,) = delete_user(store, films, "ann", settings).remains
            assert "one.db-wal: the write-ahead log" in remains
        assert delete_user(store, films, "bob", settings).remains == ()
        assert files_with("PLANT-ann", [tmp_path]) == []


def test_a_reader_that_ends_is_waited_for(tmp_path: Path, films: Domain, settings: Settings) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    with Store(url, busy_timeout=60) as store, Store(url) as other:
        store.import_batch("films", ImportBatch(users=(User(id="ann", profile={"about": "PLANT-ann"}),)))
        reads, deleted = threading.Event(), threading.Event()

        def read() -> None:
            with other.transaction() as reading:
                reading.execute(sa.select(INTERACTIONS)).all()
                reads.set()
                deleted.wait(1)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(read)
            reads.wait()
            assert delete_user(store, films, "ann", settings).remains == ()
            deleted.set()
        assert files_with("PLANT-ann", [tmp_path]) == []


def test_what_a_reader_held_goes_with_the_last_connection(
    tmp_path: Path, films: Domain, settings: Settings
) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    with Store(url, busy_timeout=0.1) as store, Store(url) as other:
        store.import_batch("films", ImportBatch(users=(User(id="ann", profile={"about": "PLANT-ann"}),)))
        with other.transaction() as reading:
            reading.execute(sa.select(INTERACTIONS)).all()
            assert delete_user(store, films, "ann", settings).remains
    assert files_with("PLANT-ann", [tmp_path]) == []


def test_a_writer_that_stays_is_named_and_the_rows_are_gone_all_the_same(
    tmp_path: Path, films: Domain, settings: Settings
) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    with Store(url, busy_timeout=0.2) as store, Store(url) as other:
        store.import_batch("films", ImportBatch(users=(User(id="ann"),)))
        with other.transaction(writes=True):
            assert "locked" in store.scrub()
        assert store.scrub() == ""


def test_somebody_who_has_traces_only_can_be_deleted(client: TestClient) -> None:
    """The traces of an id that no table of users has could not be deleted."""
    client.post("/v1/recommendations", json={"user": "stranger", "wish": "a crime film", "reasons": False})
    assert client.delete("/v1/users/stranger").json()["rows"] == {"traces": 1}
    assert client.delete("/v1/users/stranger").status_code == 404
