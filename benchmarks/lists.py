"""Lists to rank: a held-out user's target among sampled items, as served."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from recsys.data import splits
from recsys.evaluation.protocol import tasks
from recsys.ranking import RankRequest
from recsys.recommender.recommender import Recommender
from recsys.types import Candidate, Context

SEED = 7


def request_for(
    recommender: Recommender, case: splits.Case, order: Sequence[str] | None = None
) -> RankRequest:
    """Build the request that serving would send for this user and these candidates."""
    length = recommender.domain.ranker.history_length
    history = recommender.catalog.entries(case.history, recommender.domain.feedback)
    candidates = tuple(
        Candidate(item=recommender.catalog.by_id(item), score=0.0, source="sampled")
        for item in order or case.candidates or ()
    )
    profile = recommender.store.user(recommender.domain.name, case.user_id).profile
    return RankRequest(candidates, history[max(0, len(history) - length) :], Context(), profile)


def forget(engine: Any) -> None:
    """Empty the prefix cache of vLLM, if it runs in this process; it must be idle."""
    if llm := getattr(engine, "_llm", None):
        llm.reset_prefix_cache()


class Lists:
    """Requests of held-out users, each taken once; after the last one they start over."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        events = recommender.store.interactions(recommender.domain.name)
        self.split = splits.leave_one_out(events)
        self.cases = sorted(self.split.cases, key=lambda case: case.user_id)
        random.Random(SEED).shuffle(self.cases)
        self.popularity = Counter(event.item_id for event in self.split.train)
        self._next = 0

    def take(self, users: int, size: int) -> list[splits.Case]:
        """Return the next users' cases, each with its target and size - 1 sampled items."""
        numbers = [(self._next + number) % len(self.cases) for number in range(users)]
        self._next += users
        item_ids = [item.id for item in self.recommender.catalog]
        part = dataclasses.replace(self.split, cases=tuple(self.cases[number] for number in numbers))
        return list(tasks.sampled(part, item_ids, size - 1, seed=SEED)[0].cases)

    def request(self, case: splits.Case, order: Sequence[str] | None = None) -> RankRequest:
        """Build the request of a case, see `request_for`."""
        return request_for(self.recommender, case, order)
