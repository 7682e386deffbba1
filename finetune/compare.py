"""What a tuned model is worth: per-case figures against the model before it, and its weight in a fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.packing import Packed
from finetune.ranked_lists import ValidationList, ndcg
from recsys.utils.intervals import bootstrap
from retrieval.fusion_weights import Example, fit_weights

Figure = dict[str, float]


@dataclass(frozen=True)
class Scored:
    """A model's log-odds for every case of every list, by list name."""

    odds: dict[str, list[list[float]]]

    @classmethod
    def of(
        cls,
        lists: Sequence[ValidationList],
        score: Callable[[Packed], list[float]],
        watch: Callable[[str, int, int], None] | None = None,
    ) -> Scored:
        """Ask the model; `watch` is told the list, how many cases are done, and of how many."""
        odds: dict[str, list[list[float]]] = {}
        for one in lists:
            odds[one.name] = []
            for number, packed in enumerate(one.packed):
                if watch:
                    watch(one.name, number, len(one.packed))
                odds[one.name].append(score(packed))
        return cls(odds)

    def ndcgs(self, cases: ValidationList) -> list[float]:
        return cases.ndcgs(self.odds[cases.name])


def compare(lists: Sequence[ValidationList], tuned: Scored, before: Scored) -> dict[str, dict[str, Figure]]:
    """NDCG@10 of both and of their difference case by case, per list and over all cases, with intervals.

    A user's cases are drawn together, whichever list they are in.
    """
    figures: dict[str, dict[str, Figure]] = {"metrics": {}, "base_metrics": {}, "paired": {}}
    everything: tuple[list[float], list[float]] = ([], [])
    users: list[str] = []
    for one in lists:
        pair = (tuned.ndcgs(one), before.ndcgs(one))
        _note(figures, f"ndcg@10 {one.name}", *pair, one.users)
        users.extend(one.users)
        everything[0].extend(pair[0])
        everything[1].extend(pair[1])
    _note(figures, "ndcg@10", *everything, users)
    return figures


def fusion(cases: ValidationList, scored: Scored) -> Figure:
    """How much the retriever's score counts beside the model's log-odds, by maximum likelihood.

    "ndcg@10": of the fusion, fitted on one half of the cases and measured on the other;
    "retriever": of the retriever's own order; "weight": of its score per unit of log-odds,
    left out where the log-odds are of no use. {} for fewer than two cases.
    """
    if len(cases.packed) < 2:
        return {}
    examples = [
        Example(np.column_stack([odds, scores]).astype(np.float32), target)
        for odds, scores, target in zip(scored.odds[cases.name], cases.scores, cases.targets, strict=True)
    ]
    halves = examples[0::2], examples[1::2]
    fits = [fit_weights(half) for half in halves]
    crossed = [
        ndcg((one.features @ weights).tolist(), one.target)
        for half, weights in zip(halves, fits[::-1], strict=True)
        for one in half
    ]
    both = fit_weights(examples)
    weight = {"weight": round(float(both[1] / both[0]), 3)} if both[0] > 0 else {}
    return {"ndcg@10": round(float(np.mean(crossed)), 4), "retriever": cases.retriever, **weight}


def _note(
    figures: dict[str, dict[str, Figure]],
    name: str,
    tuned: list[float],
    before: list[float],
    users: Sequence[str],
) -> None:
    differences = [a - b for a, b in zip(tuned, before, strict=True)]
    for where, values in (("metrics", tuned), ("base_metrics", before), ("paired", differences)):
        found: Any = bootstrap(values, users)
        figures[where][name] = {
            "value": round(found.value, 4),
            "low": round(found.low, 4),
            "high": round(found.high, 4),
            "n": len(values),
        }
