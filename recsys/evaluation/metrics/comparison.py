"""Figures of several systems on the same cases, resampled together so that they can be compared."""

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


class Figures:
    """One number per system and metric, its value in every resample, and what differs.

    `point` is (columns,), `draws` (resamples, columns); `cases` holds the (cases,) values
    behind those columns that are means, for the permutation test.
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
        return self._samples.n

    def metrics(self, system: str) -> list[str]:
        """Names of what is known of a system."""
        return [metric for name, metric in self._column if name == system]

    def interval(self, system: str, metric: str) -> Interval:
        number = self._column[system, metric]
        return Interval(
            float(self._point[number]), float(self._low[number]), float(self._high[number]), self.users
        )

    def bounds_of_difference(self, one: str, other: str, metric: str) -> tuple[float, float]:
        """95 % bounds of one system's figure minus another's."""
        low, high = bounds(self._difference(one, other, metric)[:, None])[:, 0]
        return float(low), float(high)

    def differences(self, pairs: Sequence[tuple[str, str]], metric: str) -> list[Difference]:
        """One system minus another, per pair; `p_holm` is over all of them."""
        p_values = self._p_values(pairs, metric)
        found = []
        for (one, other), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
            low, high = self.bounds_of_difference(one, other, metric)
            value = self._point[self._column[one, metric]] - self._point[self._column[other, metric]]
            found.append(Difference(float(value), low, high, p, p_holm))
        return found

    def best(self, metric: str) -> tuple[str, str | None, bool] | None:
        """The best system, the runner-up, and whether the interval between them leaves 0 out."""
        sign = 1 if higher_is_better(metric) else -1
        names = sorted(
            (name for name, found in self._column if found == metric),
            key=lambda name: -sign * self._point[self._column[name, metric]],
        )
        if len(names) < 2:
            return (names[0], None, False) if names else None
        low, high = self.bounds_of_difference(names[0], names[1], metric)
        return names[0], names[1], low > 0 or high < 0

    def _difference(self, one: str, other: str, metric: str) -> Values:
        return np.asarray(
            self._draws[:, self._column[one, metric]] - self._draws[:, self._column[other, metric]]
        )

    def _p_values(self, pairs: Sequence[tuple[str, str]], metric: str) -> list[float]:
        """By sign flips where the metric is a mean over cases, else from the bootstrap itself."""
        if not pairs:
            return []
        if (pairs[0][0], metric) in self._cases:
            differences = [self._cases[one, metric] - self._cases[other, metric] for one, other in pairs]
            return [float(p) for p in self._samples.sign_flips(np.stack(differences, axis=1))]
        found = []
        for one, other in pairs:
            draws = self._difference(one, other, metric)
            draws = draws[~np.isnan(draws)]
            tail = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
            found.append(min(1.0, max(2 * tail, 1 / len(draws))))
        return found


class MeasuredCases(Protocol):
    """Results of all systems that can be summed up for any part of the cases."""

    def figures(self, rows: Rows | None = None, *, resamples: int = RESAMPLES) -> Figures | None:
        """Of the cases `rows` (default: all); None if nothing can be said of them."""
        ...


class MeanFigures:
    """Metrics that are means over cases: system -> metric -> (cases,)."""

    def __init__(self, values: Mapping[str, Mapping[str, Values]], users: Sequence[str], seed: int) -> None:
        self._cases = {
            (system, metric): column for system, found in values.items() for metric, column in found.items()
        }
        self._users, self._seed = np.array(users, dtype=object), seed

    def figures(self, rows: Rows | None = None, *, resamples: int = RESAMPLES) -> Figures | None:
        rows = np.arange(len(self._users)) if rows is None else rows
        if not len(rows) or not self._cases:
            return None
        samples = Resamples(self._users[rows].tolist(), seed=self._seed, resamples=resamples)
        cases = {column: values[rows] for column, values in self._cases.items()}
        table = np.stack(list(cases.values()), axis=1)
        return Figures(list(cases), table.mean(axis=0), samples.draws(mean_of(table)), samples, cases)


class PairFigures:
    """Rated pairs: `scores` system -> (cases,), `liked` (cases,).

    AUC is over all pairs together, so that knowing who likes everything counts. Systems in
    `probable` have a Brier score too.
    """

    def __init__(
        self,
        scores: Mapping[str, Values],
        liked: npt.NDArray[np.bool_],
        probable: frozenset[str],
        users: Sequence[str],
        seed: int,
    ) -> None:
        self._scores, self._liked, self._probable = scores, liked, probable
        self._users, self._seed = np.array(users, dtype=object), seed

    def figures(self, rows: Rows | None = None, *, resamples: int = RESAMPLES) -> Figures | None:
        rows = np.arange(len(self._users)) if rows is None else rows
        liked = self._liked[rows]
        if not self._scores or not liked.any() or liked.all():
            return None
        samples = Resamples(self._users[rows].tolist(), seed=self._seed, resamples=resamples)
        scores = {system: values[rows] for system, values in self._scores.items()}
        cases = {
            (system, "brier"): (values - liked) ** 2
            for system, values in scores.items()
            if system in self._probable
        }
        columns = [*((system, "auc") for system in scores), *cases]
        statistic = _pair_statistic(list(scores.values()), liked, list(cases.values()))
        point = statistic(np.ones((1, len(rows))))[0]
        return Figures(columns, point, samples.draws(statistic), samples, cases)


def _pair_statistic(
    scores: Sequence[Values], liked: npt.NDArray[np.bool_], errors: Sequence[Values]
) -> Statistic:
    def statistic(weights: Values) -> Values:
        parts = [auc(values, liked, weights)[:, None] for values in scores]
        if errors:
            parts.append(mean_of(np.stack(errors, axis=1))(weights))
        return np.concatenate(parts, axis=1)

    return statistic
