"""What an import hands over, and what it counts on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from recsys.types import Interaction, Item, Place, User

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, rows done, rows in all)."""

ResolvePlace = Callable[[str], Place | None]
"""Turns "55405" or "Minneapolis, MN" into a place; None or ContextError if there is none."""


@dataclass(slots=True)
class ImportReport:
    """Rows that were read, and the odd ones among them.

    `rows` and `duplicates` count per table ("items", "users", "interactions"), `missing`
    per field (year, home, rating, timestamp) the values that are empty or, where the domain
    allows it, unreadable. `replaced` events came again with another rating or context: the
    last one holds. `tied_timestamps` events share user and time with another; their order
    is that of the file.
    """

    rows: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    years_from_titles: int = 0
    replaced: int = 0
    tied_timestamps: int = 0


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """Validated rows of one domain: ids are unique, and interactions only name what is here."""

    items: tuple[Item, ...] = ()
    users: tuple[User, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    report: ImportReport = field(default_factory=ImportReport)


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of one table that an import added, updated, and found as they were."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did to each table, and the hash of the domain's data after it."""

    items: Changes
    users: Changes
    interactions: Changes
    data_hash: str


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What a change of items did, and the hash of the domain's data before and after it."""

    items: Changes
    removed: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What was read, and what that changed in the store."""

    report: ImportReport
    result: ImportResult
