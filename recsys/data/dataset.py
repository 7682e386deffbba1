"""The events of a domain as arrays, which is how models read them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recsys.config import Feedback
from recsys.data.event_columns import EventColumns
from recsys.types import HistoryEntry, Interaction

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

LIKED, UNKNOWN, DISLIKED = 1, 0, -1


@dataclass(frozen=True)
class EventLog:
    """Events grouped by user, each user's in time order.

    Shapes: n events, u users, i items.
    """

    items: tuple[str, ...]  # (i,) ids, also of items without interactions; an index here is a "row"
    users: tuple[str, ...]  # (u,) ids
    start: npt.NDArray[np.int64]  # (u + 1,): user r has the events start[r]:start[r + 1]
    item: IntArray  # (n,) row of the item
    time: DoubleArray  # (n,) seconds since 1970, NaN if unknown
    preference: npt.NDArray[np.int8]  # (n,) LIKED, UNKNOWN or DISLIKED

    @classmethod
    def of(
        cls, events: Iterable[Interaction], items: Iterable[str], feedback: Feedback | None = None
    ) -> EventLog:
        """Build the log of time-ordered `events`; drop those of items not in `items`."""
        import polars as pl

        ids = tuple(sorted(set(items)))
        rows = EventColumns.of(events).frame.with_columns(
            item=pl.col("item_id").cast(pl.Enum(ids), strict=False).to_physical().cast(pl.Int32)
        )
        rows = rows.filter(pl.col("item").is_not_null()).sort("user_id", maintain_order=True)
        users = rows["user_id"].rle().struct.unnest()
        liked = (feedback or Feedback()).liked
        ratings = rows["rating"].unique()
        preferences = [_preference(liked(rating)) for rating in ratings]
        return cls(
            items=ids,
            users=tuple(users["value"]),
            start=np.cumsum([0, *users["len"]], dtype=np.int64),
            item=rows["item"].to_numpy(),
            time=rows["timestamp"].fill_null(np.nan).to_numpy(),
            preference=rows["rating"].replace_strict(ratings, preferences, return_dtype=pl.Int8).to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.item)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Item id -> row."""
        return {item_id: row for row, item_id in enumerate(self.items)}

    @cached_property
    def user(self) -> IntArray:
        """The index in `users` of each event, shape (n,)."""
        return np.repeat(np.arange(len(self.users), dtype=np.int32), np.diff(self.start))

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Events per item, shape (i,)."""
        return np.bincount(self.item, minlength=len(self.items)).astype(np.int64)

    @cached_property
    def hash(self) -> str:
        """SHA-256, in hex, of all arrays and ids: identifies the data of a fitted model."""
        digest = hashlib.sha256("\0".join((*self.items, "", *self.users)).encode("utf-8", "surrogatepass"))
        for array in (self.start, self.item, self.time, self.preference):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def sequences(self) -> list[IntArray]:
        """Return the item rows of each user, oldest first."""
        return np.split(self.item, self.start[1:-1]) if self.users else []

    def rows(self, history: Sequence[HistoryEntry]) -> IntArray:
        """Return the item rows of a history, without entries of unknown items."""
        known = (self.row_of.get(entry.item.id) for entry in history)
        return np.array([row for row in known if row is not None], dtype=np.int32)


def _preference(liked: bool | None) -> int:
    return UNKNOWN if liked is None else LIKED if liked else DISLIKED
