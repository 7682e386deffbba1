"""Windows cover every candidate, and joining them gives one order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.ranking.windows import anchored_windows, join_windows, reciprocal_rank_scores


@given(st.integers(1, 300), st.integers(2, 26), st.integers(1, 4))
def test_every_position_is_in_a_window_of_each_order_and_all_are_connected(
    n: int, size: int, orders: int
) -> None:
    windows = anchored_windows(n, size, 26, orders)
    assert sorted({position for window in windows for position in window}) == list(range(n))
    assert max(map(len, windows)) <= (26 if n <= 26 else size)
    assert all(len(set(window)) == len(window) for window in windows)
    assert len(windows) == orders or n > 26
    shared = set(windows[0]).intersection(*windows)
    assert shared if n > 26 else shared == set(range(n))


def test_windows_are_the_same_every_time() -> None:
    assert anchored_windows(100, 20, 26, 4) == anchored_windows(100, 20, 26, 4)


def test_second_order_is_the_first_backwards() -> None:
    first, second, third = anchored_windows(5, 20, 26, 3)
    assert second == first[::-1]
    assert third not in (first, second)


@settings(deadline=None)
@given(st.integers(2, 120), st.integers(2, 20), st.integers(1, 3), st.integers(0, 2**32))
def test_log_probabilities_of_one_set_of_strengths_are_joined_to_those_strengths(
    n: int, size: int, orders: int, seed: int
) -> None:
    strengths = np.random.default_rng(seed).normal(0, 2, n)
    windows = anchored_windows(n, size, 26, orders)
    logprobs = []
    for window in windows:
        values = strengths[window]
        logprobs.append(list(values - np.log(np.exp(values).sum()) - 0.1))
    scores = np.array(join_windows(n, windows, logprobs))
    assert scores - scores.mean() == pytest.approx(strengths - strengths.mean(), abs=1e-6)


def test_one_window_keeps_its_log_probabilities_and_impossible_ones_stay_finite() -> None:
    assert join_windows(3, [[0, 1, 2]], [[-1.0, -math.inf, -2.0]]) == [-1.0, -100.0, -2.0]


def test_scores_by_rank_fall_and_sum_to_one() -> None:
    scores = reciprocal_rank_scores([2, 0, 1])
    assert scores == pytest.approx((3 / 11, 2 / 11, 6 / 11))
