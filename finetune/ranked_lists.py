"""Validation lists: packed lists whose right answer is known, and their NDCG@10."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.packing import PackedPrompt
from retrieval.fusion_weights import rank_of

LogOdds = Callable[[PackedPrompt], list[float]]
"""Scores the candidates of a packed prompt, in nats."""


@dataclass(frozen=True)
class ValidationList:
    """Cases of one kind, ready to be scored."""

    name: str
    packed: tuple[PackedPrompt, ...]
    targets: tuple[int, ...]  # index of the right candidate of each case
    users: tuple[str, ...]  # whose case it is
    scores: tuple[tuple[float, ...], ...]  # the retriever's, of each case's candidates
    retriever: float  # NDCG@10 of the retriever's own order
    prior: float = 0.0  # weight of the retriever's scores, added to the log-odds

    def ndcgs(self, log_odds: Sequence[Sequence[float]]) -> list[float]:
        """Compute NDCG@10 of each case, given the log-odds of its candidates."""
        return [
            ndcg([odds + self.prior * score for odds, score in zip(row, scores, strict=True)], target)
            for row, scores, target in zip(log_odds, self.scores, self.targets, strict=True)
        ]


def evaluate_lists(lists: Sequence[ValidationList], log_odds: LogOdds) -> Mapping[str, float]:
    """Compute NDCG@10 of each list, and their mean as "score"."""
    figures = {
        f"ndcg@10 {cases.name}": rounded_mean(cases.ndcgs([log_odds(prompt) for prompt in cases.packed]))
        for cases in lists
    }
    return figures | {"score": rounded_mean(list(figures.values()))}


def ndcg(scores: Sequence[float], target: int) -> float:
    """Compute NDCG@10 with one relevant item: ties share a rank, NaN gives 0."""
    if np.isnan(scores).any():
        return 0.0
    rank = rank_of(scores, target)
    return 1 / math.log2(1 + rank) if rank <= 10 else 0.0


def rounded_mean(values: Sequence[float]) -> float:
    """Return the mean to 4 digits, 0 of nothing."""
    return round(math.fsum(values) / len(values), 4) if values else 0.0
