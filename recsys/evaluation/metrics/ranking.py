"""Ranking metrics per case, by ir-measures, and AUC of scored pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.errors import MissingDependency

CUTOFFS = (5, 10, 20, 100)
PRIMARY = "ndcg@10"
Values = npt.NDArray[np.float64]

_MEASURES = {"recall": "R", "ndcg": "nDCG", "mrr": "RR"}


def ranking_metrics(
    rankings: Sequence[Sequence[str]], targets: Sequence[str], cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, Values]:
    """Compute recall, NDCG and MRR at each cutoff for every case.

    Args:
        rankings: Item ids of each case, best first.
        targets: The one relevant item of each case; 0 where it is not in the ranking.
        cutoffs: Lengths at which rankings are cut.

    Returns:
        Metric name -> values, (cases,).

    Raises:
        MissingDependency: ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependency(
            "ir-measures is not installed", hint="pip install 'whyrec[evaluate]'"
        ) from error
    names = {
        f"{name}@{k}": ir_measures.parse_measure(f"{symbol}@{k}")
        for name, symbol in _MEASURES.items()
        for k in cutoffs
    }
    qrels = [ir_measures.Qrel(str(case), target, 1) for case, target in enumerate(targets)]
    # trec_eval orders by score and breaks ties by document: a strictly falling score keeps the order.
    run = [
        ir_measures.ScoredDoc(str(case), item, float(len(ranking) - rank))
        for case, ranking in enumerate(rankings)
        for rank, item in enumerate(ranking)
    ]
    values = {name: np.zeros(len(targets)) for name in names}
    name_of = {measure: name for name, measure in names.items()}
    if run:
        for result in ir_measures.iter_calc(list(names.values()), qrels, run):
            values[name_of[result.measure]][int(result.query_id)] = result.value
    return values


def list_auc(rankings: Sequence[Sequence[str]], targets: Sequence[str]) -> Values:
    """Compute the share of the other items that each target stands above, (cases,).

    Wu et al.: MIND: a large-scale dataset for news recommendation, ACL 2020.
    """
    return np.array(
        [
            1 - ranking.index(target) / max(1, len(ranking) - 1)
            for ranking, target in zip(rankings, targets, strict=True)
        ]
    )


def auc(scores: Values, liked: npt.NDArray[np.bool_], weights: Values | None = None) -> Values:
    """Compute the chance that a liked pair scores above a disliked one; ties are half.

    Args:
        scores: Scores, (n,).
        liked: Labels, (n,).
        weights: How often each pair is in each of b samples, (b, n). Default: one sample of all.

    Returns:
        AUC per sample, (b,); NaN where a sample has only one label.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], liked[order]
    weights = weights[:, order]
    disliked = np.where(positive, 0.0, weights)
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(disliked, axis=1)], axis=1)
    first = np.searchsorted(ordered, ordered, side="left")
    beyond = np.searchsorted(ordered, ordered, side="right")
    wins = (below[:, first] + below[:, beyond]) / 2
    liked_weights = np.where(positive, weights, 0.0)
    pairs = liked_weights.sum(axis=1) * below[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((liked_weights * wins).sum(axis=1) / pairs, dtype=np.float64)


def higher_is_better(metric: str) -> bool:
    """Return True for all but the error metrics."""
    return metric not in ("brier", "ece")


def cutoffs_for(depth: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Choose the cutoffs within the depth, or below the longest of given lists.

    The first two are always kept, so that every run has metrics of the same names.
    """
    limit = max(sizes) - 1 if sizes else depth
    return tuple(k for number, k in enumerate(CUTOFFS) if number < 2 or k <= limit)
