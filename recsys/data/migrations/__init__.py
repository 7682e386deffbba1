"""The schema of the database, step by step: each file in `versions` leads from one revision to the next.

Made with `alembic revision --autogenerate -m "what it does"`; `HEAD` names the last. Opening a
store brings its database there. `alembic` (configured in pyproject.toml) works on it by hand too.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from recsys.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
VERSION_TABLE = "alembic_version"

_one_at_a_time = threading.Lock()  # alembic keeps what it works on in globals


def revision(connection: sa.Connection) -> str | None:
    """What a database was last brought to; None for an empty one, and for those from before revisions."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return version


def upgrade(connection: sa.Connection) -> None:
    """Bring a database to `HEAD` within the transaction of `connection`, which must wait for other writers.

    Raises StoreError for a database that a newer version has written.
    """
    from alembic import command
    from alembic.util import CommandError

    with _one_at_a_time:
        config = configuration(connection)
        if revision(connection) is None and (found := _before_revisions(connection)):
            command.stamp(config, found)
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise StoreError(
                f"the database is of revision {revision(connection)}, which this version does not know",
                hint="install the newer whyrec that has written it",
            ) from error


def configuration(connection: sa.Connection) -> Config:
    """Alembic's configuration for work on an open connection."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _before_revisions(connection: sa.Connection) -> str | None:
    """The revision that matches a database whose tables were made before there were any."""
    inspector = sa.inspect(connection)
    if not inspector.has_table("imports"):
        return None
    has_site = any(column["name"] == "site" for column in inspector.get_columns("items"))
    return "0002" if has_site else "0001"
