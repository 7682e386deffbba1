"""The pool: what the channels find for one query, on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.arrays import BoolArray, FloatArray, RowArray
from retrieval.base import ChannelScores

NO_ROWS: RowArray = np.zeros(0, dtype=np.int64)
_FLOOR = 1e-3  # "no evidence" on a log scale, as a share of the most that any item of the pool has


@dataclass(frozen=True)
class PooledScores:
    """One channel's scores of one query."""

    scores: ChannelScores
    evidence_count: bool  # as in `Channel`


@dataclass(frozen=True)
class Pool:
    """The union of what the channels found."""

    rows: RowArray  # (r,) of the table, ascending
    features: FloatArray
    """(r, channels): each channel's scores (their logarithm, if they are amounts of evidence),
    standardised over the pool; items a channel does not know are as low as its lowest."""
    ranks: RowArray  # (r, channels), 1 = best, 0 where the channel did not find the item


def top_rows(by_channel: Mapping[str, PooledScores], allowed: BoolArray, depth: int) -> dict[str, RowArray]:
    """Return the first `depth` allowed rows of each channel, best first."""
    return {name: pooled.scores.top(depth, allowed) for name, pooled in by_channel.items()}


def build_pool(
    by_channel: Mapping[str, PooledScores],
    tops: Mapping[str, RowArray],
    names: Sequence[str],
    extra: RowArray = NO_ROWS,
) -> Pool:
    """Join what the named channels found and `extra` rows, scored by each."""
    found = [tops[name] for name in names]
    rows = np.unique(np.concatenate([*found, extra]))
    features = np.zeros((len(rows), len(names)), dtype=np.float32)
    ranks = np.zeros((len(rows), len(names)), dtype=np.int64)
    for column, (name, top) in enumerate(zip(names, found, strict=True)):
        pooled = by_channel[name]
        features[:, column] = _standardise(pooled.scores.at(rows), pooled.evidence_count)
        ranks[np.searchsorted(rows, top), column] = np.arange(1, len(top) + 1)
    return Pool(rows, features, ranks)


def _standardise(scores: FloatArray, evidence_count: bool) -> FloatArray:
    """Scale the known scores to mean 0 and deviation 1."""
    known = ~np.isnan(scores)
    if not known.any():
        return np.zeros_like(scores)
    values = scores[known].astype(np.float64)
    if evidence_count:
        values = np.maximum(values, 0)
        values = np.log(values + max(_FLOOR * values.max(), np.finfo(np.float32).tiny))
    deviation = values.std()
    if deviation < 1e-9:
        return np.zeros_like(scores)
    values = (values - values.mean()) / deviation
    standard = np.full(scores.shape, values.min(), dtype=np.float32)
    standard[known] = values
    return standard
