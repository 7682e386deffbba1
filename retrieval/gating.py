"""What a gate refuses is excluded before the channels are asked again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from retrieval.arrays import RowArray
from retrieval.base import Gate, Query
from retrieval.fusion import FusedPool, Fusion
from retrieval.table import Condition, ItemRows

FURTHER = 4  # so many times as many items are looked at where a gate leaves too few
MANY = 64  # times as many, from which on costly masks are worth it


def without_refused(
    query: Query,
    n: int,
    gate: Gate,
    table: ItemRows,
    fusion: Fusion,
    fused: FusedPool,
) -> Query:
    """Exclude what a gate refuses, from the best of a pool down until `n` are left.

    Where the pool has too few, the gate is asked about ever more items, and its costly masks bound them. Some
    more than `n` are asked about, for what is excluded changes the scores of the others.

    Args:
        query: What the pool is of.
        n: How many items are wanted.
        gate: Asked about each item.
        table: The items.
        fusion: The channels' scores of the query.
        fused: Its pool.
    """
    looked_at, allowed = FURTHER * n, query.allowed(table)
    rows = fused.best(len(fused.pool.rows)).rows[:looked_at]
    while True:
        refused, left = _refused(rows, n, gate, table)
        query = narrowed(query, refused)
        if left >= n or len(rows) == allowed.sum():
            return query
        looked_at *= FURTHER
        masks = table.affordable(gate.masks, dear=True) if looked_at > MANY * n else ()
        query = narrowed(query, (), masks)
        allowed = query.allowed(table)
        rows = fusion.best(allowed, min(looked_at, int(allowed.sum())))[0].rows


def _refused(rows: RowArray, n: int, gate: Gate, table: ItemRows) -> tuple[list[str], int]:
    """Return what is refused before `n` are left, and how many are left."""
    refused: list[str] = []
    left = 0
    for row in rows.tolist():
        if left == n + n // 2:
            break
        item = table.items[row]
        if gate.allows(item):
            left += 1
        else:
            refused.append(item.id)
    return refused, left


def narrowed(query: Query, item_ids: Collection[str], masks: Collection[Condition] = ()) -> Query:
    """Return the query without these items, and with only what passes the masks."""
    conditions = tuple(dict.fromkeys((*query.conditions, *masks)))
    return dataclasses.replace(query, exclude=query.exclude.union(item_ids), conditions=conditions)
