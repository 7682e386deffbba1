"""What the channels bring for one query, side by side and on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.base import ChannelAnswer, FloatArray, RowArray
from retrieval.table import BoolArray

_NONE: RowArray = np.zeros(0, dtype=np.int64)
_FLOOR = 1e-3  # "no evidence" on a log scale, as a share of the most that any item of the pool has


@dataclass(frozen=True)
class PooledAnswer:
    """One channel's answer; `evidence_count` as in `Channel`."""

    answer: ChannelAnswer
    evidence_count: bool


@dataclass(frozen=True)
class Pool:
    """The union of what the channels found.

    `rows` (r,) of the table, ascending; `features` (r, channels), each column the
    channel's scores (their logarithm, if they are amounts), standardised over the
    pool: mean 0, deviation 1, items it knows nothing of as low as its lowest;
    `ranks` (r, channels), 1 = best, 0 where the channel did not find the item.
    """

    rows: RowArray
    features: FloatArray
    ranks: RowArray


def tops_of(answers: Mapping[str, PooledAnswer], allowed: BoolArray, depth: int) -> dict[str, RowArray]:
    """The first `depth` allowed items of each channel, best first."""
    return {name: asked.answer.top(depth, allowed) for name, asked in answers.items()}


def gather(
    answers: Mapping[str, PooledAnswer],
    tops: Mapping[str, RowArray],
    names: Sequence[str],
    also: RowArray = _NONE,
) -> Pool:
    """What the named channels found, and the rows `also`, all scored by each of them."""
    found = [tops[name] for name in names]
    rows = np.unique(np.concatenate([*found, also]))
    features = np.zeros((len(rows), len(names)), dtype=np.float32)
    ranks = np.zeros((len(rows), len(names)), dtype=np.int64)
    for column, (name, top) in enumerate(zip(names, found, strict=True)):
        asked = answers[name]
        features[:, column] = _standardised(asked.answer.of(rows), asked.evidence_count)
        ranks[np.searchsorted(rows, top), column] = np.arange(1, len(top) + 1)
    return Pool(rows, features, ranks)


def _standardised(scores: FloatArray, evidence_count: bool) -> FloatArray:
    known = ~np.isnan(scores)
    if not known.any():
        return np.zeros_like(scores)
    values = scores[known].astype(np.float64)
    if evidence_count:
        values = np.maximum(values, 0)
        values = np.log(values + max(_FLOOR * values.max(), np.finfo(np.float32).tiny))
    spread = values.std()
    if spread < 1e-9:
        return np.zeros_like(scores)
    values = (values - values.mean()) / spread
    standard = np.full(scores.shape, values.min(), dtype=np.float32)
    standard[known] = values
    return standard
