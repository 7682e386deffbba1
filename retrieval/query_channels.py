"""Channels asked about a moment of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from retrieval.base import Answer, Channel, Query
from retrieval.pool import Asked
from retrieval.table import ItemTable


@dataclass(frozen=True)
class State:
    """What a request reads: a table of items and the channels that fit it. Never changes."""

    table: ItemTable
    channels: Mapping[str, Channel]


def ask(query: Query, state: State, names: Sequence[str]) -> dict[str, Asked]:
    """The answers of the named channels that have one."""
    return ask_many([query], state, [names])[0]


def ask_many(
    queries: Sequence[Query], state: State, names: Sequence[Sequence[str]]
) -> list[dict[str, Asked]]:
    """`ask` for many queries; a channel that answers several faster at once does."""
    answers: list[dict[str, Asked]] = [{} for _ in queries]
    for name in dict.fromkeys(name for those in names for name in those):
        if (channel := state.channels.get(name)) is None:
            continue
        places = [place for place, those in enumerate(names) if name in those]
        own = [queries[place] for place in places]
        many: Callable[[list[Query], ItemTable], list[Answer | None]] | None
        many = getattr(channel, "ask_many", None)
        found = many(own, state.table) if many else [channel.ask(query, state.table) for query in own]
        for place, answer in zip(places, found, strict=True):
            if answer is not None:
                answers[place][name] = Asked(answer, channel.mass)
    return answers
