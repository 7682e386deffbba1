"""What any recommender has to beat, learned from the train events and nothing else."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.dataset import DISLIKED, LIKED, EventLog
from recsys.data.splits import Case
from recsys.evaluation.protocol.base import EvaluationData, Factory, Ranked
from recsys.prompting.wishes import says
from recsys.types import Interaction, Item

Scores = npt.NDArray[np.float64]

RECENT = 0.1  # the last tenth of train's time
PRIOR = 2.0  # judged events that the share over everybody counts for


@dataclass(frozen=True)
class ScoredCatalogue:
    """A system that gives every item of the catalogue a number; ties are ordered by item id.

    `score(case)` has one number for each of `log.items`, whose ids ascend.
    """

    name: str
    log: EventLog
    score: Callable[[Case], Scores]
    fitted_on: str | None = None
    probabilities: bool = False

    def rank(self, case: Case, depth: int) -> Ranked:
        """All candidates, or the best `depth` items outside the history."""
        scores, ids = self.score(case), self.log.items
        if case.candidates is None:
            met = {self.log.row_of[event.item_id] for event in case.history}
            rows = [int(row) for row in np.argsort(-scores, kind="stable") if row not in met][:depth]
        else:
            wanted = sorted(self.log.row_of[item] for item in case.candidates)
            rows = [wanted[place] for place in np.argsort(-scores[wanted], kind="stable")]
        return Ranked(tuple(ids[row] for row in rows), tuple(float(scores[row]) for row in rows))


def random_order(data: EvaluationData) -> ScoredCatalogue:
    """Any order, drawn for each user from seed and user id."""

    def score(case: Case) -> Scores:
        digest = hashlib.sha256(f"{data.seed}/{case.user_id}".encode("utf-8", "surrogatepass")).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big")).random(len(data.log.items))

    return ScoredCatalogue("random", data.log, score)


def popularity(data: EvaluationData) -> ScoredCatalogue:
    """Most events in train first."""
    counts = data.log.counts.astype(np.float64)
    return ScoredCatalogue("popularity", data.log, lambda case: counts, data.log.hash)


def recent_popularity(data: EvaluationData, share: float = RECENT) -> ScoredCatalogue:
    """Most events in the last `share` of train's time span first, ties by all of train.

    Events without a time are the last `share` of train in order of arrival, if none has one.
    """
    recent = Counter(event.item_id for event in _recent(data.split.train, share))
    counts = data.log.counts / (len(data.log) + 1)
    scores = np.array([recent[item] for item in data.log.items], dtype=np.float64) + counts
    return ScoredCatalogue("recent-popularity", data.log, lambda case: scores, data.log.hash)


def liked_share(data: EvaluationData) -> ScoredCatalogue:
    """The share of the user's own judged history that they liked, whatever the item.

    A model that is trained to say "liked" can reach the AUC of this by knowing who likes
    everything, and nothing of items: what rated pairs are measured against.
    """
    overall, feedback = _overall(data), data.domain.feedback

    def score(case: Case) -> Scores:
        judged = [liked for event in case.history if (liked := feedback.liked(event.rating)) is not None]
        share = (sum(judged) + PRIOR * overall) / (len(judged) + PRIOR)
        return np.full(len(data.log.items), share)

    return ScoredCatalogue("liked-share", data.log, score, data.log.hash, probabilities=True)


def item_liked_share(data: EvaluationData) -> ScoredCatalogue:
    """The share of an item's judged train events that are liked, whoever asks."""
    log, rows = data.log, len(data.log.items)
    liked = np.bincount(log.item[log.preference == LIKED], minlength=rows)
    disliked = np.bincount(log.item[log.preference == DISLIKED], minlength=rows)
    shares = (liked + PRIOR * _overall(data)) / (liked + disliked + PRIOR)
    return ScoredCatalogue("item-liked-share", log, lambda case: shares, log.hash, probabilities=True)


def _overall(data: EvaluationData) -> float:
    """The liked share of all judged train events; a half if there is none."""
    judged = data.log.preference[(data.log.preference == LIKED) | (data.log.preference == DISLIKED)]
    return float((judged == LIKED).mean()) if len(judged) else 0.5


def _recent(train: Sequence[Interaction], share: float) -> Sequence[Interaction]:
    times = [event.timestamp for event in train if event.timestamp is not None]
    if not times:
        return train[len(train) - round(share * len(train)) :]
    since = max(times) - share * (max(times) - min(times))
    return [event for event in train if event.timestamp is not None and event.timestamp >= since]


def words_then_popularity(data: EvaluationData) -> ScoredCatalogue:
    """By how many of an item's attributes, year and decade the wish says; ties by popularity.

    What a search form does: a model is worth nothing for wishes unless it beats this.
    """
    log = data.log
    facts = [_facts(data.by_id[item]) for item in log.items]
    known = sorted(frozenset().union(*facts))
    has = np.array([[fact in own for fact in known] for own in facts], dtype=np.float64)
    popularity = log.counts / (int(log.counts.max(initial=0)) + 1)

    def score(case: Case) -> Scores:
        return has @ np.array([says(case.wish, fact) for fact in known], dtype=np.float64) + popularity

    return ScoredCatalogue("words", log, score, log.hash)


def _facts(item: Item) -> frozenset[str]:
    years = (str(item.year), f"{item.year // 10 * 10}s") if item.year else ()
    return frozenset((*years, *(value for those in item.attributes.values() for value in those)))


BASELINES: dict[str, Factory] = {
    "random": random_order,
    "popularity": popularity,
    "recent-popularity": recent_popularity,
    "liked-share": liked_share,
    "item-liked-share": item_liked_share,
}
