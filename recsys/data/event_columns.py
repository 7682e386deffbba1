"""Events as columns, which imports write, the store reads and models count."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import TYPE_CHECKING, Any, overload

from recsys.types import Interaction

if TYPE_CHECKING:
    import polars as pl

KEY = ("user_id", "item_id", "timestamp")  # equal for two rows of one event
COLUMNS = (*KEY, "rating", "context")


class EventColumns(Sequence[Interaction]):
    """A sequence of events that are made one by one while it is read.

    Args:
        frame: "user_id" and "item_id" as text; "rating" and "timestamp" (seconds since 1970, UTC) as 64-bit
            numbers, null if unknown; "context" as JSON text, null without facts. Other columns are dropped.

    Raises:
        ValueError: A context is not a JSON object of texts.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame.select(COLUMNS)
        self._contexts = {text: _facts(text) for text in self.frame["context"].drop_nulls().unique()}

    @classmethod
    def of(cls, events: Iterable[Interaction]) -> EventColumns:
        """Return events as columns."""
        import polars as pl

        if isinstance(events, EventColumns):
            return events
        rows = [
            (event.user_id, event.item_id, event.timestamp, event.rating, context_text(event.context))
            for event in events
        ]
        kinds = (pl.String(), pl.String(), pl.Float64(), pl.Float64(), pl.String())
        return cls(pl.DataFrame(rows, schema=dict(zip(COLUMNS, kinds, strict=True)), orient="row"))

    def __len__(self) -> int:
        return len(self.frame)

    def __iter__(self) -> Iterator[Interaction]:
        return map(self._event, self.frame.iter_rows())

    @overload
    def __getitem__(self, index: int) -> Interaction: ...

    @overload
    def __getitem__(self, index: slice) -> EventColumns: ...

    def __getitem__(self, index: int | slice) -> Interaction | EventColumns:
        if isinstance(index, slice):
            return EventColumns(self.frame[index])
        return self._event(self.frame.row(range(len(self))[index]))  # raises IndexError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"EventColumns({len(self):,} events)"

    def _event(self, row: tuple[Any, ...]) -> Interaction:
        user_id, item_id, timestamp, rating, context = row
        return Interaction(
            user_id=user_id,
            item_id=item_id,
            rating=rating,
            timestamp=timestamp,
            context=self._contexts[context] if context else {},
        )


def context_text(facts: Mapping[str, str]) -> str | None:
    """Return facts as the JSON that is stored; None without any."""
    return json.dumps(dict(facts), ensure_ascii=False) if facts else None


def _facts(text: str) -> dict[str, str]:
    facts = json.loads(text)
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError(f"expected a JSON object of texts, found {text[:60]!r}")
    return facts
