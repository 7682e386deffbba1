"""Baselines of the next basket, fitted on the train events alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys.data.dataset import EventLog
from recsys.data.splits import Case
from recsys.evaluation.protocol.base import EvaluationData, SystemFactory
from recsys.evaluation.systems.baselines import ScoredCatalogue, Scores

Rows = npt.NDArray[np.int64]

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


BasketScore = Callable[[str, Sequence[Rows], float], Scores]
"""Scores all items for a user, from the rows of each of their baskets, oldest first, at a time."""


def own_frequency(log: EventLog) -> BasketScore:
    """Score by how many baskets of the user had the item, then by popularity."""
    popularity = _popularity(log)

    def score(user: str, baskets: Sequence[Rows], now: float) -> Scores:
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *baskets])
        counts: Scores = np.bincount(rows, minlength=len(popularity)) + popularity
        return counts

    return score


def own_recency(log: EventLog) -> BasketScore:
    """Score by when the user last had the item, then by popularity."""
    popularity = _popularity(log)

    def score(user: str, baskets: Sequence[Rows], now: float) -> Scores:
        scores = popularity.copy()
        for number, basket in enumerate(baskets, start=1):
            scores[basket] = number + popularity[basket]
        return scores

    return score


def season_popularity(log: EventLog) -> BasketScore:
    """Score by the events of the four weeks before the moment, ties by all events."""
    order = np.argsort(log.time, kind="stable")
    times, items, popularity = log.time[order], log.item[order], _popularity(log)

    def score(user: str, baskets: Sequence[Rows], now: float) -> Scores:
        first, last = np.searchsorted(times, [now - SEASON_DAYS * DAY, now])
        counts: Scores = np.bincount(items[first:last], minlength=len(popularity)) + popularity
        return counts

    return score


def tifu_knn(log: EventLog, options: TifuOptions | None = None) -> BasketScore:
    """Score by the user's decayed basket frequencies and those of similar users.

    Hu et al.: Modeling personalized item frequency information for next-basket recommendation,
    SIGIR 2020.
    """
    options = options or TifuOptions()
    vectors = sp.vstack(
        [
            _vector(_train_baskets(log.item[start:end], log.time[start:end]), len(log.items), options)
            for start, end in zip(log.start[:-1], log.start[1:], strict=True)
        ],
        format="csr",
    )
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    number_of = {user: number for number, user in enumerate(log.users)}
    popularity = _popularity(log)

    def score(user: str, baskets: Sequence[Rows], now: float) -> Scores:
        own = _vector(baskets, len(log.items), options)
        distance = squares - 2 * np.asarray((vectors @ own.T).todense()).ravel()
        distance[number_of.get(user, [])] = np.inf
        n = min(options.neighbours, len(distance) - 1)
        nearest = np.argpartition(distance, n)[:n] if n > 0 else np.zeros(0, dtype=np.int64)
        scores = options.own * own.toarray().ravel() + popularity
        if len(nearest):
            scores += (1 - options.own) * np.asarray(vectors[nearest].mean(axis=0)).ravel()
        return np.asarray(scores, dtype=np.float64)

    return score


BASKET_SCORES: dict[str, Callable[[EventLog], BasketScore]] = {
    "own-frequency": own_frequency,
    "own-recency": own_recency,
    "season-popularity": season_popularity,
    "tifu-knn": tifu_knn,
}


def basket_system(
    data: EvaluationData, *, name: str, fit: Callable[[EventLog], BasketScore]
) -> ScoredCatalogue:
    """Build a system that scores by baskets, fitted on the train events."""
    score, row_of = fit(data.log), data.log.row_of

    def score_case(case: Case) -> Scores:
        baskets = [
            np.array([row_of[event.item_id] for event in basket], dtype=np.int64)
            for _, basket in groupby(case.history, key=lambda event: event.timestamp)
        ]
        return score(case.user_id, baskets, case.target.timestamp or 0.0)

    return ScoredCatalogue(name, data.log, score_case, data.log.hash)


def _vector(baskets: Sequence[Rows], n_items: int, options: TifuOptions) -> sp.csr_matrix:
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


def _train_baskets(items: npt.NDArray[np.int32], times: npt.NDArray[np.float64]) -> list[Rows]:
    """Split a user's events where the time changes."""
    return np.split(items.astype(np.int64), np.flatnonzero(np.diff(times)) + 1)


def _popularity(log: EventLog) -> Scores:
    """Return popularity so small that it orders ties alone."""
    counts: Scores = log.counts.astype(np.float64)
    little: Scores = LITTLE * counts / (counts.max(initial=0) + 1)
    return little


BASKET_BASELINES: dict[str, SystemFactory] = {
    name: partial(basket_system, name=name, fit=fit) for name, fit in BASKET_SCORES.items()
}
