"""Baselines of the next basket, fitted on the train events alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys.data.splits import Case
from recsys.evaluation.protocol.base import EvaluationData, SystemFactory
from recsys.evaluation.systems.baselines import ScoredCatalogue, Scores

DAY = 86_400.0
SEASON_DAYS = 28  # before the target
LITTLE = 1e-6  # of popularity, which orders what a user never had


@dataclass(frozen=True)
class TifuOptions:
    """Options of TIFU-kNN; the defaults are those that its paper found for most data."""

    group: int = 7  # baskets in a group
    within: float = 0.9  # decay of a basket per later basket of its group
    between: float = 0.7  # decay of a group per later group
    neighbours: int = 300
    own: float = 0.7  # weight of the user's own vector; the neighbours have the rest


def own_frequency(data: EvaluationData) -> ScoredCatalogue:
    """Rank by how many baskets of the user had the item, then by popularity."""
    popularity = _popularity(data)

    def score(case: Case) -> Scores:
        rows = [data.log.row_of[event.item_id] for event in case.history]
        counts: Scores = np.bincount(rows, minlength=len(popularity)) + popularity
        return counts

    return ScoredCatalogue("own-frequency", data.log, score, data.log.hash)


def own_recency(data: EvaluationData) -> ScoredCatalogue:
    """Rank by when the user last had the item, then by popularity."""
    popularity = _popularity(data)

    def score(case: Case) -> Scores:
        scores = popularity.copy()
        for number, basket in enumerate(_rows_by_basket(data, case), start=1):
            scores[basket] = number + popularity[basket]
        return scores

    return ScoredCatalogue("own-recency", data.log, score, data.log.hash)


def season_popularity(data: EvaluationData) -> ScoredCatalogue:
    """Rank by the events of the four weeks before the target, ties by all events."""
    order = np.argsort(data.log.time, kind="stable")
    times, items, popularity = data.log.time[order], data.log.item[order], _popularity(data)

    def score(case: Case) -> Scores:
        now = case.target.timestamp or 0.0
        first, last = np.searchsorted(times, [now - SEASON_DAYS * DAY, now])
        counts: Scores = np.bincount(items[first:last], minlength=len(popularity)) + popularity
        return counts

    return ScoredCatalogue("season-popularity", data.log, score, data.log.hash)


def tifu_knn(data: EvaluationData, options: TifuOptions | None = None) -> ScoredCatalogue:
    """Rank by the user's decayed basket frequencies and those of similar users.

    Hu et al.: Modeling personalized item frequency information for next-basket recommendation,
    SIGIR 2020.
    """
    options = options or TifuOptions()
    log = data.log
    vectors = sp.vstack(
        [
            _vector(_train_baskets(log.item[start:end], log.time[start:end]), len(log.items), options)
            for start, end in zip(log.start[:-1], log.start[1:], strict=True)
        ],
        format="csr",
    )
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    number_of = {user: number for number, user in enumerate(log.users)}
    popularity = _popularity(data)

    def score(case: Case) -> Scores:
        own = _vector(list(_rows_by_basket(data, case)), len(log.items), options)
        distance = squares - 2 * np.asarray((vectors @ own.T).todense()).ravel()
        distance[number_of.get(case.user_id, [])] = np.inf
        n = min(options.neighbours, len(distance) - 1)
        nearest = np.argpartition(distance, n)[:n] if n > 0 else np.zeros(0, dtype=np.int64)
        scores = options.own * own.toarray().ravel() + popularity
        if len(nearest):
            scores += (1 - options.own) * np.asarray(vectors[nearest].mean(axis=0)).ravel()
        return np.asarray(scores, dtype=np.float64)

    return ScoredCatalogue("tifu-knn", log, score, log.hash)


def _vector(baskets: Sequence[npt.NDArray[np.int64]], n_items: int, options: TifuOptions) -> sp.csr_matrix:
    """Return a user's vector, (1, items): a mean of decayed groups of baskets."""
    if not baskets:
        return sp.csr_matrix((1, n_items))
    size = min(options.group, len(baskets))
    n_groups = -(-len(baskets) // size)
    first = len(baskets) - n_groups * size  # the oldest group may hold fewer
    rows, values = [], []
    for number, basket in enumerate(baskets):
        group, position = divmod(number - first, size)
        held = size + first if group == 0 else size
        weight = options.within ** (size - 1 - position) / held
        weight *= options.between ** (n_groups - 1 - group) / n_groups
        rows.append(basket)
        values.append(np.full(len(basket), weight))
    columns = np.concatenate(rows)
    return sp.csr_matrix(
        (np.concatenate(values), (np.zeros(len(columns), dtype=np.int64), columns)), shape=(1, n_items)
    )


def _train_baskets(
    items: npt.NDArray[np.int32], times: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.int64]]:
    """Split a user's events where the time changes."""
    return np.split(items.astype(np.int64), np.flatnonzero(np.diff(times)) + 1)


def _rows_by_basket(data: EvaluationData, case: Case) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the item rows of each basket of a history, oldest first."""
    for _, basket in groupby(case.history, key=lambda event: event.timestamp):
        yield np.array([data.log.row_of[event.item_id] for event in basket], dtype=np.int64)


def _popularity(data: EvaluationData) -> Scores:
    """Return popularity so small that it orders ties alone."""
    counts: Scores = data.log.counts.astype(np.float64)
    little: Scores = LITTLE * counts / (counts.max(initial=0) + 1)
    return little


BASKET_BASELINES: dict[str, SystemFactory] = {
    "own-frequency": own_frequency,
    "own-recency": own_recency,
    "season-popularity": season_popularity,
    "tifu-knn": tifu_knn,
}
