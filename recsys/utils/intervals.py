"""Bootstrap intervals and tests that resample users, with all of their cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Statistic = Callable[[Values], Values]
"""Weights of cases in b samples (b, cases) -> values (b, columns)."""

RESAMPLES = 10_000
CELLS = 4_000_000  # numbers held at once while resampling: 32 MB


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap 95 % interval."""

    value: float
    low: float
    high: float
    n: int  # users


@dataclass(frozen=True)
class Difference:
    """One system's estimate minus another's on the same cases, with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float  # two-sided
    p_holm: float  # corrected for all differences of that metric in the table


class Resamples:
    """Samples of users with replacement, the same for every estimate.

    Args:
        users: The user of each case; the cases of one user are resampled together.
        seed: Of the samples.
        resamples: How many samples to draw.
    """

    def __init__(self, users: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        names, self._row = np.unique(np.asarray(users, dtype=object).astype(str), return_inverse=True)
        self.n = len(names)
        self.seed = seed
        self.resamples = resamples

    def draws(self, statistic: Statistic) -> Values:
        """Compute the statistic in every sample, shape (resamples, columns)."""
        return np.concatenate([statistic(weights) for weights in self._weights()])

    def _weights(self) -> Iterator[Values]:
        random = np.random.default_rng(self.seed)
        step = max(1, CELLS // max(1, len(self._row)))
        for begun in range(0, self.resamples, step):
            size = min(step, self.resamples - begun)
            users = random.integers(0, self.n, size=(size, self.n)) + np.arange(size)[:, None] * self.n
            counts = np.bincount(users.ravel(), minlength=size * self.n).reshape(size, self.n)
            yield counts[:, self._row].astype(np.float64)

    def sign_flips(self, differences: Values) -> Values:
        """Test "the mean difference is 0", two-sided, per column of (cases, columns).

        The signs of all of a user's differences flip together, at random; the observed
        sample counts as one of the flips, so p is never 0.
        """
        per_user = np.zeros((self.n, differences.shape[1]))
        np.add.at(per_user, self._row, differences)
        observed = np.abs(per_user.sum(axis=0))
        random = np.random.default_rng([self.seed, 1])
        step = max(1, CELLS // self.n)
        as_extreme = np.ones(differences.shape[1])
        for begun in range(0, self.resamples, step):
            signs = random.choice([-1.0, 1.0], size=(min(step, self.resamples - begun), self.n))
            # Sums that differ by rounding alone count as equal.
            as_extreme += (np.abs(signs @ per_user) >= observed - 1e-9).sum(axis=0)
        return np.asarray(as_extreme / (self.resamples + 1), dtype=np.float64)


def mean_of(values: Values) -> Statistic:
    """Return the statistic of weighted means of the columns of (cases, columns)."""

    def statistic(weights: Values) -> Values:
        return np.asarray(weights @ values / weights.sum(axis=1, keepdims=True), dtype=np.float64)

    return statistic


def bounds(draws: Values) -> Values:
    """Compute percentile 95 % bounds of (resamples, columns), shape (2, columns)."""
    return np.asarray(np.nanpercentile(draws, [2.5, 97.5], axis=0), dtype=np.float64)


def bootstrap(
    values: Sequence[float] | Values, users: Sequence[str] | None = None, *, seed: int = 0
) -> Interval:
    """Compute a mean with its interval; by default each value is of another user."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    samples = Resamples(users or [str(number) for number in range(len(column))], seed=seed)
    low, high = bounds(samples.draws(mean_of(column)))[:, 0]
    return Interval(float(column.mean()), float(low), float(high), samples.n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for multiple tests by Holm's step-down procedure."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected
