"""What candidates tell of themselves: which channels found them, and why."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from recsys.knowledge.relations import RelationGraph
from recsys.types import Candidate, Relatedness
from retrieval.arrays import RowArray
from retrieval.base import Query
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.fusion import FusedPool, Fusion, Selection
from retrieval.pool import PooledScores
from retrieval.query_channels import RetrieverState

ITEM_ITEM_CHANNELS = (
    "linear",
    "transitions",
    "cooccurrence",
    "ease",
)  # the first with scores tells `co_consumed`
MAX_CO_CONSUMED = 3


@dataclass(frozen=True)
class CandidateFacts:
    """What the events say of items, beside their scores."""

    percentiles: Mapping[str, float]  # item id -> popularity
    cooccurrence_counts: CooccurrenceCounts | None  # `co_consumed` names only items that it confirms

    def candidates(
        self,
        selection: Selection,
        best: float,
        fused: FusedPool,
        fusion: Fusion,
        query: Query,
        state: RetrieverState,
    ) -> list[Candidate]:
        """Return the selected rows as candidates, `lead` relative to a best score."""
        depth = fusion.depth(len(selection.rows))
        ranks = {
            name: {row: rank for rank, row in enumerate(top.tolist(), start=1)}
            for name, top in fused.tops.items()
        }
        not_disliked = {entry.item.id for entry in query.history if entry.liked is not False}
        by_channel = fusion.by_channel
        item_item = next((name for name in ITEM_ITEM_CHANNELS if name in by_channel), "")
        candidates = []
        for row, score, source, contributions, strengths in zip(
            selection.rows.tolist(),
            selection.scores.tolist(),
            selection.sources,
            _contributions(by_channel.get("text"), selection.rows),
            _contributions(by_channel.get(item_item), selection.rows),
            strict=True,
        ):
            item = state.table.items[row]
            found_by = {name: rank_of[row] for name, rank_of in ranks.items() if row in rank_of}
            candidates.append(
                Candidate(
                    item=item,
                    score=score,
                    source=source,
                    channels={source: depth + 1} | found_by,
                    contributions=contributions,
                    co_consumed=self._co_consumed(strengths, item.id),
                    related=_related(state.relations, item.id, not_disliked),
                    popularity=self.percentiles.get(item.id),
                    lead=score - best if np.isfinite(best) else None,  # nothing else is allowed
                )
            )
        return candidates

    def _co_consumed(self, strengths: Mapping[str, float], item_id: str) -> dict[str, float]:
        """Return the largest positive shares that co-occurrence counts confirm."""
        positive = {other: share for other, share in strengths.items() if share > 0}
        total = math.fsum(positive.values())
        strongest = sorted(positive, key=lambda other: (-positive[other], other))
        counts = self.cooccurrence_counts
        confirmed = (other for other in strongest if counts is None or counts.co_consumed(other, item_id))
        return {other: positive[other] / total for other in itertools.islice(confirmed, MAX_CO_CONSUMED)}


def _related(relations: RelationGraph, item_id: str, past: Collection[str]) -> tuple[Relatedness, ...]:
    """Return how an item is related to these others."""
    return tuple(
        Relatedness(item_id=link.item_id, relation=link.relation, forward=link.forward, value=link.value)
        for link in relations.links(item_id)
        if link.item_id in past
    )


def _contributions(pooled: PooledScores | None, rows: RowArray) -> list[dict[str, float]]:
    return pooled.scores.contributions(rows) if pooled else [{} for _ in rows]
