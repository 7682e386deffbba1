"""The items most people met: the channel that always has an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from recsys.types import Candidate, Item
from retrieval.base import Query


class PopularityRetriever:
    """Items by how often they were met; the same list for everyone.

    `counts` is the number of interactions per item id; an item that is not in it
    counts as never met and comes last. Ties are ordered by item id.
    """

    def __init__(self, items: Sequence[Item], counts: Mapping[str, int]) -> None:
        scored = [(item, float(counts.get(item.id, 0))) for item in items]
        self._ranking = sorted(scored, key=lambda pair: (-pair[1], pair[0].id))

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """The `n` most met items that are not excluded; the score is the count."""
        allowed = ((item, count) for item, count in self._ranking if item.id not in query.exclude)
        return [
            Candidate(item=item, score=count, source="popularity", channels={"popularity": rank})
            for rank, (item, count) in enumerate(islice(allowed, max(n, 0)), start=1)
        ]
