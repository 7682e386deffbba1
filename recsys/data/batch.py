"""What an import reads, counts and changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recsys.knowledge.relations import Edge
from recsys.knowledge.sources import SourceReport
from recsys.types import Interaction, Item, Place, User

Progress = Callable[[str, int, int], None]
"""Called with (stage, rows done, rows in all)."""

ResolvePlace = Callable[[str], Place | None]
"""Finds "55405" or "Minneapolis, MN"; returns None or raises ContextError if there is no such place."""

LEFT_OUT = "report.json"
"""A file beside tables that were made of others: how many rows were left out, by reason."""


@dataclass(slots=True)
class ImportReport:
    """How many rows were read, and how many of them are odd."""

    rows: Counter[str] = field(default_factory=Counter)  # per table: "items", "users", "interactions"
    duplicates: Counter[str] = field(default_factory=Counter)  # repeated rows, per table
    missing: Counter[str] = field(default_factory=Counter)  # empty, or invalid where allowed, per field
    left_out: Counter[str] = field(default_factory=Counter)  # by the preparation of the files, per reason
    years_from_titles: int = 0  # items whose year was read from "Title (1995)"
    replaced: int = 0  # events that came again with another rating or context; the last one holds
    tied_timestamps: int = 0  # events with user and time of another; they keep the order of the file
    skipped: Counter[str] = field(default_factory=Counter)  # events of unknown "items" and "users"
    skipped_ids: dict[str, list[str]] = field(default_factory=dict)  # some of those ids
    time_span: tuple[str, str] | None = None  # of the events, in ISO 8601
    events_per: dict[str, dict[str, float]] = field(default_factory=dict)  # "user", "item": median and max
    edges: Counter[str] = field(default_factory=Counter)  # per relation that has a file
    feedback: Counter[str] = field(default_factory=Counter)  # events that count as liked, disliked, neither
    warnings: list[str] = field(default_factory=list)  # what looks wrong, and what to do
    sources: SourceReport | None = None  # what further sources gave


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """Validated rows of one domain: ids are unique, and every reference exists."""

    items: tuple[Item, ...] = ()
    users: tuple[User, ...] = ()
    interactions: Sequence[Interaction] = ()
    report: ImportReport = field(default_factory=ImportReport)
    edges: Sequence[Edge] | None = None  # of all relations; None leaves the stored ones as they are


@dataclass(frozen=True, slots=True)
class Changes:
    """How many rows of one table an import added, updated, left unchanged and removed."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0  # of relations alone: their files are complete


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import changed in each table."""

    items: Changes
    users: Changes
    interactions: Changes
    data_hash: str  # of the domain's data after the import
    relations: Changes = Changes()


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What a change of single items did."""

    items: Changes
    removed: int
    before: str  # hash of the domain's data before the change
    after: str  # the same after it


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What an import read, and what it changed in the store."""

    report: ImportReport
    result: ImportResult
