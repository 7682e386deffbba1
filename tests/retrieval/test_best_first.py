"""The best of many scores, most of which are often the same."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.arrays import FloatArray
from retrieval.base import best_first

CHANCE = np.random.default_rng(0)
SPARSE = np.zeros(500, dtype=np.float32)
SPARSE[CHANCE.choice(500, 40, replace=False)] = CHANCE.integers(1, 4, 40)


@pytest.mark.parametrize("n", [0, 1, 39, 40, 41, 499, 500, 501])
@pytest.mark.parametrize(
    "scores",
    [
        SPARSE,
        -SPARSE,
        SPARSE - np.roll(SPARSE, 3),
        CHANCE.random(500).astype(np.float32),
        np.full(500, 2, dtype=np.float32),
        np.where(np.arange(500) % 16 == 0, 1, 0.5).astype(np.float32),
    ],
    ids=["few with evidence", "few against", "both", "all differ", "all the same", "all sampled are best"],
)
def test_the_best_come_first_and_ties_in_order(scores: FloatArray, n: int) -> None:
    assert best_first(scores, n).tolist() == np.argsort(-scores, kind="stable")[:n].tolist()
