"""How a model ranks lists whose right answer is known: all that training asks of its validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.packing import Packed
from retrieval.fusion_weights import rank_of

LogOdds = Callable[[Packed], list[float]]
"""Scores the candidates of a packed prompt, in nats."""


@dataclass(frozen=True)
class ValidationList:
    """Cases of one kind, ready to be scored: prompts, right answers, the retriever's scores.

    `users` are whose cases they are, `retriever` is the NDCG@10 of the retriever's own order,
    `prior` the weight of its scores beside the log-odds wherever the list is ordered.
    """

    name: str
    packed: tuple[Packed, ...]
    targets: tuple[int, ...]
    users: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    retriever: float
    prior: float = 0.0

    def ndcgs(self, odds: Sequence[Sequence[float]]) -> list[float]:
        """NDCG@10 of each case, given the log-odds of its candidates."""
        return [
            ndcg([one + self.prior * score for one, score in zip(row, scores, strict=True)], target)
            for row, scores, target in zip(odds, self.scores, self.targets, strict=True)
        ]


def figures(lists: Sequence[ValidationList], log_odds: LogOdds) -> Mapping[str, float]:
    """NDCG@10 of each list, and their mean as "score"."""
    found = {f"ndcg@10 {one.name}": mean_of(one.ndcgs([log_odds(p) for p in one.packed])) for one in lists}
    return found | {"score": mean_of(list(found.values()))}


def ndcg(scores: Sequence[float], target: int) -> float:
    """NDCG@10 where one item is relevant; ties shared, and nothing for scores that are not numbers."""
    if np.isnan(scores).any():
        return 0.0
    rank = rank_of(scores, target)
    return 1 / math.log2(1 + rank) if rank <= 10 else 0.0


def mean_of(values: Sequence[float]) -> float:
    return round(math.fsum(values) / len(values), 4) if values else 0.0
