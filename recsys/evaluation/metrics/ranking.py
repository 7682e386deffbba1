"""Ranking quality per case, by ir-measures, and quality of scored pairs."""

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
    """Recall, NDCG and MRR at each cutoff, per case: name -> shape (cases,).

    `rankings` are item ids, best first; each case has one relevant item, its target. A
    target that is not in its ranking counts as 0. Raises MissingDependency.
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
    # trec_eval orders by score, and by document where scores tie: the place itself is handed
    # over as a score that strictly falls.
    run = [
        ir_measures.ScoredDoc(str(case), item, float(len(ranking) - place))
        for case, ranking in enumerate(rankings)
        for place, item in enumerate(ranking)
    ]
    values = {name: np.zeros(len(targets)) for name in names}
    name_of = {measure: name for name, measure in names.items()}
    if run:
        for found in ir_measures.iter_calc(list(names.values()), qrels, run):
            values[name_of[found.measure]][int(found.query_id)] = found.value
    return values


def auc(scores: Values, liked: npt.NDArray[np.bool_], weights: Values | None = None) -> Values:
    """Chance that a liked pair has a higher score than a disliked one; a tie counts half.

    `scores` and `liked` are (n,); `weights` (b, n) counts how often each pair is in each of
    b samples, one sample of all pairs if left out. Returns (b,), NaN where a sample has
    only one kind.
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
    """True for all but the measures of error."""
    return metric not in ("brier", "ece")


def cutoffs_for(depth: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """The cutoffs that say something: within the depth, or for lists of given `sizes` short of the longest.

    The first two always stand, so that figures of any run have the same names.
    """
    limit = max(sizes) - 1 if sizes else depth
    return tuple(k for number, k in enumerate(CUTOFFS) if number < 2 or k <= limit)
