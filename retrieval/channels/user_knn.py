"""What people with a similar past choose."""

from __future__ import annotations

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
        known = [entry for entry in query.history if entry.item.id in self._row_of]
        if not known:
            return None
        choices = choices_of(known, self.config.half_life_days)
        values = {self._row_of[entry.item.id]: choice for entry, choice in zip(known, choices, strict=True)}
        profile = np.array(list(values.values()), dtype=np.float32) / np.float32(choices.max())
        # Squared distance less the square of the query itself, which changes no order.
        distance = self._squares - 2 * (self._by_item[list(values)].T @ profile)
        n = min(self.config.neighbours, len(distance))
        nearest = np.argpartition(distance, n - 1)[:n]
        mean = np.asarray(self.vectors[nearest].mean(axis=0), dtype=np.float32).ravel()
        return DenseScores(scatter(table, self.items, mean))

    @cached_property
    def _by_item(self) -> sp.csr_matrix:
        """The vectors by item, (items, users): a query reads those of its history alone."""
        return self.vectors.T.tocsr()

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
