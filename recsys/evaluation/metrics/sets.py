"""Measures of recommended sets: likeness to the truth, pairs that interact."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from recsys.types import Item


def jaccard(chosen: Collection[str], truth: Collection[str]) -> float:
    """Compute the share of what is in either set that is in both; 1 if both are empty."""
    either = set(chosen) | set(truth)
    return len(set(chosen) & set(truth)) / len(either) if either else 1.0


def f1(chosen: Collection[str], truth: Collection[str]) -> float:
    """Compute the harmonic mean of precision and recall; 1 if both are empty."""
    total = len(chosen) + len(truth)
    return 2 * len(set(chosen) & set(truth)) / total if total else 1.0


def average_precision(ranking: Sequence[str], truth: Collection[str]) -> float:
    """Compute the area under the curve of precision and recall (PRAUC), by steps.

    What is not in the ranking is never found.
    """
    found, total = 0, 0.0
    for rank, item in enumerate(ranking, start=1):
        if item in truth:
            found += 1
            total += found / rank
    return total / len(truth) if truth else 0.0


def related_pairs(chosen: Sequence[str], related: Callable[[str, str], bool]) -> tuple[int, int]:
    """Count the pairs of a set that are related, and all its pairs.

    The rate of interactions (DDI) of several sets is the sum of the first over that of the second, as in
    PyHealth (Yang et al., KDD 2023).
    """
    pairs = list(itertools.combinations(chosen, 2))
    return sum(related(one, other) for one, other in pairs), len(pairs)


def largest_share(items: Sequence[Item], attribute: str) -> float:
    """Compute the share of the commonest value of an attribute among items."""
    values = Counter(value for item in items for value in item.attributes.get(attribute, ()))
    return max(values.values(), default=0) / len(items) if items else 0.0
