"""The table of interactions, read and written as columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from recsys.data.batch import Changes, Progress
from recsys.data.database import INTERACTIONS, insert_rows, upsert
from recsys.data.event_columns import COLUMNS, KEY, EventColumns
from recsys.utils.garbage import garbage_collection_paused

if TYPE_CHECKING:
    from hashlib import _Hash

    import polars as pl

UNKNOWN_TIME = -1e18  # stored for an unknown timestamp: NULL cannot be part of the primary key
CHUNK = 50_000  # rows that are Python objects at the same time


def next_sequence(connection: sa.Connection, domain: str) -> int:
    """Return the number of the next event to arrive in a domain."""
    newest = sa.select(sa.func.max(INTERACTIONS.c.sequence)).where(INTERACTIONS.c.domain == domain)
    return (connection.scalar(newest) or 0) + 1


def read_events(connection: sa.Connection, domain: str) -> pl.DataFrame:
    """Return the columns of all events, oldest first, and their "sequence".

    Raises:
        TypeError: A row holds a value of another type.
    """
    import polars as pl

    c = INTERACTIONS.c
    query = sa.select(
        c.user_id, c.item_id, c.timestamp, c.rating, sa.cast(c.context, sa.Text).label("context"), c.sequence
    )
    result = connection.execute(query.where(c.domain == domain))
    kinds = (pl.String, pl.String, pl.Float64, pl.Float64, pl.String, pl.Int64)
    schema = dict(zip((*COLUMNS, "sequence"), kinds, strict=True))
    chunks = []
    with garbage_collection_paused():
        while rows := result.cursor.fetchmany(CHUNK):  # of the driver: a row object for each costs as much
            chunks.append(pl.DataFrame(list(zip(*rows, strict=True)), schema=schema, orient="col"))
    frame = pl.concat([pl.DataFrame(schema=schema), *chunks]).sort("timestamp", "sequence")
    return frame.with_columns(pl.col("timestamp").replace(UNKNOWN_TIME, None))


def merge_events(
    connection: sa.Connection, domain: str, events: EventColumns, progress: Progress | None = None
) -> tuple[Changes, pl.DataFrame]:
    """Write the events that are new or differ from the stored ones.

    Two events are the same if user, item and timestamp are equal; of those given, the last one holds.

    Returns:
        What changed, and what `read_events` returns from now on.
    """
    import polars as pl

    given = events.frame.unique(KEY, keep="last", maintain_order=True)
    stored = read_events(connection, domain)
    given = given.with_columns(sequence=pl.int_range(pl.len()) + next_sequence(connection, domain))
    before = pl.col("rating", "context", "sequence").name.suffix("_before")
    given = given.join(
        stored.select(*KEY, before), on=KEY, how="left", nulls_equal=True, maintain_order="left"
    )
    is_new = pl.col("sequence_before").is_null()
    differs = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in ("rating", "context")
    )
    added, updated = given.filter(is_new), given.filter(~is_new & differs)
    for start in range(0, len(updated), CHUNK):
        upsert(connection, INTERACTIONS, _rows(domain, updated[start : start + CHUNK]), ["rating", "context"])
    columns = ("domain", *COLUMNS, "sequence")
    added = _storable(domain, added).select(columns).sort(KEY)  # pages are filled one by one
    for start in range(0, len(added), CHUNK):
        if progress:
            progress(f"storing {INTERACTIONS.name}", start, len(added))
        insert_rows(connection, INTERACTIONS, columns, added[start : start + CHUNK].rows())
    if progress:
        progress(f"storing {INTERACTIONS.name}", len(added), len(added))
    given = given.with_columns(pl.coalesce("sequence_before", "sequence").alias("sequence"))
    others = stored.join(given, on=KEY, how="anti", nulls_equal=True)
    after = pl.concat([others, given.select(stored.columns)]).sort("timestamp", "sequence")
    return Changes(len(added), len(updated), len(given) - len(added) - len(updated)), after


def hash_events(digest: _Hash, frame: pl.DataFrame) -> None:
    """Add the columns of events to a digest."""
    for start in range(0, len(frame), CHUNK):
        chunk = frame[start : start + CHUNK]
        for name in ("user_id", "item_id", "context"):
            digest.update("\0".join([*chunk[name].fill_null(""), ""]).encode())
        for name in ("timestamp", "rating"):
            digest.update(chunk[name].fill_null(float("nan")).to_numpy().tobytes())


def _storable(domain: str, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return frame.with_columns(pl.col("timestamp").fill_null(UNKNOWN_TIME), domain=pl.lit(domain))


def _rows(domain: str, frame: pl.DataFrame) -> list[dict[str, object]]:
    rows = _storable(domain, frame).select("domain", *COLUMNS, "sequence").to_dicts()
    return [row | {"context": json.loads(row["context"] or "null")} for row in rows]
