"""The script that alembic runs, on a given connection or the configured store."""

from __future__ import annotations

from alembic import context

from recsys.config import load_settings
from recsys.data.database import SCHEMA, open_database, transaction


def _migrate() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        engine = open_database(load_settings().database_url, busy_timeout=15)
        with transaction(engine, writes=True) as connection:
            context.config.attributes["connection"] = connection
            _migrate()
        return
    # SQLite cannot alter most of a table: a batch creates a new table and copies the rows.
    context.configure(connection=connection, target_metadata=SCHEMA, render_as_batch=True)
    context.run_migrations()


_migrate()
