"""Baselines, fitted on the train events alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.dataset import DISLIKED, LIKED, EventLog
from recsys.data.splits import Case
from recsys.evaluation.protocol.base import EvaluationData, Ranked, SystemFactory
from recsys.prompting.wishes import contains_title
from recsys.types import Interaction, Item

Scores = npt.NDArray[np.float64]

RECENT = 0.1  # share of the time span of train
PRIOR = 2.0  # rated events that the overall share counts for


@dataclass(frozen=True)
class ScoredCatalogue:
    """A system that scores every item of the catalogue; ties are ordered by item id."""

    name: str
    log: EventLog
    score: Callable[[Case], Scores]  # one score for each of `log.items`, whose ids ascend
    fitted_on: str | None = None
    probabilities: bool = False

    def rank(self, case: Case, depth: int) -> Ranked:
        """Rank the candidates, or return the best `depth` items outside the history."""
        scores, ids = self.score(case), self.log.items
        if case.candidates is None:
            seen = set() if case.repeats else {self.log.row_of[event.item_id] for event in case.history}
            rows = [int(row) for row in np.argsort(-scores, kind="stable") if row not in seen][:depth]
        else:
            candidates = sorted(self.log.row_of[item] for item in case.candidates)
            rows = [candidates[index] for index in np.argsort(-scores[candidates], kind="stable")]
        return Ranked(tuple(ids[row] for row in rows), tuple(float(scores[row]) for row in rows))


def random_order(data: EvaluationData) -> ScoredCatalogue:
    """Rank in random order, from seed and user id."""

    def score(case: Case) -> Scores:
        digest = hashlib.sha256(f"{data.seed}/{case.user_id}".encode("utf-8", "surrogatepass")).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big")).random(len(data.log.items))

    return ScoredCatalogue("random", data.log, score)


def popularity(data: EvaluationData) -> ScoredCatalogue:
    """Rank by the number of train events."""
    counts = data.log.counts.astype(np.float64)
    return ScoredCatalogue("popularity", data.log, lambda case: counts, data.log.hash)


def recent_popularity(data: EvaluationData, share: float = RECENT) -> ScoredCatalogue:
    """Rank by events in the last `share` of the time span of train, ties by all.

    Events without a time are the last `share` of train in order of arrival, if none has one.
    """
    recent = Counter(event.item_id for event in _recent(data.split.train, share))
    counts = data.log.counts / (len(data.log) + 1)
    scores = np.array([recent[item] for item in data.log.items], dtype=np.float64) + counts
    return ScoredCatalogue("recent-popularity", data.log, lambda case: scores, data.log.hash)


def liked_share(data: EvaluationData) -> ScoredCatalogue:
    """Score every item by the share of the user's rated history that they liked.

    A model that knows which users like everything, and nothing about items, reaches this
    AUC: the floor for rated pairs.
    """
    overall, feedback = _overall(data), data.domain.feedback

    def score(case: Case) -> Scores:
        rated = [liked for event in case.history if (liked := feedback.liked(event.rating)) is not None]
        share = (sum(rated) + PRIOR * overall) / (len(rated) + PRIOR)
        return np.full(len(data.log.items), share)

    return ScoredCatalogue("liked-share", data.log, score, data.log.hash, probabilities=True)


def item_liked_share(data: EvaluationData) -> ScoredCatalogue:
    """Score an item by the liked share of its rated train events, for every user."""
    log, rows = data.log, len(data.log.items)
    liked = np.bincount(log.item[log.preference == LIKED], minlength=rows)
    disliked = np.bincount(log.item[log.preference == DISLIKED], minlength=rows)
    shares = (liked + PRIOR * _overall(data)) / (liked + disliked + PRIOR)
    return ScoredCatalogue("item-liked-share", log, lambda case: shares, log.hash, probabilities=True)


def _overall(data: EvaluationData) -> float:
    """Return the liked share of all rated train events; a half if there are none."""
    rated = data.log.preference[(data.log.preference == LIKED) | (data.log.preference == DISLIKED)]
    return float((rated == LIKED).mean()) if len(rated) else 0.5


def _recent(train: Sequence[Interaction], share: float) -> Sequence[Interaction]:
    times = [event.timestamp for event in train if event.timestamp is not None]
    if not times:
        return train[len(train) - round(share * len(train)) :]
    since = max(times) - share * (max(times) - min(times))
    return [event for event in train if event.timestamp is not None and event.timestamp >= since]


def words_then_popularity(data: EvaluationData) -> ScoredCatalogue:
    """Rank by how many attributes of an item, its year and decade the wish names.

    Ties are ordered by popularity. A search form does as much: a model that does not beat
    this is of no use for wishes.
    """
    log = data.log
    facts = [_facts(data.by_id[item]) for item in log.items]
    known = sorted(frozenset().union(*facts))
    has = np.array([[fact in item_facts for fact in known] for item_facts in facts], dtype=np.float64)
    popularity = log.counts / (int(log.counts.max(initial=0)) + 1)

    def score(case: Case) -> Scores:
        return (
            has @ np.array([contains_title(case.wish, fact) for fact in known], dtype=np.float64) + popularity
        )

    return ScoredCatalogue("words", log, score, log.hash)


def _facts(item: Item) -> frozenset[str]:
    years = (str(item.year), f"{item.year // 10 * 10}s") if item.year else ()
    return frozenset((*years, *(value for values in item.attributes.values() for value in values)))


BASELINES: dict[str, SystemFactory] = {
    "random": random_order,
    "popularity": popularity,
    "recent-popularity": recent_popularity,
    "liked-share": liked_share,
    "item-liked-share": item_liked_share,
}
