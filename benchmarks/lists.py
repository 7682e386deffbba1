"""Lists to rank: the target of a held-out user among sampled items, as serving would ask for them."""

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
    """What serving would send for this user, had retrieval brought these candidates."""
    length = recommender.domain.ranker.history_length
    past = recommender.catalog.entries(case.history, recommender.domain.feedback)
    candidates = tuple(
        Candidate(item=recommender.catalog.by_id(item), score=0.0, source="sampled")
        for item in order or case.candidates or ()
    )
    profile = recommender.store.user(recommender.domain.name, case.user_id).profile
    return RankRequest(candidates, past[max(0, len(past) - length) :], Context(), profile)


def forget(engine: Any) -> None:
    """Empty the prefix cache of vLLM, where it runs in this process and nothing else asks it."""
    if llm := getattr(engine, "_llm", None):
        llm.reset_prefix_cache()


class Lists:
    """Requests of held-out users, each handed out once; it begins anew when all had their turn."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        events = recommender.store.interactions(recommender.domain.name)
        self.split = splits.leave_one_out(events)
        self.cases = sorted(self.split.cases, key=lambda case: case.user_id)
        random.Random(SEED).shuffle(self.cases)
        self.popularity = Counter(event.item_id for event in self.split.train)
        self._next = 0

    def take(self, users: int, size: int) -> list[splits.Case]:
        """The next users' cases, each with its target and size - 1 sampled items."""
        places = [(self._next + number) % len(self.cases) for number in range(users)]
        self._next += users
        catalogue = [item.id for item in self.recommender.catalog]
        part = dataclasses.replace(self.split, cases=tuple(self.cases[place] for place in places))
        return list(tasks.sampled(part, catalogue, size - 1, seed=SEED)[0].cases)

    def request(self, case: splits.Case, order: Sequence[str] | None = None) -> RankRequest:
        """`request_for` of this recommender."""
        return request_for(self.recommender, case, order)
