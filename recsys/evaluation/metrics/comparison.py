"""Metrics of several systems on the same cases, resampled together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recsys.evaluation.metrics.ranking import auc, higher_is_better
from recsys.utils.intervals import (
    RESAMPLES,
    Difference,
    Interval,
    Resamples,
    Statistic,
    Values,
    bounds,
    holm,
    mean_of,
)

Rows = npt.NDArray[np.int64]
Column = tuple[str, str]
"""(system, metric)."""


class MetricEstimates:
    """Point estimates of metrics per system, their intervals and differences.

    Args:
        columns: The system and metric of each column.
        point: Estimates, (columns,).
        draws: Estimates in every resample, (resamples, columns).
        samples: The resamples.
        cases: The (cases,) values behind those columns that are means, for the permutation test.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        point: Values,
        draws: Values,
        samples: Resamples,
        cases: Mapping[Column, Values],
    ) -> None:
        self._column = {column: number for number, column in enumerate(columns)}
        self._point, self._draws, self._samples, self._cases = point, draws, samples, cases
        self._low, self._high = bounds(draws)

    @property
    def users(self) -> int:
        """How many users the cases have."""
        return self._samples.n

    def metrics(self, system: str) -> list[str]:
        """Return the names of a system's metrics."""
        return [metric for name, metric in self._column if name == system]

    def interval(self, system: str, metric: str) -> Interval:
        """Return a system's estimate with its interval."""
        number = self._column[system, metric]
        return Interval(
            float(self._point[number]), float(self._low[number]), float(self._high[number]), self.users
        )

    def bounds_of_difference(self, system: str, other: str, metric: str) -> tuple[float, float]:
        """Return 95 % bounds of one system's estimate minus another's."""
        low, high = bounds(self._difference(system, other, metric)[:, None])[:, 0]
        return float(low), float(high)

    def differences(self, pairs: Sequence[tuple[str, str]], metric: str) -> list[Difference]:
        """Subtract the second system of each pair from the first; Holm is over all pairs."""
        p_values = self._p_values(pairs, metric)
        differences = []
        for (system, other), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
            low, high = self.bounds_of_difference(system, other, metric)
            value = self._point[self._column[system, metric]] - self._point[self._column[other, metric]]
            differences.append(Difference(float(value), low, high, p, p_holm))
        return differences

    def best(self, metric: str) -> tuple[str, str | None, bool] | None:
        """Return the best system, the runner-up, and whether their interval excludes 0."""
        sign = 1 if higher_is_better(metric) else -1
        names = sorted(
            (system for system, name in self._column if name == metric),
            key=lambda name: -sign * self._point[self._column[name, metric]],
        )
        if len(names) < 2:
            return (names[0], None, False) if names else None
        low, high = self.bounds_of_difference(names[0], names[1], metric)
        return names[0], names[1], low > 0 or high < 0

    def _difference(self, system: str, other: str, metric: str) -> Values:
        return np.asarray(
            self._draws[:, self._column[system, metric]] - self._draws[:, self._column[other, metric]]
        )

    def _p_values(self, pairs: Sequence[tuple[str, str]], metric: str) -> list[float]:
        """By sign flips where the metric is a mean over cases, else from the bootstrap."""
        if not pairs:
            return []
        if (pairs[0][0], metric) in self._cases:
            differences = [
                self._cases[system, metric] - self._cases[other, metric] for system, other in pairs
            ]
            return [float(p) for p in self._samples.sign_flips(np.stack(differences, axis=1))]
        p_values = []
        for system, other in pairs:
            draws = self._difference(system, other, metric)
            draws = draws[~np.isnan(draws)]
            tail = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
            p_values.append(min(1.0, max(2 * tail, 1 / len(draws))))
        return p_values


class CaseResults(Protocol):
    """Results of all systems per case, to estimate metrics on any part of them."""

    def estimates(self, rows: Rows | None = None, *, resamples: int = RESAMPLES) -> MetricEstimates | None:
        """Estimate the metrics on the cases `rows` (default: all); None if impossible."""
        ...


class RankingResults:
    """Metrics that are means over cases: system -> metric -> (cases,)."""

    def __init__(self, values: Mapping[str, Mapping[str, Values]], users: Sequence[str], seed: int) -> None:
        self._cases = {
            (system, metric): column
            for system, metrics in values.items()
            for metric, column in metrics.items()
        }
        self._users, self._seed = np.array(users, dtype=object), seed

    def estimates(self, rows: Rows | None = None, *, resamples: int = RESAMPLES) -> MetricEstimates | None:
        """Estimate the metrics on some cases; None if there are none."""
        rows = np.arange(len(self._users)) if rows is None else rows
        if not len(rows) or not self._cases:
            return None
        samples = Resamples(self._users[rows].tolist(), seed=self._seed, resamples=resamples)
        cases = {column: values[rows] for column, values in self._cases.items()}
        table = np.stack(list(cases.values()), axis=1)
        return MetricEstimates(list(cases), table.mean(axis=0), samples.draws(mean_of(table)), samples, cases)


class RatedPairResults:
    """Scores of rated pairs.

    AUC is over all pairs together, so that knowing which users like everything counts.

    Args:
        scores: System -> (cases,).
        liked: (cases,).
        probabilistic: Systems that have a Brier score too.
        users: The user of each case.
        seed: Of the resamples.
    """

    def __init__(
        self,
        scores: Mapping[str, Values],
        liked: npt.NDArray[np.bool_],
        probabilistic: frozenset[str],
        users: Sequence[str],
        seed: int,
    ) -> None:
        self._scores, self._liked, self._probabilistic = scores, liked, probabilistic
        self._users, self._seed = np.array(users, dtype=object), seed

    def estimates(self, rows: Rows | None = None, *, resamples: int = RESAMPLES) -> MetricEstimates | None:
        """Estimate AUC and Brier score; None unless there are liked and disliked pairs."""
        rows = np.arange(len(self._users)) if rows is None else rows
        liked = self._liked[rows]
        if not self._scores or not liked.any() or liked.all():
            return None
        samples = Resamples(self._users[rows].tolist(), seed=self._seed, resamples=resamples)
        scores = {system: values[rows] for system, values in self._scores.items()}
        cases = {
            (system, "brier"): (values - liked) ** 2
            for system, values in scores.items()
            if system in self._probabilistic
        }
        columns = [*((system, "auc") for system in scores), *cases]
        statistic = _pair_statistic(list(scores.values()), liked, list(cases.values()))
        point = statistic(np.ones((1, len(rows))))[0]
        return MetricEstimates(columns, point, samples.draws(statistic), samples, cases)


def _pair_statistic(
    scores: Sequence[Values], liked: npt.NDArray[np.bool_], errors: Sequence[Values]
) -> Statistic:
    def statistic(weights: Values) -> Values:
        parts = [auc(values, liked, weights)[:, None] for values in scores]
        if errors:
            parts.append(mean_of(np.stack(errors, axis=1))(weights))
        return np.concatenate(parts, axis=1)

    return statistic
