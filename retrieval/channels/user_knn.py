"""What people with a similar past choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recsys.config.retrieval import UserKnnConfig
from recsys.data.dataset import EventLog
from retrieval.arrays import FloatArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.channels.repeat import choices_of, decayed_choices
from retrieval.sampling import sample_users
from retrieval.table import ItemRows

MOST_EVENTS = 2_000_000
"""Events of the users who are compared; of a longer log, a sample of users."""


@dataclass(frozen=True)
class UserKnnChannel(StaticChannel):
    """Scores items by the mean of the vectors of the nearest users.

    A vector holds the decayed choices of each item, as a share of those of the user's most chosen one. The
    nearest users are the neighbours of TIFU-kNN, whose other half, the user's own choices, is the channel
    `repeat`.
    Hu et al.: Modeling personalized item frequency information for next-basket recommendation, SIGIR 2020.
    """

    items: tuple[str, ...]
    vectors: sp.csr_matrix  # (users, items)
    config: UserKnnConfig
    evidence_count: bool = True

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score all items; None if no item of the history is known."""
        return self.score_many([query], table)[0]

    def score_many(self, queries: Sequence[Query], table: ItemRows) -> list[DenseScores | None]:
        """Score the items for several queries, with one pass over the vectors."""
        profiles = np.stack([self._profile(query) for query in queries], axis=1)
        # Squared distance less the square of the query itself, which changes no order.
        distances = self._squares[:, None] - 2 * (self.vectors @ profiles)
        known = [bool(profile.any()) for profile in profiles.T]
        return [
            self._score(distance, table) if has_history else None
            for distance, has_history in zip(distances.T, known, strict=True)
        ]

    def _score(self, distance: FloatArray, table: ItemRows) -> DenseScores:
        n = min(self.config.neighbours, len(distance))
        nearest = np.argpartition(distance, n - 1)[:n]
        mean = np.asarray(self.vectors[nearest].mean(axis=0), dtype=np.float32).ravel()
        return DenseScores(scatter(table, self.items, mean))

    def _profile(self, query: Query) -> FloatArray:
        """Return the vector of a history, (items,)."""
        profile = np.zeros(len(self.items), dtype=np.float32)
        known = [entry for entry in query.history if entry.item.id in self._row_of]
        if known:
            choices = choices_of(known, self.config.half_life_days)
            profile[[self._row_of[entry.item.id] for entry in known]] = choices / choices.max()
        return profile

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.items)}

    @cached_property
    def _squares(self) -> FloatArray:
        return np.asarray(self.vectors.multiply(self.vectors).sum(axis=1), dtype=np.float32).ravel()


def fit_user_knn(log: EventLog, config: UserKnnConfig) -> UserKnnChannel | None:
    """Make a vector of each user, or of a sample of them; None without events."""
    if not len(log):
        return None
    log = sample_users(log, MOST_EVENTS)
    order = np.lexsort((log.time, log.item, log.user))
    pair = (log.user.astype(np.int64) * len(log.items) + log.item)[order]
    begin = np.flatnonzero(np.diff(pair, prepend=-1))
    number = np.diff(np.append(begin, len(pair)))
    user, item = log.user[order[begin]], log.item[order[begin]]
    first, last = log.time[order[begin]], log.time[order[begin + number - 1]]
    # A user's newest event is "now": a later moment would scale the whole vector.
    now = np.full(len(log.users), -np.inf)
    np.fmax.at(now, user, last)
    choices = decayed_choices(number, first, last, now[user], config.half_life_days)
    most = np.zeros(len(log.users))
    np.maximum.at(most, user, choices)
    values = (choices / most[user]).astype(np.float32)
    shape = (len(log.users), len(log.items))
    return UserKnnChannel(log.items, sp.csr_matrix((values, (user, item)), shape=shape), config)
