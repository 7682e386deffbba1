"""Several retrievers as one, joined by rank."""

from __future__ import annotations

from collections.abc import Mapping

from recsys.errors import ConfigError
from recsys.types import Candidate, Item
from retrieval.base import Query, Retriever

MIN_DEPTH = 100
DEPTH_FACTOR = 5


class HybridRetriever:
    """Weighted reciprocal rank fusion of named channels.

    `channels` maps a name to a retriever and its weight (0 or more); a channel of
    weight 0 is never asked. An item scores the sum of `weight / (rrf_k + rank)`
    over the channels that found it. Raises ConfigError if no channel has weight.

    Cormack, Clarke and Büttcher: Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods, SIGIR 2009.
    """

    def __init__(self, channels: Mapping[str, tuple[Retriever, float]], rrf_k: int) -> None:
        self._channels = {name: channel for name, channel in channels.items() if channel[1] > 0}
        self._rrf_k = rrf_k
        if not self._channels:
            raise ConfigError(
                "no retrieval channel has any weight",
                hint="give [retriever] text_weight or popularity_weight a value above 0",
            )

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """The `n` best by fused score, which is what `score` holds.

        `source` is the channel whose term is largest, `channels` the rank in each
        channel that found the item, `because` is kept from the channel that says it.
        Each channel is asked for more than `n`, so that an item that is middling in
        all of them can still win.
        """
        depth = max(MIN_DEPTH, DEPTH_FACTOR * n)
        items: dict[str, Item] = {}
        ranks: dict[str, dict[str, int]] = {}
        because: dict[str, Mapping[str, float]] = {}
        for name, (retriever, _) in self._channels.items():
            for rank, candidate in enumerate(retriever.retrieve(query, depth), start=1):
                item_id = candidate.item.id
                items.setdefault(item_id, candidate.item)
                ranks.setdefault(item_id, {})[name] = rank
                if candidate.because:
                    because[item_id] = candidate.because

        terms = {item_id: self._terms(found) for item_id, found in ranks.items()}
        scores = {item_id: sum(term.values()) for item_id, term in terms.items()}
        best = sorted(scores, key=lambda item_id: (-scores[item_id], item_id))[: max(n, 0)]
        return [
            Candidate(
                item=items[item_id],
                score=scores[item_id],
                source=max(terms[item_id], key=terms[item_id].__getitem__),
                channels=ranks[item_id],
                because=because.get(item_id, {}),
            )
            for item_id in best
        ]

    def _terms(self, ranks: Mapping[str, int]) -> dict[str, float]:
        return {name: self._channels[name][1] / (self._rrf_k + rank) for name, rank in ranks.items()}
