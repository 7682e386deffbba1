"""Migrations on both kinds of database: new, old, and from later versions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from recsys.data import migrations
from recsys.data.batch import ImportBatch
from recsys.data.database import IMPORTS, SCHEMA, open_database, transaction
from recsys.data.store import Store
from recsys.errors import StoreError
from recsys.types import Item, Site


def differences(connection: sa.Connection) -> list[Any]:
    """Return what alembic would write into a next revision."""
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), SCHEMA))


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


def test_the_steps_lead_to_what_the_code_works_with(store_url: str) -> None:
    with Store(store_url) as store, store.transaction() as connection:
        assert differences(connection) == []
        assert tables(connection) == {*SCHEMA.tables, migrations.VERSION_TABLE}
        assert migrations.revision(connection) == migrations.HEAD


def test_a_difference_would_be_seen(store_url: str) -> None:
    with Store(store_url) as store, store.transaction(writes=True) as connection:
        connection.execute(sa.text("ALTER TABLE users ADD COLUMN odd TEXT"))
        assert "odd" in str(differences(connection))


def test_head_names_the_last_step_and_the_steps_are_one_line(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as store, store.transaction() as connection:
        script = ScriptDirectory.from_config(migrations.configuration(connection))
    assert script.get_heads() == [migrations.HEAD]
    steps = list(script.walk_revisions())
    assert [step.revision for step in steps] == [f"{number:04}" for number in range(len(steps), 0, -1)]
    assert all(step.doc for step in steps)


def test_every_step_can_be_taken_back_and_again(store_url: str) -> None:
    Store(store_url).close()
    engine = open_database(store_url, 15)
    with transaction(engine, writes=True) as connection:
        command.downgrade(migrations.configuration(connection), "base")
        assert tables(connection) == {migrations.VERSION_TABLE}
        for number in range(1, int(migrations.HEAD) + 1):
            command.upgrade(migrations.configuration(connection), f"{number:04}")
        assert differences(connection) == []
    engine.dispose()


@pytest.mark.parametrize("number", [1, 2])
def test_a_database_from_before_the_steps_is_brought_up_to_date(store_url: str, number: int) -> None:
    """Older versions created the tables without migrations, and added `site` later."""
    engine = open_database(store_url, 15)
    with transaction(engine, writes=True) as connection:
        command.upgrade(migrations.configuration(connection), f"{number:04}")
        connection.execute(sa.text(f"DROP TABLE {migrations.VERSION_TABLE}"))
        row = "'films', 'a', 'Heat', '{\"genre\": [\"Crime\"]}', ''"
        into = "INSERT INTO items (domain, id, title, attributes, description)"
        connection.exec_driver_sql(f"{into} VALUES ({row})")
        noted = {"domain": "films", "data_hash": "x", "counts": {}, "time": sa.func.now()}
        connection.execute(sa.insert(IMPORTS).values(noted))
    engine.dispose()
    for _ in range(2):
        with Store(store_url) as store:
            assert store.items("films") == [Item(id="a", title="Heat", attributes={"genre": ("Crime",)})]
            assert store.data_hash("films") == "x"
            with store.transaction() as connection:
                assert differences(connection) == []
    museum = Item(id="b", title="Museum", site=Site(latitude=1, longitude=2))
    with Store(store_url) as store:
        store.import_batch("films", ImportBatch((museum,)))
        assert store.item("films", "b") == museum


def test_a_file_of_the_first_version_opens(tmp_path: Path) -> None:
    """The schema is written out as the first version created it."""
    with sqlite3.connect(tmp_path / "old.db") as raw:
        raw.executescript("""
            CREATE TABLE users (domain TEXT NOT NULL, id TEXT NOT NULL, profile JSON NOT NULL, home JSON,
                PRIMARY KEY (domain, id));
            CREATE TABLE items (domain TEXT NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL, year INTEGER,
                attributes JSON NOT NULL, description TEXT NOT NULL, PRIMARY KEY (domain, id));
            CREATE TABLE interactions (domain TEXT NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL,
                timestamp DOUBLE NOT NULL, rating DOUBLE, context JSON, sequence BIGINT NOT NULL,
                PRIMARY KEY (domain, user_id, item_id, timestamp),
                FOREIGN KEY(domain, user_id) REFERENCES users (domain, id),
                FOREIGN KEY(domain, item_id) REFERENCES items (domain, id));
            CREATE INDEX interactions_in_time ON interactions (domain, user_id, timestamp, sequence);
            CREATE TABLE imports (domain TEXT NOT NULL, data_hash TEXT NOT NULL, counts JSON NOT NULL,
                time DATETIME NOT NULL, PRIMARY KEY (domain));
            INSERT INTO users VALUES ('films', 'ann', '{}', NULL);
            INSERT INTO items VALUES ('films', 'a', 'Heat', 1995, '{}', '');
            INSERT INTO interactions VALUES ('films', 'ann', 'a', 5, 4, NULL, 1);
        """)
    with Store(f"sqlite:///{tmp_path / 'old.db'}") as store, store.transaction() as connection:
        assert differences(connection) == []
        assert [event.item_id for event in store.history("films", "ann")] == ["a"]


def test_a_database_from_a_later_version_is_refused_and_left_alone(store_url: str) -> None:
    with Store(store_url) as store, store.transaction(writes=True) as connection:
        connection.execute(sa.text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999") as caught:
        Store(store_url)
    assert "newer" in caught.value.hint
    with transaction(open_database(store_url, 15)) as connection:
        assert migrations.revision(connection) == "9999"


def test_a_step_that_fails_leaves_nothing_behind(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = command.upgrade

    def fail(config: Any, revision: str) -> None:
        real(config, "0002")
        raise OSError("the disk was full")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(OSError, match="the disk was full"):
        Store(store_url)
    monkeypatch.undo()
    with transaction(open_database(store_url, 15)) as connection:
        assert tables(connection) == set()
    Store(store_url).close()


def test_an_up_to_date_database_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store(url).close()
    code = f"""
import sys
from recsys.data.store import Store
Store({url!r}).close()
print("alembic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
