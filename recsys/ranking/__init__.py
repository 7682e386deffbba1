"""Ranking strategies behind one `Ranker` protocol."""

from __future__ import annotations

from collections.abc import Callable

from recsys.ranking.base import Ranker, RankerParts, Ranking, RankRequest
from recsys.ranking.generated import GeneratedRanker, ScoredListRanker
from recsys.ranking.listwise import ListwiseRanker
from recsys.ranking.pointwise import PointwiseRanker
from recsys.ranking.title import TitleRanker

__all__ = ["STRATEGIES", "WEIGHTED", "RankRequest", "Ranker", "RankerParts", "Ranking", "make_ranker"]

STRATEGIES: dict[str, Callable[[RankerParts], Ranker]] = {
    "pointwise": PointwiseRanker,
    "listwise": ListwiseRanker,
    "title": TitleRanker,
    "generated": GeneratedRanker,
    "generated-scores": ScoredListRanker,
}

WEIGHTED = ("pointwise", "listwise", "title")
"""Strategies whose order is that of a weighted score; the others print an order of their own."""


def make_ranker(strategy: str, parts: RankerParts) -> Ranker:
    """Create the ranker of a strategy, a key of `STRATEGIES`."""
    return STRATEGIES[strategy](parts)
