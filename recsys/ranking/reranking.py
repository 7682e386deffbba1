"""From the ranker's scores to the order that is shown: long tail, diversity, and the domain's rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.config import Domain
from recsys.knowledge.rules import RerankedList, apply_rules
from recsys.ranking.base import softmax
from recsys.types import Candidate, Item

Floats = npt.NDArray[np.float64]


def rerank(
    candidates: Sequence[Candidate], order: Sequence[int], scores: Sequence[float] | None, domain: Domain
) -> RerankedList:
    """The order that is shown, out of the ranker's `order` (positions best first) and its scores.

    The long tail is lifted first, then the list is made diverse, and the domain's rules come
    last. Scores None: nothing but the retriever ranked, and its scores count instead.
    """
    if not order:
        return RerankedList([], {})
    config = domain.ranker
    probable = softmax([candidate.score for candidate in candidates]) if scores is None else scores
    found = list(order)
    if config.long_tail:
        probable = with_long_tail(candidates, probable, config.long_tail)
        found.sort(key=lambda position: -probable[position])
    if config.diversity:
        found = diversified(found, probable, similarities([c.item for c in candidates]), config.diversity)
    return apply_rules(domain.rules, candidates, found, probable)


def with_long_tail(
    candidates: Sequence[Candidate], scores: Sequence[float], strength: float
) -> tuple[float, ...]:
    """Scores after every candidate gained `strength` nats times the share of items that more people met."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(scores, dtype=np.float64))
    rare = [1.0 - (candidate.popularity or 0.0) for candidate in candidates]
    return softmax([float(log) + strength * share for log, share in zip(logs, rare, strict=True)])


def diversified(order: Sequence[int], scores: Sequence[float], alike: Floats, weight: float) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each place goes to the candidate with the most of (1 - weight) * score - weight * the highest
    similarity to one above; `alike` is (n, n), 0 to 1. Scores count relative to the best, so
    that they are of the size of similarities. Ties keep the order.
    """
    left = np.array(order, dtype=np.int64)
    relevance = np.asarray(scores, dtype=np.float64) / (max(scores, default=0.0) or 1.0)
    nearest = np.zeros(len(relevance))
    found: list[int] = []
    while len(left):
        gain = (1 - weight) * relevance[left] - weight * nearest[left]
        best = int(left[np.argmax(gain)])
        found.append(best)
        left = left[left != best]
        nearest = np.maximum(nearest, alike[best])
    return found


def similarities(items: Sequence[Item]) -> Floats:
    """Jaccard similarity of the items' attribute values, (n, n); two items without any have nothing in common."""
    values = [
        {(name, value.casefold()) for name, of in item.attributes.items() for value in of} for item in items
    ]
    column = {value: number for number, value in enumerate(sorted(set().union(*values)))}
    held = np.zeros((len(items), max(1, len(column))))
    for row, of in enumerate(values):
        held[row, [column[value] for value in of]] = 1
    both = held @ held.T
    sizes = held.sum(axis=1)
    either = sizes[:, None] + sizes[None, :] - both
    found: Floats = both / np.maximum(either, 1)
    return found
