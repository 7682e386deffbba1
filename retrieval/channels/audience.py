"""New items for the people of a profile, by the texts that others choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import AudienceConfig
from recsys.data.dataset import EventLog
from recsys.types import Item
from retrieval.arrays import DoubleArray, FloatArray
from retrieval.base import DenseScores, Query
from retrieval.channels.profile import Fact, ProfileReader, Profiles
from retrieval.channels.text import TextChannel
from retrieval.table import ItemRows

PRIOR = 20.0
"""Events at which the direction of a value is half as long."""


@dataclass(frozen=True)
class AudienceChannel:
    """Scores items by how far their text lies where each value of the profile leads.

    The direction of a value ("grain merchant") is the mean text that the people who have it choose, less the
    mean text of all events: a value that changes little is short. Counting says nothing of an item that
    nobody has chosen; its text does.
    Rocchio: Relevance feedback in information retrieval, in The SMART Retrieval System, 1971.
    """

    text: TextChannel
    facts: Mapping[Fact, int]  # row of each in `directions`
    directions: FloatArray  # (facts, d)
    reader: ProfileReader
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score every item; None if nothing of the profile is known."""
        rows = [self.facts[fact] for fact in self.reader.facts(query.profile) if fact in self.facts]
        if not rows:
            return None
        positions = table.positions_in(self.text.index.ids)
        known = np.flatnonzero(positions >= 0)
        values = np.full(len(table), np.nan, dtype=np.float32)
        values[known] = self.text.index.vectors_at(positions[known]) @ self.directions[rows].sum(axis=0)
        return DenseScores(values)

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> AudienceChannel:
        """Return the channel over a changed index; the directions stay."""
        return dataclasses.replace(self, text=self.text.updated(changed, removed))


def fit_audience(
    log: EventLog, text: TextChannel, profiles: Profiles, config: AudienceConfig
) -> AudienceChannel | None:
    """Compute the direction of each value of a profile; None without any."""
    reader = ProfileReader.fitted(profiles, log.users, config.bins)
    of_user = [reader.facts(profiles.of_user.get(user, {})) for user in log.users]
    names = sorted({fact for facts in of_user for fact in facts})
    if not names or not len(log):
        return None
    sums, counts = _sums(log, text)
    mean = sums.sum(axis=0) / counts.sum()
    directions: dict[Fact, DoubleArray] = {}
    for fact in names:
        users = [row for row, facts in enumerate(of_user) if fact in facts]
        n = counts[users].sum()
        if len(users) >= config.least_users and n:
            directions[fact] = (sums[users].sum(axis=0) / n - mean) * n / (n + PRIOR)
    if not directions:
        return None
    return AudienceChannel(
        text,
        {fact: row for row, fact in enumerate(directions)},
        np.array(list(directions.values()), dtype=np.float32),
        reader,
    )


def _sums(log: EventLog, text: TextChannel) -> tuple[DoubleArray, DoubleArray]:
    """Return the sum of each user's texts, (users, d), and their number, (users,)."""
    rows = {item_id: row for row, item_id in enumerate(text.index.ids)}
    row_of = np.array([rows.get(item_id, -1) for item_id in log.items], dtype=np.int64)
    known = row_of[log.item] >= 0
    users, events = log.user[known], row_of[log.item[known]]
    sums = np.zeros((len(log.users), text.index.dimension))
    for first in range(0, len(events), BLOCK):
        block = slice(first, first + BLOCK)
        np.add.at(sums, users[block], text.index.vectors_at(events[block]))
    return sums, np.bincount(users, minlength=len(log.users)).astype(np.float64)


BLOCK = 20_000
"""Events whose texts are in memory at once."""
