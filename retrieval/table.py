"""The items that can be found, as rows, and which of them a request allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from recsys.types import Filter, Item
from recsys.utils.bounded import make_room
from retrieval.arrays import BoolArray, RowArray
from retrieval.text_index.rows import check_unique

_Derived = TypeVar("_Derived")

MAX_MASKS = 256
"""Conditions whose rows a table keeps, those used last."""

FEW_KINDS = 64
"""Kinds of items that any condition may be asked about at once, to find its rows."""

MANY_KINDS = 2048
"""The same, of a condition that is worth it."""

AT_ONCE = 100
"""So many of them a request asks about that does not need all."""


class Condition(Protocol):
    """Decides about items by what it reads of them."""

    @property
    def key(self) -> Hashable:
        """What its decisions depend on, beside the items."""
        ...

    @property
    def reads(self) -> Hashable:
        """Names what it reads; conditions that read the same have equal ones."""
        ...

    @property
    def made_once(self) -> bool:
        """Whether it decides alike in all requests."""
        ...

    def read(self, item: Item) -> Hashable:
        """Return what it reads of an item; of equal ones it decides alike."""
        ...

    def passes(self, item: Item) -> bool:
        """Return whether an item may be found."""
        ...


class _Kinds(NamedTuple):
    """The items of a table by what a condition reads of them."""

    kind_of: RowArray  # (rows,)
    examples: list[Item]  # one of each kind
    numbers: dict[Hashable, int]  # what is read -> kind


class ItemRows:
    """Items by row: the initial ones by id, then others as they were added.

    A table is immutable: a change returns another table. The row of a deleted item stays and is
    never allowed; an item that is changed moves to a new row.

    Raises:
        RequestError: Two items have one id.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        ordered = sorted(items, key=lambda item: item.id)
        check_unique(ordered)
        self.items: Sequence[Item] = ordered
        self.row_of = {item.id: row for row, item in enumerate(ordered)}
        self.available: BoolArray = np.ones(len(ordered), dtype=bool)
        self._kinds: dict[Hashable, _Kinds] = {}
        self._reset_caches()

    def __len__(self) -> int:
        """Count the rows, those of deleted items included."""
        return len(self.items)

    def with_availability(self, item_ids: Iterable[str], available: bool) -> ItemRows:
        """Return a table where these items are available or not; unknown ids are ignored."""
        table = copy.copy(self)
        table.available = self.available.copy()
        table.available[self._mask_of(item_ids)] = available
        return table

    def with_changes(self, items: Sequence[Item] = (), *, removed: Collection[str] = ()) -> ItemRows:
        """Return a table with `items` added or replaced, and `removed` ids deleted."""
        table = copy.copy(self)
        table.row_of = dict(self.row_of)
        dead = [
            table.row_of.pop(item_id)
            for item_id in {*removed, *(item.id for item in items)}
            if item_id in self.row_of
        ]
        added = list({item.id: item for item in items}.values())
        table.items = [*self.items, *added]
        table.row_of |= {item.id: row for row, item in enumerate(added, start=len(self.items))}
        table.available = np.concatenate([self.available, np.ones(len(added), dtype=bool)])
        table.available[dead] = False
        table._kinds = dict(self._kinds)
        table._reset_caches()
        return table

    def changes_since(self, items: Sequence[Item]) -> tuple[list[Item], list[str]]:
        """Return items that are new or unlike those in `items`, and deleted ids."""
        before = {item.id: item for item in items}
        now = ((item_id, self.items[row]) for item_id, row in self.row_of.items())
        changed = [item for item_id, item in now if (old := before.get(item_id)) is not item and old != item]
        return changed, [item_id for item_id in before if item_id not in self.row_of]

    def positions_in(self, items: tuple[str, ...]) -> RowArray:
        """Return each row's position in `items`, -1 if it has none; cached per tuple."""
        if id(items) not in self._positions:
            positions = np.full(len(self), -1, dtype=np.int64)
            for position, item_id in enumerate(items):
                row = self.row_of.get(item_id)
                if row is not None:
                    positions[row] = position
            self._positions[id(items)] = (items, positions)  # held, so that its id() stays its own
        return self._positions[id(items)][1]

    def allowed(
        self, rule: Filter, exclude: Iterable[str] = (), conditions: Iterable[Condition] = ()
    ) -> BoolArray:
        """Return which rows pass the filter and the conditions and are available.

        Less `exclude`.
        """
        allowed = self.available.copy()
        for condition in conditions:
            allowed &= self.passing(condition)
        if rule.only is not None:
            allowed &= self._mask_of(rule.only)
        for attribute, values in rule.where.items():
            allowed &= self.having(attribute, values)
        for attribute, values in rule.without.items():
            allowed &= ~self.having(attribute, values)
        if rule.year_from is not None:
            allowed &= self._years >= rule.year_from
        if rule.year_to is not None:
            allowed &= self._years <= rule.year_to
        allowed &= ~self._mask_of({*rule.never, *exclude})
        return allowed

    def having(self, attribute: str, values: Iterable[str]) -> BoolArray:
        """Return which rows have any of the values of an attribute; case is ignored."""
        mask: BoolArray = np.zeros(len(self), dtype=bool)
        for value in values:
            key = (attribute.casefold(), value.casefold())
            if key not in self._having:
                self._having[key] = self._scan(*key)
            mask |= self._having[key]
        return mask

    def passing(self, condition: Condition) -> BoolArray:
        """Return which rows pass a condition, which is asked about one item of each kind."""
        known = self._passing.pop(condition.key, None)
        if known is None:
            kinds = self._kinds_of(condition)
            begun = self._begun.pop(condition.key, [])
            decided = [*begun, *(condition.passes(item) for item in kinds.examples[len(begun) :])]
            known = np.array(decided, dtype=bool)[kinds.kind_of]
            make_room(self._passing, MAX_MASKS)
        self._passing[condition.key] = known  # the latest used comes last
        return known

    def affordable(self, conditions: Iterable[Condition], *, dear: bool = False) -> tuple[Condition, ...]:
        """Return the conditions whose rows are known, or cost little to find.

        Those that ask about many kinds of items are left out when they are first met, for most may never
        come again, such as a price below what a person has; not if `dear` ones are wanted as well. When
        one comes again, some of its kinds are asked about, until a later request has its rows.
        """
        found, left = [], AT_ONCE
        for one in conditions:
            known = one.made_once or one.key in self._passing
            examples = [] if known else self._kinds_of(one).examples
            if FEW_KINDS < len(examples) <= MANY_KINDS and not dear:
                begun = self._begun.pop(one.key, None)
                more = [] if begun is None else examples[len(begun) :][:left]
                left -= len(more)
                decided = [*(begun or []), *(one.passes(item) for item in more)]
                make_room(self._begun, MAX_MASKS)
                self._begun[one.key] = decided
                examples = examples[len(decided) :]
            if len(examples) <= (MANY_KINDS if dear else FEW_KINDS):
                found.append(one)
        return tuple(found)

    def _kinds_of(self, condition: Condition) -> _Kinds:
        """Return the kinds of items; a row is read once, for it keeps its item."""
        known = self._kinds.get(condition.reads) or _Kinds(np.zeros(0, dtype=np.int64), [], {})
        begin = len(known.kind_of)
        if begin < len(self):
            examples, numbers = list(known.examples), dict(known.numbers)
            new = []
            for item in self.items[begin:]:
                kind = numbers.setdefault(condition.read(item), len(examples))
                if kind == len(examples):
                    examples.append(item)
                new.append(kind)
            known = _Kinds(np.concatenate([known.kind_of, np.array(new, dtype=np.int64)]), examples, numbers)
            self._kinds[condition.reads] = known
        return known

    def derived(self, compute: Callable[[ItemRows], _Derived]) -> _Derived:
        """Return `compute(self)`, computed once."""
        if compute not in self._derived:
            self._derived[compute] = compute(self)
        value: _Derived = self._derived[compute]
        return value

    def _scan(self, attribute: str, value: str) -> BoolArray:
        return np.array(
            [
                any(
                    name.casefold() == attribute and value in (other.casefold() for other in values)
                    for name, values in item.attributes.items()
                )
                for item in self.items
            ],
            dtype=bool,
        )

    def _mask_of(self, ids: Iterable[str]) -> BoolArray:
        mask: BoolArray = np.zeros(len(self), dtype=bool)
        mask[[self.row_of[item_id] for item_id in ids if item_id in self.row_of]] = True
        return mask

    def _reset_caches(self) -> None:
        """Drop all that was computed from the rows."""
        self._passing: dict[Hashable, BoolArray] = {}
        self._begun: dict[Hashable, list[bool]] = {}  # of dear conditions, about their first kinds
        self._derived: dict[Callable[[ItemRows], Any], Any] = {}
        self._having: dict[tuple[str, str], BoolArray] = {}
        self._positions: dict[int, tuple[tuple[str, ...], RowArray]] = {}
        # An item of unknown year is outside of every range: comparisons with NaN are false.
        self._years = np.array(
            [item.year if item.year is not None else np.nan for item in self.items], dtype=float
        )
