"""What people of the same profile choose: of a disease, an age, a country."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config import Domain
from recsys.config.attributes import AttributeType
from recsys.config.retrieval import ProfileConfig
from recsys.context.pii import mask_user
from recsys.data.dataset import EventLog
from recsys.knowledge.fields import profile_values
from recsys.types import Item, User
from retrieval.arrays import DoubleArray, RowArray
from retrieval.base import DenseScores, Query, StaticChannel, scatter
from retrieval.table import ItemRows

Fact = tuple[str, str]
"""A field of a profile and one of its values: ("diseases", "Gout (M10.9)")."""

ROUNDS = 30  # of expectation and maximisation
SMOOTHINGS = (1, 3, 10, 30, 100, 300, 1_000, 10_000, 100_000)
"""Events that a field's prior may count for."""
MATCHES = (0.0, 0.3, 0.6, 0.9)
"""Shares of the prior that items may have which have the value as an attribute."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Profiles:
    """The profiles of all users, masked as in a prompt, and the types of their fields."""

    of_user: Mapping[str, Mapping[str, str]]
    types: Mapping[str, AttributeType]

    @classmethod
    def of(cls, domain: Domain, users: Iterable[User]) -> Profiles:
        """Read the profiles of users of a domain."""
        of_user = {user.id: mask_user(user, domain.privacy).profile for user in users}
        return cls(of_user, domain.users.types if domain.users else {})


@dataclass(frozen=True)
class ProfileReader:
    """Reads a profile: the values of a list each by itself, numbers by quantile."""

    types: Mapping[str, AttributeType]
    edges: Mapping[str, DoubleArray]  # of the quantiles of a number, ascending

    @classmethod
    def fitted(cls, profiles: Profiles, users: Sequence[str], bins: int) -> ProfileReader:
        """Find the quantiles of numbers among some users."""
        numbers: dict[str, list[float]] = defaultdict(list)
        for user in users:
            for name, text in profiles.of_user.get(user, {}).items():
                if (number := _number(text)) is not None and _is_number(profiles.types.get(name)):
                    numbers[name].append(number)
        inner = np.linspace(0, 1, bins + 1)[1:-1]
        edges = {name: np.unique(np.quantile(values, inner)) for name, values in numbers.items()}
        return cls(profiles.types, edges)

    def facts(self, profile: Mapping[str, str]) -> list[Fact]:
        """Return the facts of a profile, each once."""
        facts = [(name, value) for name, text in profile.items() for value in self._values(name, text)]
        return list(dict.fromkeys(facts))

    def _values(self, name: str, text: str) -> list[str]:
        kind = self.types.get(name)
        if _is_number(kind):
            if (number := _number(text)) is None or name not in self.edges:
                return []
            return [f"quantile {np.searchsorted(self.edges[name], number)}"]
        return [value.casefold() for value in profile_values(text, kind)]


@dataclass(frozen=True)
class ProfileChannel(StaticChannel):
    """Scores items by log p(item | profile).

    The fields of a profile are independent given the item; several values of one field are alternatives,
    one of which an item is chosen for: p(item | field) is the mean of p(item | value). What the history
    was chosen for already counts less, by `explained`.
    """

    items: tuple[str, ...]
    base: DoubleArray  # (items,): p(item)
    facts: Mapping[Fact, int]  # row of each in `given`
    given: DoubleArray  # (facts, items): p(item | fact)
    reader: ProfileReader
    config: ProfileConfig
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Return log p(item | profile); None if nothing of the profile is known."""
        by_field: dict[str, list[int]] = defaultdict(list)
        for fact in self.reader.facts(query.profile):
            if (row := self.facts.get(fact)) is not None:
                by_field[fact[0]].append(row)
        if not by_field:
            return None
        chosen = self._rows(query)
        scores = np.log(self.base)
        for rows in by_field.values():
            mean = self._weights(rows, chosen) @ self.given[rows]
            scores = scores + np.log(mean) - np.log(self.base)
        return DenseScores(scatter(table, self.items, scores.astype(np.float32)))

    def _weights(self, rows: Sequence[int], chosen: RowArray) -> DoubleArray:
        """Return the share of each value of a field, (values,)."""
        left = np.ones(len(rows))
        if self.config.explained and len(rows) > 1 and len(chosen):
            given = self.given[list(rows)][:, chosen]
            left = (1 - self.config.explained * given / given.sum(axis=0)).prod(axis=1)
        left = np.maximum(left, 1e-6)
        shares: DoubleArray = left / left.sum()
        return shares

    def _rows(self, query: Query) -> RowArray:
        row_of = {item_id: row for row, item_id in enumerate(self.items)}
        rows = (row_of.get(entry.item.id, -1) for entry in query.history)
        return np.array([row for row in rows if row >= 0], dtype=np.int64)


def fit_profile(
    log: EventLog, items: Sequence[Item], profiles: Profiles, config: ProfileConfig
) -> ProfileChannel | None:
    """Fit p(item | fact) by EM; None if no user has a profile.

    Of several values of a field each event is shared out by how likely they make it, as in labelled LDA.
    p(item | fact) is shrunk towards p(item) and towards the items that have the value as an attribute; how
    far, for all values of a field alike, is what predicts each event best from the others. A value of fewer
    than `least_users` says nothing.

    Ramage et al.: Labeled LDA, a supervised topic model, EMNLP 2009.
    """
    reader = ProfileReader.fitted(profiles, log.users, config.bins)
    of_user = [reader.facts(profiles.of_user.get(user, {})) for user in log.users]
    users_of: dict[Fact, int] = defaultdict(int)
    for facts in of_user:
        for fact in facts:
            users_of[fact] += 1
    names = sorted(fact for fact, count in users_of.items() if count >= config.least_users)
    if not names or not len(log):
        return None
    row_of = {fact: row for row, fact in enumerate(names)}
    base = (log.counts + 0.5) / (log.counts.sum() + 0.5 * len(log.items))
    having = _having(names, log, items, base)
    given = np.tile(base, (len(names), 1))
    for field in dict.fromkeys(field for field, _ in names):
        rows = [[row_of[fact] for fact in facts if fact[0] == field and fact in row_of] for facts in of_user]
        first = next(row for row, fact in enumerate(names) if fact[0] == field)
        of_field = slice(first, first + sum(fact[0] == field for fact in names))
        given[of_field] = _fitted(base, having[of_field], first, rows, log)
    return ProfileChannel(log.items, base, row_of, given, reader, config)


def _having(names: Sequence[Fact], log: EventLog, items: Sequence[Item], base: DoubleArray) -> DoubleArray:
    """Return p(item) among those with a value as an attribute, (facts, items)."""
    rows_of: dict[str, set[int]] = defaultdict(set)
    for item in items:
        for value in (value for values in item.attributes.values() for value in values):
            if item.id in log.row_of:
                rows_of[value.casefold()].add(log.row_of[item.id])
    having = np.zeros((len(names), len(log.items)))
    for row, (_, value) in enumerate(names):
        if matching := sorted(rows_of.get(value, ())):
            having[row, matching] = base[matching] / base[matching].sum()
    return having


def _fitted(
    base: DoubleArray, having: DoubleArray, first: int, rows: Sequence[Sequence[int]], log: EventLog
) -> DoubleArray:
    """Return p(item | value) of one field, (values, items).

    Args:
        base: p(item), (items,).
        having: The same among the items that have the value, (values, items).
        first: The row of its first value.
        rows: The rows of each user's values.
        log: The events.
    """
    length = np.array([len(of_user) for of_user in rows])
    begin = np.cumsum(length) - length
    values = np.array([row - first for of_user in rows for row in of_user], dtype=np.int64)
    times = length[log.user]  # of each event: how many values its user has
    event = np.repeat(np.arange(len(log)), times)
    number = np.arange(len(event)) - np.repeat(np.cumsum(times) - times, times)
    value = values[begin[log.user[event]] + number] if len(values) else values
    cell = value * len(log.items) + log.item[event]
    rounds = ROUNDS if length.max(initial=0) > 1 else 1
    has = having.any(axis=1, keepdims=True)
    best, most = np.tile(base, (len(having), 1)), -np.inf
    for smoothing, match in itertools.product(SMOOTHINGS, MATCHES if has.any() else MATCHES[:1]):
        prior = np.where(has, (1 - match) * base + match * having, base)
        given = prior
        for _ in range(rounds):
            likely = given.ravel()[cell]
            share = likely / np.bincount(event, likely, minlength=len(log))[event]
            counts = np.bincount(cell, share, minlength=prior.size).reshape(prior.shape)
            total = counts.sum(axis=1)
            given = (counts + smoothing * prior) / (total[:, None] + smoothing)
        others = counts.ravel()[cell] - share + smoothing * prior.ravel()[cell]
        left_out = others / (total[value] - share + smoothing) / times[event]
        likelihood = np.log(np.bincount(event, left_out, minlength=len(log))[times > 0]).sum()
        if likelihood > most:
            best, most = given, likelihood
    return best


def _is_number(kind: AttributeType | None) -> bool:
    return kind is not None and kind.ordered


def _number(text: str) -> float | None:
    found = _NUMBER.search(text)
    return float(found[0]) if found else None
