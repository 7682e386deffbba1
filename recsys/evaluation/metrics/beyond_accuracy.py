"""Coverage, novelty, popularity lift, diversity and inequality of what is ranked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.data.dataset import EventLog
from recsys.data.splits import Case
from recsys.types import Item

K = 10


def beyond_accuracy(
    rankings: Sequence[Sequence[str]], cases: Sequence[Case], items: Mapping[str, Item], log: EventLog
) -> dict[str, float | None]:
    """Compute the metrics of the top 10 of all cases; None where that is impossible.

    - coverage@10: share of the catalogue that is recommended to any user;
    - novelty@10: mean self-information in bits, -log2 of the item's share of train events
      (one added to each item's count, so that new items have one);
    - popularity_lift@10: mean train count of the recommended items over that of the histories;
    - diversity@10: 1 - mean pairwise Jaccard similarity of the items' attribute values;
    - gini@10: inequality of how often items are recommended; 0 all alike, 1 one item only.
    """
    tops = [tuple(ranking[:K]) for ranking in rankings]
    recommended = np.array([log.row_of[item] for top in tops for item in top], dtype=np.int64)
    if not len(recommended):
        return dict.fromkeys((f"{name}@{K}" for name in _NAMES), None)
    counts = np.bincount(recommended, minlength=len(log.items))
    information = -np.log2((log.counts + 1) / (log.counts.sum() + len(log.items)))
    return {
        f"coverage@{K}": float((counts > 0).mean()),
        f"novelty@{K}": float(information[recommended].mean()),
        f"popularity_lift@{K}": _popularity_lift(tops, cases, log),
        f"diversity@{K}": _diversity(tops, items),
        f"gini@{K}": gini(counts),
    }


_NAMES = ("coverage", "novelty", "popularity_lift", "diversity", "gini")


def gini(counts: npt.NDArray[np.int64]) -> float:
    """Compute the Gini coefficient of counts, at least one of them above 0."""
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def _popularity_lift(tops: Sequence[Sequence[str]], cases: Sequence[Case], log: EventLog) -> float | None:
    """Over the cases that have a history."""

    def mean_count(ids: Sequence[str]) -> float:
        return float(log.counts[[log.row_of[item] for item in ids]].mean())

    pairs = [
        (mean_count(top), mean_count([event.item_id for event in case.history]))
        for top, case in zip(tops, cases, strict=True)
        if top and case.history
    ]
    of_histories = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / of_histories if of_histories else None


def _diversity(tops: Sequence[Sequence[str]], items: Mapping[str, Item]) -> float | None:
    """Over the pairs of items that have attributes."""
    values = {
        id_: frozenset((name, value) for name, values in item.attributes.items() for value in values)
        for id_, item in items.items()
    }
    lists = []
    for top in tops:
        known = [values[item] for item in top if values[item]]
        similarities = [len(a & b) / len(a | b) for a, b in itertools.combinations(known, 2)]
        if similarities:
            lists.append(1 - sum(similarities) / len(similarities))
    return sum(lists) / len(lists) if lists else None
