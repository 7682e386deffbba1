"""Time and memory of `recsys import` beside polars and SQLite on the same rows.

    python -m benchmarks.import_speed --events 1000000
    python -m benchmarks.import_speed --domain shop-products

Without a domain, events are generated (`benchmarks.synthetic_events`). The import runs as a process of its
own, its start included. The reference reads the same files with polars, and inserts the rows that the
import stored into an empty store with `executemany`: in the order of the file, as one who writes such a
script would, and in the order of the key, which is the fastest that SQLite can do. CPU seconds are beside
wall-clock seconds, for a machine that does other things, too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from benchmarks import synthetic_events
from benchmarks.environment import describe, write_json
from recsys.config import Domain, load_domain
from recsys.config.tables import FileTable
from recsys.data.database import INTERACTIONS, ITEMS, USERS
from recsys.data.importers.files import data_file
from recsys.data.store import Store

Seconds = dict[str, float]


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", help="a domain or a folder; by default events are generated")
    parser.add_argument("--events", type=int, default=1_000_000, help="to generate")
    parser.add_argument("--items", type=int, default=68_000, help="to generate")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/import_speed.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = options.domain or str(generate(options.events, options.items, Path(folder) / "made"))
        result = measure(name, Path(folder))
    described = options.domain or f"generated: {options.events:,} events, {options.items:,} items"
    write_json(options.out, {"environment": describe(), "data": described, **result})


def generate(events: int, items: int, folder: Path) -> Path:
    """Write a generated domain."""
    synthetic_events.write_domain(synthetic_events.generate(events, items), folder)
    return folder


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Import a domain into an empty store, then do what the reference does."""
    domain = load_domain(name)
    files = [data_file(domain, table.file) for table in _tables(domain)]  # prepared now, if they are
    stored = folder / "imported.db"
    imported, peak_mib, report = run_import(name, stored)
    reads: Seconds = {}
    with timed(reads):
        read_alone(domain, files)
    by_arrival, by_key = insert_alone(domain.name, stored, folder)
    result = {
        "rows": report["rows"],
        "import": imported | {"peak_mib": peak_mib},
        "reference": {
            "polars_reads": reads,
            "sqlite_inserts_in_file_order": by_arrival,
            "sqlite_inserts_in_key_order": by_key,
        },
    }
    for order, inserts in (("file", by_arrival), ("key", by_key)):
        result[f"times_reference_in_{order}_order"] = {
            clock: round(imported[clock] / (reads[clock] + inserts[clock]), 2) for clock in imported
        }
    return result


def run_import(name: str, database: Path) -> tuple[Seconds, int, dict[str, Any]]:
    """Import as a user does; return the time, the peak in MiB and the report."""
    command = [sys.executable, "-m", "recsys.cli", "import", "--json", "--domain", name]
    environment = os.environ | {"WHYREC_STORE_URL": f"sqlite:///{database}"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report: dict[str, Any] = json.loads(done.stdout)["report"]
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}, after.ru_maxrss // 1024, report


def read_alone(domain: Domain, files: list[Path]) -> None:
    """Read the columns that an import reads."""
    for table, file in zip(_tables(domain), files, strict=True):
        columns = list(dict.fromkeys(column.column for _, column in table.columns()))
        if file.suffix == ".parquet":
            pl.read_parquet(file, columns=columns)
        else:
            pl.read_csv(file, columns=columns, infer_schema=False)


def insert_alone(name: str, stored: Path, folder: Path) -> tuple[Seconds, Seconds]:
    """Insert stored rows into empty stores, by order of arrival and by key."""
    tables = (ITEMS, USERS, INTERACTIONS)
    source = sa.create_engine(f"sqlite:///{stored}")
    with source.connect() as connection:
        rows = {table: _raw_rows(connection, table, name) for table in tables}
    arrived = [column.name for column in INTERACTIONS.c].index("sequence")
    rows[INTERACTIONS].sort(key=lambda row: row[arrived])
    by_arrival = _insert(f"sqlite:///{folder / 'by_arrival.db'}", rows)
    rows[INTERACTIONS].sort(key=lambda row: row[:4])  # domain, user, item, time
    return by_arrival, _insert(f"sqlite:///{folder / 'by_key.db'}", rows)


def _raw_rows(connection: sa.Connection, table: sa.Table, name: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(column.name for column in table.c)
    query = f"SELECT {columns} FROM {table.name} WHERE domain = ?"
    return [tuple(row) for row in connection.exec_driver_sql(query, (name,))]


def _insert(url: str, rows: dict[sa.Table, list[tuple[Any, ...]]]) -> Seconds:
    seconds: Seconds = {}
    with Store(url) as store, timed(seconds), store.transaction(writes=True) as connection:
        driver: Any = connection.connection.driver_connection
        for table, values in rows.items():
            marks = ", ".join("?" * len(table.c))
            columns = ", ".join(column.name for column in table.c)
            driver.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", values)
    return seconds


@contextmanager
def timed(seconds: Seconds) -> Iterator[None]:
    """Put wall-clock and CPU seconds of this process into `seconds`."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds |= {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def _tables(domain: Domain) -> list[FileTable]:
    return [table for table in (domain.items, domain.users, domain.interactions) if table]


if __name__ == "__main__":
    main()
