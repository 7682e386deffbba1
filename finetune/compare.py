"""NDCG@10 of a fine-tuned model against the model before it, and in a fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.packing import PackedPrompt
from finetune.ranked_lists import ValidationList, ndcg
from recsys.utils.intervals import bootstrap
from retrieval.fusion_weights import Example, fit_weights

Metric = dict[str, float]
"""value, and low, high, n where it has an interval."""


@dataclass(frozen=True)
class ModelScores:
    """A model's log-odds of the candidates of every case, by the name of the list."""

    log_odds: dict[str, list[list[float]]]

    @classmethod
    def measure(
        cls,
        lists: Sequence[ValidationList],
        score: Callable[[PackedPrompt], list[float]],
        progress: Callable[[str, int, int], None] | None = None,
    ) -> ModelScores:
        """Score every case; `progress` gets the list's name, cases done and cases in all."""
        log_odds: dict[str, list[list[float]]] = {}
        for cases in lists:
            log_odds[cases.name] = []
            for number, packed in enumerate(cases.packed):
                if progress:
                    progress(cases.name, number, len(cases.packed))
                log_odds[cases.name].append(score(packed))
        return cls(log_odds)

    def ndcgs(self, cases: ValidationList) -> list[float]:
        """Return NDCG@10 of each case of a list."""
        return cases.ndcgs(self.log_odds[cases.name])


def compare(
    lists: Sequence[ValidationList], finetuned: ModelScores, baseline: ModelScores
) -> dict[str, dict[str, Metric]]:
    """Compare two models case by case, per list and over all cases.

    Returns:
        "metrics" of the fine-tuned model, "base_metrics" of the baseline and "paired" differences: NDCG@10
        with bootstrap intervals over users, since cases of one user are not independent.
    """
    figures: dict[str, dict[str, Metric]] = {"metrics": {}, "base_metrics": {}, "paired": {}}
    of_finetuned: list[float] = []
    of_baseline: list[float] = []
    users: list[str] = []
    for cases in lists:
        ndcgs = finetuned.ndcgs(cases), baseline.ndcgs(cases)
        _add_metric(figures, f"ndcg@10 {cases.name}", *ndcgs, cases.users)
        of_finetuned.extend(ndcgs[0])
        of_baseline.extend(ndcgs[1])
        users.extend(cases.users)
    _add_metric(figures, "ndcg@10", of_finetuned, of_baseline, users)
    return figures


def fit_fusion(cases: ValidationList, scores: ModelScores) -> Metric:
    """Fit the weight of the retriever's score against the model's log-odds.

    Returns:
        "ndcg@10": of the fusion, fitted on one half of the cases and measured on the other.
        "retriever": of the retriever's own order. "weight": of the retriever's score per unit of
        log-odds, absent where the log-odds do not help. {} for fewer than two cases.
    """
    if len(cases.packed) < 2:
        return {}
    examples = [
        Example(np.column_stack([log_odds, retrieved]).astype(np.float32), target)
        for log_odds, retrieved, target in zip(
            scores.log_odds[cases.name], cases.scores, cases.targets, strict=True
        )
    ]
    halves = examples[0::2], examples[1::2]
    weights_of_halves = [fit_weights(half) for half in halves]
    crossed = [
        ndcg((example.features @ weights).tolist(), example.target)
        for half, weights in zip(halves, weights_of_halves[::-1], strict=True)
        for example in half
    ]
    of_model, of_retriever = fit_weights(examples)
    weight = {"weight": round(float(of_retriever / of_model), 3)} if of_model > 0 else {}
    return {"ndcg@10": round(float(np.mean(crossed)), 4), "retriever": cases.retriever, **weight}


def _add_metric(
    figures: dict[str, dict[str, Metric]],
    name: str,
    finetuned: list[float],
    baseline: list[float],
    users: Sequence[str],
) -> None:
    differences = [a - b for a, b in zip(finetuned, baseline, strict=True)]
    for table, values in (("metrics", finetuned), ("base_metrics", baseline), ("paired", differences)):
        interval = bootstrap(values, users)
        figures[table][name] = {
            "value": round(interval.value, 4),
            "low": round(interval.low, 4),
            "high": round(interval.high, 4),
            "n": len(values),
        }
