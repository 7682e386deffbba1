"""Migrations of the database schema, one file per revision in `versions/`.

A step is made with `alembic revision --autogenerate -m "what it does"`, and `HEAD` names the last one.
Opening a store upgrades its database. `alembic`, configured in pyproject.toml, also works by hand.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from recsys.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0007"
VERSION_TABLE = "alembic_version"

_lock = threading.Lock()  # alembic keeps its state in globals


def revision(connection: sa.Connection) -> str | None:
    """Return the revision of a database, None if it is empty or has none."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return version


def upgrade(connection: sa.Connection) -> None:
    """Upgrade a database to `HEAD`, in the writing transaction of `connection`.

    Raises:
        StoreError: A newer version of whyrec has written the database.
    """
    from alembic import command
    from alembic.util import CommandError

    with _lock:
        config = configuration(connection)
        if revision(connection) is None and (unmarked := _unmarked_revision(connection)):
            command.stamp(config, unmarked)
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise StoreError(
                f"the database is of revision {revision(connection)}, which this version does not know",
                hint="install the newer whyrec that has written it",
            ) from error


def configuration(connection: sa.Connection) -> Config:
    """Return Alembic's configuration for an open connection."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _unmarked_revision(connection: sa.Connection) -> str | None:
    """Return the revision of a database whose tables are older than the version table."""
    inspector = sa.inspect(connection)
    if not inspector.has_table("imports"):
        return None
    has_site = any(column["name"] == "site" for column in inspector.get_columns("items"))
    return "0002" if has_site else "0001"
