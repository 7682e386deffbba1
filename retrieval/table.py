"""The items that can be found, as rows, and which of them a request allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recsys.types import Filter, Item
from retrieval.text_index.rows import check_unique

BoolArray = npt.NDArray[np.bool_]
ColumnArray = npt.NDArray[np.int64]
_Derived = TypeVar("_Derived")


class ItemRows:
    """Items by row: first those there at the start, by id, then others as they came.

    A table never changes, so whoever holds one sees a consistent catalogue: changes
    give another table. The row of a deleted item stays, dead, and is never allowed;
    an item that is changed moves to a new row.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        """Raises RequestError if two items have one id."""
        ordered = sorted(items, key=lambda item: item.id)
        check_unique(ordered)
        self.items: Sequence[Item] = ordered
        self.row_of = {item.id: row for row, item in enumerate(ordered)}
        self.available: BoolArray = np.ones(len(ordered), dtype=bool)
        self._forget()

    def __len__(self) -> int:
        """Rows, those of deleted items included."""
        return len(self.items)

    def with_availability(self, item_ids: Iterable[str], available: bool) -> ItemRows:
        """Another table where these items may, or may not, be recommended; unknown ids are left out."""
        table = copy.copy(self)
        table.available = self.available.copy()
        table.available[self._rows(item_ids)] = available
        return table

    def changed(self, items: Sequence[Item] = (), *, removed: Collection[str] = ()) -> ItemRows:
        """Another table with `items` added or replaced, and `removed` ids gone."""
        table = copy.copy(self)
        table.row_of = dict(self.row_of)
        dead = [
            table.row_of.pop(one) for one in {*removed, *(item.id for item in items)} if one in self.row_of
        ]
        fresh = list({item.id: item for item in items}.values())
        table.items = [*self.items, *fresh]
        table.row_of |= {item.id: row for row, item in enumerate(fresh, start=len(self.items))}
        table.available = np.concatenate([self.available, np.ones(len(fresh), dtype=bool)])
        table.available[dead] = False
        table._forget()
        return table

    def columns(self, items: tuple[str, ...]) -> ColumnArray:
        """For each row its position in `items`, -1 where it is none of them; kept per tuple."""
        if id(items) not in self._columns:
            columns = np.full(len(self), -1, dtype=np.int64)
            for column, item_id in enumerate(items):
                row = self.row_of.get(item_id)
                if row is not None:
                    columns[row] = column
            self._columns[id(items)] = (items, columns)  # held: its id() stays its own
        return self._columns[id(items)][1]

    def allowed(self, rule: Filter, exclude: Iterable[str] = ()) -> BoolArray:
        """Which rows a request may return, shape (rows,): the filter, less `exclude`, dead and unavailable."""
        allowed = self.available.copy()
        if rule.only is not None:
            allowed &= self._rows(rule.only)
        for attribute, values in rule.where.items():
            allowed &= self.having(attribute, values)
        for attribute, values in rule.without.items():
            allowed &= ~self.having(attribute, values)
        if rule.year_from is not None:
            allowed &= self._years >= rule.year_from
        if rule.year_to is not None:
            allowed &= self._years <= rule.year_to
        allowed &= ~self._rows({*rule.never, *exclude})
        return allowed

    def having(self, attribute: str, values: Iterable[str]) -> BoolArray:
        """Rows whose attribute has any of the values; case does not matter."""
        mask: BoolArray = np.zeros(len(self), dtype=bool)
        for value in values:
            key = (attribute.casefold(), value.casefold())
            if key not in self._having:
                self._having[key] = self._scan(*key)
            mask |= self._having[key]
        return mask

    def derived(self, make: Callable[[ItemRows], _Derived]) -> _Derived:
        """What `make` gives for these items; it is asked once."""
        if make not in self._derived:
            self._derived[make] = make(self)
        found: _Derived = self._derived[make]
        return found

    def _scan(self, attribute: str, value: str) -> BoolArray:
        return np.array(
            [
                any(
                    name.casefold() == attribute and value in (one.casefold() for one in values)
                    for name, values in item.attributes.items()
                )
                for item in self.items
            ],
            dtype=bool,
        )

    def _rows(self, ids: Iterable[str]) -> BoolArray:
        mask: BoolArray = np.zeros(len(self), dtype=bool)
        mask[[self.row_of[item_id] for item_id in ids if item_id in self.row_of]] = True
        return mask

    def _forget(self) -> None:
        """Drop what was derived from the rows: masks, years, alignments, what others made of them."""
        self._derived: dict[Callable[[ItemRows], Any], Any] = {}
        self._having: dict[tuple[str, str], BoolArray] = {}
        self._columns: dict[int, tuple[tuple[str, ...], ColumnArray]] = {}
        # An item of unknown year is outside of every range: comparisons with NaN are false.
        self._years = np.array(
            [item.year if item.year is not None else np.nan for item in self.items], dtype=float
        )
