"""The newest items first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.config.attributes import AttributeType
from recsys.config.retrieval import AgeConfig
from recsys.knowledge.typed_values import WrongValue, read_value
from recsys.types import Item
from retrieval.arrays import DoubleArray
from retrieval.base import DenseScores, Query, StaticChannel
from retrieval.table import ItemRows

SECONDS_A_DAY = 86_400
EPOCH = 719_163  # the day of 1 January 1970, as dates count days
SAME = 0.25  # days that make little difference


@dataclass(frozen=True)
class AgeChannel(StaticChannel):
    """Scores items by -log(days since their date + a quarter). Nothing is fitted."""

    config: AgeConfig
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score the items that have a date; None without the time of the request."""
        if query.context.time is None:
            return None
        now = EPOCH + query.context.time.timestamp() / SECONDS_A_DAY
        age = np.maximum(0.0, now - table.derived(_Dates(self.config.attribute)))
        return DenseScores(-np.log(age + SAME).astype(np.float32))


@dataclass(frozen=True)
class _Dates:
    """Reads the date of each item of a table: equal readers share what they read."""

    attribute: str

    def __call__(self, table: ItemRows) -> DoubleArray:
        """Return days, (rows,); NaN where an item has no date."""
        return np.array([self._day_of(item) for item in table.items], dtype=np.float64)

    def _day_of(self, item: Item) -> float:
        texts = item.attributes.get(self.attribute, ())
        try:
            day = read_value(texts[0], self.attribute, AttributeType(type="time")).first if texts else None
        except WrongValue:
            day = None
        return float("nan") if day is None else day
