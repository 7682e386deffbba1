"""What an import tells of its events, and warnings where that looks wrong."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys.config import Domain
from recsys.config.tables import Column
from recsys.data.batch import ImportBatch, ImportReport
from recsys.data.dataset import DoubleArray
from recsys.data.event_columns import EventColumns
from recsys.data.importers.values import quote

if TYPE_CHECKING:
    import polars as pl

FIRST_LIKELY = dt.datetime(1990, 1, 1, tzinfo=dt.UTC).timestamp()
MIN_LIKED = 5  # events that are all liked, before that looks wrong
DAY = 86_400
_LIST = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)
_SEVERAL = ("|", ";")


def summarize(batch: ImportBatch, domain: Domain) -> None:
    """Put the figures of a batch and what looks wrong in it into its report."""
    report, events = batch.report, EventColumns.of(batch.interactions).frame
    stamps = events["timestamp"].drop_nulls().to_numpy()
    ratings: dict[float | None, int] = dict(events["rating"].value_counts().iter_rows())
    if len(stamps):
        report.time_span = (_iso(stamps.min()), _iso(stamps.max()))
    if len(events):
        report.events_per = {of: _median_and_max(events[f"{of}_id"]) for of in ("user", "item")}
        names = {True: "liked", False: "disliked", None: "neither"}
        report.feedback.update(dict.fromkeys(names.values(), 0))
        for rating, count in ratings.items():
            report.feedback[names[domain.feedback.liked(rating)]] += count
    report.warnings += [
        *_missing_warnings(report),
        *_time_warnings(stamps, domain),
        *_rating_warnings(Counter({r: n for r, n in ratings.items() if r is not None}), report, domain),
        *_attribute_warnings(batch, domain),
    ]


def _missing_warnings(report: ImportReport) -> Iterator[str]:
    kept = report.rows["interactions"] - max(report.skipped.values(), default=0)
    rows = {"rating": kept, "timestamp": kept, "home": report.rows["users"]}
    rows |= dict.fromkeys(("year", "position", "hours"), report.rows["items"])
    for field, count in rows.items():
        if count and report.missing[field] == count:
            yield f"no row has a readable {field}: map another column, or leave {field} out"


def _time_warnings(stamps: DoubleArray, domain: Domain) -> Iterator[str]:
    column = domain.interactions.timestamp if domain.interactions else None
    if not len(stamps) or column is None:
        return
    early = int((stamps < FIRST_LIKELY).sum())
    late = int((stamps > time.time() + 2 * DAY).sum())
    if early and column.unit is None:
        yield (
            f"{early:,} of {len(stamps):,} events are before 1990, the first {_iso(stamps.min())}: "
            "are they in another unit? set unit for the timestamp column"
        )
    if late:
        yield f"{late:,} of {len(stamps):,} events are in the future, the last {_iso(stamps.max())}"


def _rating_warnings(ratings: Counter[float], report: ImportReport, domain: Domain) -> Iterator[str]:
    scale = domain.feedback
    negative = sum(count for rating, count in ratings.items() if rating < 0)
    rated = ratings.total()
    if ratings[-1.0] and ratings[-1.0] == negative and max(ratings) > 1:
        yield (
            f'{negative:,} ratings are -1, which often stands for "not rated": '
            'set missing = ["-1"] for the rating column, or they count as ratings'
        )
    if rated < 2 or (scale.liked_at_least is None and scale.disliked_at_most is None):
        return
    bounds = (
        f"[feedback] has liked_at_least = {scale.liked_at_least}, disliked_at_most = {scale.disliked_at_most}"
    )
    span = f"ratings are from {min(ratings):g} to {max(ratings):g}"
    neither = sum(count for rating, count in ratings.items() if scale.liked(rating) is None)
    for name, count in (
        ("liked", report.feedback["liked"]),
        ("disliked", report.feedback["disliked"]),
        ("neither liked nor disliked", neither),
    ):
        if count == rated and (name != "liked" or (rated >= MIN_LIKED and len(ratings) > 1)):
            yield f"every rated event counts as {name}: {span}; {bounds}"


def _attribute_warnings(batch: ImportBatch, domain: Domain) -> Iterator[str]:
    for name, column in domain.attribute_columns:
        values = [value for item in batch.items for value in item.attributes.get(name, ())]
        yield from _value_warnings(name, column, values)


def _value_warnings(name: str, column: Column, values: Sequence[str]) -> Iterator[str]:
    lists = [value for value in values if _LIST.fullmatch(value) or value.startswith(("['", '["'))]
    if lists:
        yield (
            f"{len(lists):,} values of {name} are lists written as text, such as {quote(lists[0])}: "
            'write them as A|B and set separator = "|", or as lists in a JSONL or Parquet file'
        )
        return
    for separator in _SEVERAL:
        several = [value for value in values if separator in value]
        if column.separator != separator and 2 * len(several) > len(values):
            yield (
                f"{len(several):,} of {len(values):,} values of {name} hold '{separator}', such as "
                f'{quote(several[0])}: set separator = "{separator}" for this column if they are several'
            )


def _median_and_max(ids: pl.Series) -> dict[str, float]:
    counts = ids.value_counts()["count"].to_numpy()
    return {"median": float(np.median(counts)), "max": int(counts.max())}


def _iso(seconds: float) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).isoformat(
        timespec="seconds"
    )
