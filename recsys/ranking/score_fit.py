"""The weights of model and retriever in a score, by maximum likelihood.

A conditional logit on held-out events: which of the candidates was chosen. The model's weight is shrunk
towards 0, which is the retriever alone, and is kept only if it has proved a gain on users that it was
not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.config.ranking import RETRIEVER_LEADS, Estimate, KindFit, Weights
from recsys.ranking.base import softmax
from recsys.utils.intervals import bootstrap
from retrieval.arrays import DoubleArray
from retrieval.fusion_weights import L2, Example, fit_weights, log_likelihood, rank_of

FOLDS = 5
LEAST_CASES = 40  # with fewer a kind of request has no weights of its own
PRIOR = 0.5  # standard deviation of what the model adds, in nats, before anything is seen
Z = 1.96  # deviations of a 95 % interval
APART = 1e6  # no score is as large: what a wish prefers comes first


@dataclass(frozen=True)
class ScoredCase:
    """A held-out event, and what model and retriever say of its candidates."""

    user: str
    features: DoubleArray  # (candidates, 2): log-odds of the model, score of the retriever
    target: int | None  # row of what was chosen; None if it is not among the candidates
    level: tuple[int, ...] = ()  # of each candidate in the order of the wish, 0 first; () without one

    @cached_property
    def example(self) -> Example:
        """The candidates that only the score orders, and which of them was chosen."""
        assert self.target is not None
        if not self.level:
            return Example(self.features.astype(np.float32), self.target)
        rows = np.flatnonzero(np.array(self.level) == self.level[self.target])
        target = int(np.searchsorted(rows, self.target))
        return Example(self.features[rows].astype(np.float32), target)

    @cached_property
    def spread(self) -> float:
        """The deviation of the model's log-odds, nats."""
        return float(self.features[:, 0].std())

    def ndcg(self, weights: DoubleArray) -> float:
        """Return NDCG@10 under these weights."""
        if self.target is None:
            return 0.0
        scores = self.features @ weights
        if self.level:
            scores = scores - APART * np.array(self.level)
        rank = rank_of(scores, self.target)
        return float(1 / np.log2(1 + rank)) if rank <= 10 else 0.0


def fit_kind(cases: Sequence[ScoredCase]) -> KindFit | None:
    """Fit the weights of one kind of request; None if there are too few cases.

    The gain of a case is measured with the weights of the other users. It is over the retriever
    alone, at the scale that fits it best.
    """
    found = [case for case in cases if case.target is not None]
    users = sorted({case.user for case in found})
    if len(found) < LEAST_CASES or len(users) < FOLDS:
        return None
    fold = {user: number % FOLDS for number, user in enumerate(users)}
    fused = [_fit([case for case in found if fold[case.user] != one]) for one in range(FOLDS)]
    alone = [_fit_retriever([case for case in found if fold[case.user] != one]) for one in range(FOLDS)]
    gains, differences = [], []
    for case in cases:
        one = fold.get(case.user, 0)
        differences.append(case.ndcg(fused[one]) - case.ndcg(alone[one]))
        if case.target is not None:
            gains.append(log_likelihood(case.example, fused[one]) - log_likelihood(case.example, alone[one]))
    gain = _estimate(gains, [case.user for case in found])
    ndcg = _estimate(differences, [case.user for case in cases])
    weights = _fit(found)
    proven = gain.low > 0 and ndcg.value >= 0 and weights[0] > 0
    return KindFit(
        weights=Weights(model=round(float(weights[0]), 3), retriever=round(float(weights[1]), 3))
        if proven
        else RETRIEVER_LEADS,
        model_weight=_interval_of_weight(found, weights),
        gain=gain,
        ndcg=ndcg,
        cases=len(found),
        asked=len(cases),
    )


def _fit(cases: Sequence[ScoredCase]) -> DoubleArray:
    """Return the weights (2,) of model and retriever."""
    return fit_weights([case.example for case in cases], _shrinkage(cases))


def _shrinkage(cases: Sequence[ScoredCase]) -> DoubleArray:
    """Return what the square of each weight costs in nats a case."""
    spread = float(np.mean([case.spread for case in cases]))
    return np.array([max(L2, (spread / PRIOR) ** 2 / (2 * len(cases))), L2])


def _fit_retriever(cases: Sequence[ScoredCase]) -> DoubleArray:
    examples = [Example(example.features[:, 1:], example.target) for example in (c.example for c in cases)]
    return np.array([0.0, *fit_weights(examples)])


def _interval_of_weight(cases: Sequence[ScoredCase], weights: DoubleArray) -> Estimate:
    """Return the model's weight; its interval is of a sandwich over users."""
    information = np.diag(2 * len(cases) * _shrinkage(cases))
    by_user: dict[str, DoubleArray] = {}
    for case in cases:
        features, target = case.example.features.astype(np.float64), case.example.target
        probability = np.array(softmax((features @ weights).tolist()))
        centred = features - probability @ features
        information += centred.T @ (centred * probability[:, None])
        by_user[case.user] = by_user.get(case.user, np.zeros(2)) + centred[target]
    scores, inverse = np.stack(list(by_user.values())), np.linalg.pinv(information)
    deviation = float(np.sqrt((inverse @ (scores.T @ scores) @ inverse)[0, 0]))
    value = float(weights[0])
    return Estimate(
        value=round(value, 3), low=round(value - Z * deviation, 3), high=round(value + Z * deviation, 3)
    )


def _estimate(values: Sequence[float], users: Sequence[str]) -> Estimate:
    interval = bootstrap(values, users)
    return Estimate(value=round(interval.value, 4), low=round(interval.low, 4), high=round(interval.high, 4))
