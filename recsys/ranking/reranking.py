"""Reranking: long tail, diversity and the rules in force."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.config.ranking import RankerConfig
from recsys.knowledge.reordering import RerankedList, apply_rules
from recsys.knowledge.rules import Gate
from recsys.knowledge.typed_values import with_attributes
from recsys.ranking.base import softmax
from recsys.types import Candidate, Item

Floats = npt.NDArray[np.float64]


def rerank(
    candidates: Sequence[Candidate],
    order: Sequence[int],
    scores: Sequence[float] | None,
    config: RankerConfig,
    gate: Gate | None = None,
    k: int | None = None,
) -> RerankedList:
    """Apply the long-tail boost, then diversity, then the rules.

    Args:
        candidates: In the order of the request.
        order: The ranker's order, positions best first.
        scores: The ranker's scores; None: only the retriever ranked, and its scores are used.
        config: Strengths.
        gate: The rules in force.
        k: As in `apply_rules`.
    """
    if not order:
        return RerankedList([], {})
    relevance = softmax([candidate.score for candidate in candidates]) if scores is None else scores
    positions = list(order)
    if config.long_tail:
        relevance = boost_long_tail(candidates, relevance, config.long_tail)
        positions.sort(key=lambda position: -relevance[position])
    if config.diversity:
        similarity = attribute_similarity(
            [with_attributes(candidate.item, config.attributes) for candidate in candidates]
        )
        positions = diversify(positions, relevance, similarity, config.diversity)
    return apply_rules(gate, candidates, positions, relevance, k) if gate else RerankedList(positions, {})


def boost_long_tail(
    candidates: Sequence[Candidate], scores: Sequence[float], strength: float
) -> tuple[float, ...]:
    """Add `strength` nats times the share of more popular items to every score."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(scores, dtype=np.float64))
    rare = [1.0 - (candidate.popularity or 0.0) for candidate in candidates]
    return softmax([float(log) + strength * share for log, share in zip(logs, rare, strict=True)])


def diversify(order: Sequence[int], scores: Sequence[float], similarity: Floats, weight: float) -> list[int]:
    """Order by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each rank goes to the candidate with the largest (1 - weight) * score - weight * highest similarity
    to a candidate above. Scores are divided by the best one, to be on the scale of similarities. Ties
    keep the order.

    Args:
        order: Positions best first.
        scores: One per candidate, shape (n,).
        similarity: From 0 to 1, shape (n, n).
        weight: Of being different, from 0 to 1.
    """
    remaining = np.array(order, dtype=np.int64)
    relevance = np.asarray(scores, dtype=np.float64) / (max(scores, default=0.0) or 1.0)
    nearest = np.zeros(len(relevance))
    diverse: list[int] = []
    while len(remaining):
        gain = (1 - weight) * relevance[remaining] - weight * nearest[remaining]
        best = int(remaining[np.argmax(gain)])
        diverse.append(best)
        remaining = remaining[remaining != best]
        nearest = np.maximum(nearest, similarity[best])
    return diverse


def attribute_similarity(items: Sequence[Item]) -> Floats:
    """Return the Jaccard similarity of the items' attribute values, shape (n, n).

    Items without attributes have similarity 0 to all.
    """
    values = [
        {(name, value.casefold()) for name, held in item.attributes.items() for value in held}
        for item in items
    ]
    column = {value: number for number, value in enumerate(sorted(set().union(*values)))}
    held = np.zeros((len(items), max(1, len(column))))
    for row, item_values in enumerate(values):
        held[row, [column[value] for value in item_values]] = 1
    both = held @ held.T
    sizes = held.sum(axis=1)
    either = sizes[:, None] + sizes[None, :] - both
    similarity: Floats = both / np.maximum(either, 1)
    return similarity
