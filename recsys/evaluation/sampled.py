"""The "target + n sampled" protocol, kept for comparison with papers.

Leave-one-out: each user's last event (ties broken by the order of the file) is
the target; it is ranked among n items drawn uniformly from those the user never
met. Easier than ranking the whole catalogue: figures of the two do not compare
(Krichene and Rendle, KDD 2020).
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.types import Interaction


@dataclass(frozen=True)
class Case:
    """One held-out event: `history` is everything before it, oldest first.

    `candidates` are the target and the sampled items, shuffled.
    """

    user_id: str
    history: tuple[Interaction, ...]
    target: str
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap 95 % interval over n users."""

    value: float
    low: float
    high: float
    n: int


def held_out_cases(
    events: Sequence[Interaction], catalog: Sequence[str], *, users: int, sampled: int, seed: int
) -> list[Case]:
    """Cases of `users` users drawn at random among those with at least two events.

    `events` are in time order. The draw depends on the seed alone.
    """
    by_user: dict[str, list[Interaction]] = defaultdict(list)
    for event in events:
        by_user[event.user_id].append(event)
    chance = random.Random(seed)
    eligible = sorted(user for user, own in by_user.items() if len(own) > 1)
    cases = []
    for user in sorted(chance.sample(eligible, min(users, len(eligible)))):
        *history, last = by_user[user]
        met = {event.item_id for event in by_user[user]}
        unseen = [item for item in catalog if item not in met]
        candidates = [last.item_id, *chance.sample(unseen, min(sampled, len(unseen)))]
        chance.shuffle(candidates)
        cases.append(Case(user, tuple(history), last.item_id, tuple(candidates)))
    return cases


def training_counts(events: Sequence[Interaction]) -> Counter[str]:
    """How often each item was met, the last event of every user left out."""
    last = {event.user_id: position for position, event in enumerate(events)}
    held_out = set(last.values())
    return Counter(event.item_id for position, event in enumerate(events) if position not in held_out)


def ndcg(ranked: Sequence[str], target: str, k: int = 10) -> float:
    """NDCG@k with one relevant item: 1 / log2(1 + rank), 0 below rank k."""
    rank = ranked.index(target) + 1 if target in ranked else k + 1
    return 1 / math.log2(1 + rank) if rank <= k else 0.0


def bootstrap(values: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Mean over users with a percentile bootstrap 95 % interval."""
    array = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(array), size=(resamples, len(array)))
    low, high = np.percentile(array[draws].mean(axis=1), [2.5, 97.5])
    return Interval(float(array.mean()), float(low), float(high), len(array))
