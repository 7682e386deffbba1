"""Further sources of what items are: rows joined to items, and what came of it.

No row is guessed. Ids and aliases decide; else a title in common and a year near enough do, and where
several rows have both, the only one of the very year. What is left is listed as ambiguous.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from recsys.knowledge.titles import title_keys
from recsys.types import Item, StrictModel

LISTED = 1_000  # items of each list of a report
EXAMPLES = 5  # of conflicts

How = Literal["alias", "id", "title"]


class ItemName(StrictModel):
    """An item in a report."""

    id: str
    name: str


class AmbiguousItem(ItemName):
    """An item that several rows may be about, or whose row is another's too."""

    candidates: tuple[str, ...] = Field(description='"Hamlet (1996), id 1234"')


class Conflict(ItemName):
    """Values of two sources that differ; the first source's are kept."""

    kept: tuple[str, ...]
    kept_from: str
    other: tuple[str, ...]


class AttributeCoverage(StrictModel):
    """What one source gave of one attribute."""

    attribute: str
    source: str = Field(description='"items" is the item table')
    items: int = Field(description="how many have a value, and have it from this source")
    agreed: int = Field(0, description="items that had the same values already")
    conflicts: int = Field(0, description="items that had others already, which are kept")
    examples: tuple[Conflict, ...] = ()


class SourceCoverage(StrictModel):
    """How the rows of one source were joined."""

    source: str
    rows: int
    matched: Mapping[How, int] = Field(description="items, by what decided")
    ambiguous: tuple[AmbiguousItem, ...] = Field((), description=f"at most {LISTED}")
    unmatched: tuple[ItemName, ...] = Field((), description=f"at most {LISTED}")
    n_ambiguous: int = 0
    n_unmatched: int = 0

    @property
    def summary(self) -> str:
        """What became of its rows: "1,389 by title, 47 by alias; 2 ambiguous ..."."""
        matched = ", ".join(f"{count:,} by {how}" for how, count in self.matched.items()) or "none"
        return (
            f"{self.rows:,} rows, joined: {matched}; "
            f"{self.n_ambiguous:,} ambiguous, {self.n_unmatched:,} without a row"
        )


class SourceReport(StrictModel):
    """What the sources of a domain know of its items."""

    items: int
    sources: tuple[SourceCoverage, ...]
    attributes: tuple[AttributeCoverage, ...]


@dataclass(frozen=True)
class SourceRows:
    """What the rows of one source are called, and how they are joined."""

    name: str
    rows: Sequence[Item]  # id, title and year as the source has them; ids are distinct
    attributes: tuple[str, ...]  # that it may give, in the order in which items get them
    by_title: bool = False  # by title and year; by id else
    year_within: int | None = None  # None: the rows have no year
    via: str = ""  # an earlier source: a row belongs to the item whose row there has the same id
    aliases: Mapping[str, str] = field(default_factory=dict)  # item id -> row id; "" for no row


@dataclass(frozen=True)
class JoinedSource:
    """Which row of a source belongs to which item."""

    source: SourceRows
    rows: Mapping[str, Item]  # item id -> its row
    how: Counter[How]
    unmatched: Collection[str]  # ids of items; of those that have a row in `via`, where that is set
    ambiguous: Mapping[str, Sequence[Item]] = field(default_factory=dict)  # item id -> its candidates


def join_sources(items: Sequence[Item], sources: Iterable[SourceRows]) -> list[JoinedSource]:
    """Find the row of each item in each source, in the order of the sources."""
    joined: dict[str, JoinedSource] = {}
    for source in sources:
        joined[source.name] = _join(items, source, joined)
    return list(joined.values())


def merge_sources(
    items: Sequence[Item],
    sources: Sequence[tuple[JoinedSource, Mapping[str, Item]]],
    attributes: Collection[str] = (),
) -> tuple[list[Item], SourceReport]:
    """Add the attributes of joined rows to items; the first source wins.

    Args:
        items: As their own table has them, of distinct ids.
        sources: Each with its joined rows by their id, now with attributes.
        attributes: Names of the own attributes, for the report.

    Returns:
        The items in their order, each knowing which source gave what, and the report.
    """
    values = {item.id: dict(item.attributes) for item in items}
    origin: dict[str, dict[str, str]] = {item.id: {} for item in items}
    coverage = [
        AttributeCoverage(
            attribute=name, source="items", items=sum(bool(item.attributes.get(name)) for item in items)
        )
        for name in attributes
    ]
    for joined, rows in sources:
        coverage += _merge(items, joined, rows, values, origin)
    with_sources = [
        item.model_copy(update={"attributes": values[item.id], "sources": origin[item.id]})
        if origin[item.id]
        else item
        for item in items
    ]
    parts = tuple(_source_coverage(items, joined) for joined, _ in sources)
    return with_sources, SourceReport(items=len(items), sources=parts, attributes=tuple(coverage))


def _join(items: Sequence[Item], source: SourceRows, earlier: Mapping[str, JoinedSource]) -> JoinedSource:
    row_of = {row.id: row for row in source.rows}
    if source.via:
        through = earlier[source.via].rows
        rows = {item_id: row_of[row.id] for item_id, row in through.items() if row.id in row_of}
        return JoinedSource(source, rows, Counter({"id": len(rows)}), through.keys() - rows.keys())
    aliased = {item_id: row_of[row_id] for item_id, row_id in source.aliases.items() if row_id}
    open_items = [item for item in items if item.id not in source.aliases]
    how: How = "title" if source.by_title else "id"
    if source.by_title:
        rows, ambiguous = _by_title(open_items, source, {row.id for row in aliased.values()})
    else:
        rows, ambiguous = {item.id: row_of[item.id] for item in open_items if item.id in row_of}, {}
    unmatched = {item.id for item in items} - rows.keys() - aliased.keys() - ambiguous.keys()
    counts: Counter[How] = Counter({"alias": len(aliased), how: len(rows)})
    return JoinedSource(source, rows | aliased, counts, unmatched, ambiguous)


def _by_title(
    items: Sequence[Item], source: SourceRows, taken: Collection[str]
) -> tuple[dict[str, Item], dict[str, Sequence[Item]]]:
    """Join by title and year.

    Args:
        items: Those without an alias.
        source: Whose rows are joined.
        taken: Ids of rows that an alias gave to an item.

    Returns:
        Item id -> row, and item id -> candidates of those that are ambiguous.
    """
    by_key: dict[str, list[Item]] = defaultdict(list)
    for row in source.rows:
        if row.id not in taken:
            for key in title_keys(row.title):
                by_key[key].append(row)
    rows: dict[str, Item] = {}
    ambiguous: dict[str, Sequence[Item]] = {}
    for item in items:
        candidates = _candidates(item, by_key, source.year_within)
        exact = [row for row in candidates if row.year == item.year]
        if len(candidates) == 1 or len(exact) == 1:
            rows[item.id] = (exact or candidates)[0]
        elif candidates:
            ambiguous[item.id] = candidates
    for shared in _contested(items, rows):
        ambiguous |= {item_id: [rows.pop(item_id)] for item_id in shared}
    return rows, ambiguous


def _candidates(item: Item, by_key: Mapping[str, Sequence[Item]], within: int | None) -> list[Item]:
    """Return the rows that have a title of the item, and a year near enough."""
    rows = {row.id: row for key in sorted(title_keys(item.title)) for row in by_key.get(key, ())}
    if within is None:
        return list(rows.values())
    return [
        row
        for row in rows.values()
        if item.year is not None and row.year is not None and abs(item.year - row.year) <= within
    ]


def _contested(items: Sequence[Item], rows: Mapping[str, Item]) -> list[list[str]]:
    """Return the items that lose a row to one of nearer title or year.

    Those keep it whose year is the row's, if they are all called the same.
    """
    claims: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.id in rows:
            claims[rows[item.id].id].append(item)
    lost = []
    for claimants in claims.values():
        names = {item.name for item in claimants}
        if len(names) > 1:
            exact = {item.name for item in claimants if item.year == rows[item.id].year}
            lost.append([item.id for item in claimants if len(exact) != 1 or item.name not in exact])
    return lost


def _merge(
    items: Sequence[Item],
    joined: JoinedSource,
    rows: Mapping[str, Item],
    values: dict[str, dict[str, tuple[str, ...]]],
    origin: dict[str, dict[str, str]],
) -> list[AttributeCoverage]:
    """Give items the values that they do not have; count what is there already."""
    coverage = []
    for name in joined.source.attributes:
        given = agreed = 0
        conflicts = []
        for item in items:
            row = joined.rows.get(item.id)
            if row is None or not (other := rows[row.id].attributes.get(name, ())):
                continue
            kept = values[item.id].get(name, ())
            if not kept:
                values[item.id][name] = other
                origin[item.id][name] = joined.source.name
                given += 1
            elif set(map(str.casefold, kept)) == set(map(str.casefold, other)):
                agreed += 1
            else:
                kept_from = origin[item.id].get(name, "items")
                conflicts.append(
                    Conflict(id=item.id, name=item.name, kept=kept, kept_from=kept_from, other=other)
                )
        coverage.append(
            AttributeCoverage(
                attribute=name,
                source=joined.source.name,
                items=given,
                agreed=agreed,
                conflicts=len(conflicts),
                examples=tuple(conflicts[:EXAMPLES]),
            )
        )
    return coverage


def _source_coverage(items: Sequence[Item], joined: JoinedSource) -> SourceCoverage:
    ambiguous = [item for item in items if item.id in joined.ambiguous]
    unmatched = [item for item in items if item.id in joined.unmatched]
    return SourceCoverage(
        source=joined.source.name,
        rows=len(joined.source.rows),
        matched={how: count for how, count in joined.how.items() if count},
        ambiguous=tuple(
            AmbiguousItem(
                id=item.id,
                name=item.name,
                candidates=tuple(f"{row.name}, id {row.id}" for row in joined.ambiguous[item.id]),
            )
            for item in ambiguous[:LISTED]
        ),
        unmatched=tuple(ItemName(id=item.id, name=item.name) for item in unmatched[:LISTED]),
        n_ambiguous=len(ambiguous),
        n_unmatched=len(unmatched),
    )
