"""Channels asked about a moment of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from retrieval.base import Channel, ChannelAnswer, Query
from retrieval.pool import PooledAnswer
from retrieval.table import ItemRows


@dataclass(frozen=True)
class RetrieverState:
    """What a request reads: a table of items and the channels that fit it. Never changes."""

    table: ItemRows
    channels: Mapping[str, Channel]


def ask(query: Query, state: RetrieverState, names: Sequence[str]) -> dict[str, PooledAnswer]:
    """The answers of the named channels that have one."""
    return ask_many([query], state, [names])[0]


def ask_many(
    queries: Sequence[Query], state: RetrieverState, names: Sequence[Sequence[str]]
) -> list[dict[str, PooledAnswer]]:
    """`ask` for many queries; a channel that answers several faster at once does."""
    answers: list[dict[str, PooledAnswer]] = [{} for _ in queries]
    for name in dict.fromkeys(name for those in names for name in those):
        if (channel := state.channels.get(name)) is None:
            continue
        places = [place for place, those in enumerate(names) if name in those]
        own = [queries[place] for place in places]
        many: Callable[[list[Query], ItemRows], list[ChannelAnswer | None]] | None
        many = getattr(channel, "ask_many", None)
        found = many(own, state.table) if many else [channel.ask(query, state.table) for query in own]
        for place, answer in zip(places, found, strict=True):
            if answer is not None:
                answers[place][name] = PooledAnswer(answer, channel.evidence_count)
    return answers
