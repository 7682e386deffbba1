"""The parts of a request: wish, moment, profile, and items of the history."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from recsys.ranking.base import RankRequest
from retrieval import Query

Kind = Literal["wish", "time", "place", "fact", "profile", "popularity", "history"]
_NO_TIME = {"time": None, "hour": None, "part_of_day": None, "weekday": None, "weekend": None, "season": None}


@dataclass(frozen=True)
class RequestPart:
    """A part of a request that can be left out."""

    kind: Kind
    name: str = ""  # the id of a history item, or the name of a fact


Parts = frozenset[RequestPart]


def request_parts(query: Query, request: RankRequest) -> list[RequestPart]:
    """List all parts: history last, newest first, each item once."""
    context = request.context
    names: dict[Kind, Iterable[str]] = {
        "wish": [""] if context.wish else [],
        "time": [""] if context.hour is not None or context.weekday or context.season else [],
        "place": [""] if context.place else [],
        "fact": context.extra,
        "profile": [""] if request.profile else [],
        "popularity": [""],
        "history": dict.fromkeys(entry.item.id for entry in reversed(query.history)),
    }
    return [RequestPart(kind, name) for kind in get_args(Kind) for name in names[kind]]


def remove_parts(
    query: Query, request: RankRequest, parts: Iterable[RequestPart]
) -> tuple[Query, RankRequest]:
    """Return query and request without `parts`.

    Candidates stay. Popularity is in neither: it is removed by leaving out channels and facts.
    """
    names = {kind: {part.name for part in parts if part.kind == kind} for kind in get_args(Kind)}
    context = request.context
    if names["time"]:
        context = context.model_copy(update=_NO_TIME)
    if names["place"]:
        context = context.model_copy(update={"place": None})
    if names["wish"]:
        context = context.model_copy(update={"wish": ""})
    if names["fact"]:
        kept = {name: value for name, value in context.extra.items() if name not in names["fact"]}
        context = context.model_copy(update={"extra": kept})
    removed = names["history"]
    return (
        dataclasses.replace(
            query,
            history=tuple(entry for entry in query.history if entry.item.id not in removed),
            wish="" if names["wish"] else query.wish,
            wished=() if names["wish"] else query.wished,
            preferred=() if names["wish"] else query.preferred,
            context=context,
            profile={} if names["profile"] else query.profile,
            moment=query.now,  # how old everything is stays, too: weekday and hour are what is left out
            days_away=query.away,
        ),
        dataclasses.replace(
            request,
            history=tuple(entry for entry in request.history if entry.item.id not in removed),
            chosen={name: entry for name, entry in request.chosen.items() if name not in removed},
            context=context,
            profile={} if names["profile"] else request.profile,
        ),
    )
