"""What the files of a PostgreSQL server hold of a person who was deleted."""

from __future__ import annotations

import psycopg

from recsys.config import Domain, Settings
from recsys.data.batch import ImportBatch
from recsys.data.erasure import delete_user
from recsys.data.store import Store
from recsys.types import Interaction, Item, User
from tests.postgres.server import PostgresServer
from tests.service.planted import PERSON, PLANTED, files_with


def test_after_a_vacuum_only_the_log_of_the_server_holds_the_person(
    postgres: PostgresServer, films: Domain, settings: Settings
) -> None:
    url = postgres.new_database()
    person = User(id=PERSON, profile={"name": PLANTED, "about": f"{PLANTED} " * 400})
    event = Interaction(user_id=PERSON, item_id="a", timestamp=1, context={"with": PLANTED})
    with psycopg.connect(url, autocommit=True) as server, Store(url) as store:
        users = (person, *(User(id=f"u{number}") for number in range(200)))
        store.import_batch("films", ImportBatch((Item(id="a", title="Heat"),), users, (event,)))
        server.execute("ANALYZE")
        server.execute("CHECKPOINT")
        assert _outside_the_log(postgres)
        (remains,) = delete_user(store, films, PERSON, settings).remains
        assert "VACUUM (FULL, ANALYZE) and CHECKPOINT" in remains
        server.execute("VACUUM (FULL, ANALYZE)")
        server.execute("CHECKPOINT")
    assert _outside_the_log(postgres) == []


def _outside_the_log(postgres: PostgresServer) -> list[str]:
    return [file for file in files_with(PLANTED, [postgres.folder / "data"]) if "/pg_wal/" not in file]
