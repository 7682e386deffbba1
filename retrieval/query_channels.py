"""The state that a request reads, and its channels' scores of queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from recsys.knowledge.relations import RelationGraph
from retrieval.base import Channel, ChannelScores, Query
from retrieval.channels.related import RelatedChannel
from retrieval.pool import PooledScores
from retrieval.table import ItemRows


@dataclass(frozen=True)
class RetrieverState:
    """A table of items and the channels over it. Immutable."""

    table: ItemRows
    channels: Mapping[str, Channel]
    missing: Mapping[str, str] = field(default_factory=dict)  # channels that will join, and why they have not

    @property
    def relations(self) -> RelationGraph:
        """What its items are to each other."""
        channel = self.channels.get("related")
        return channel.graph if isinstance(channel, RelatedChannel) else RelationGraph()


def score_query(query: Query, state: RetrieverState, names: Sequence[str]) -> dict[str, PooledScores]:
    """Return the scores of those of the named channels that have any."""
    return score_queries([query], state, [names])[0]


def score_queries(
    queries: Sequence[Query], state: RetrieverState, names: Sequence[Sequence[str]]
) -> list[dict[str, PooledScores]]:
    """Return for each query the scores of its named channels.

    A channel gets all its queries at once.
    """
    by_query: list[dict[str, PooledScores]] = [{} for _ in queries]
    for name in dict.fromkeys(name for of_query in names for name in of_query):
        if (channel := state.channels.get(name)) is None:
            continue
        positions = [position for position, of_query in enumerate(names) if name in of_query]
        results = _score_many(channel, [queries[position] for position in positions], state.table)
        for position, scores in zip(positions, results, strict=True):
            if scores is not None:
                by_query[position][name] = PooledScores(scores, channel.evidence_count)
    return by_query


def _score_many(channel: Channel, queries: list[Query], table: ItemRows) -> list[ChannelScores | None]:
    score_many: Callable[[list[Query], ItemRows], list[ChannelScores | None]] | None
    score_many = getattr(channel, "score_many", None)
    return score_many(queries, table) if score_many else [channel.score(query, table) for query in queries]
