"""Score candidates that the caller brings: one JSON line in, one out."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.context.builder import build_context, in_country
from recsys.context.pii import mask_facts
from recsys.errors import RecsysError, RequestError
from recsys.ranking import RankRequest
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import MAX_CANDIDATES
from recsys.recommender.response import prompt_info
from recsys.types import Candidate, HistoryEntry, Item


class AdHocItem(BaseModel):
    """An item of the catalogue by id or title, or a new one that `title` describes."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    title: str | None = None
    year: int | None = None
    attributes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    description: str = ""
    liked: bool | None = None


class ScoreRequest(BaseModel):
    """One input line."""

    model_config = ConfigDict(extra="forbid")

    candidates: list[str | AdHocItem] = Field(min_length=1, max_length=MAX_CANDIDATES)
    history: list[str | AdHocItem] = Field(default_factory=list)
    profile: dict[str, str] = Field(default_factory=dict)
    at: str | None = None
    place: str | None = None
    country: str | None = None
    wish: str = ""
    context: dict[str, str] = Field(default_factory=dict)


def score_line(recommender: Recommender, text: str, strategy: str | None = None) -> dict[str, Any]:
    """Return {"scores": [...], "report": ...} or {"error": ...} for a line.

    Never raises for its content.
    """
    try:
        return _score(recommender, _parse(text), strategy or recommender.domain.ranker.strategy)
    except RecsysError as error:
        problem = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        return {"error": problem | {"retryable": error.retryable}}


def _parse(text: str) -> ScoreRequest:
    try:
        return ScoreRequest.model_validate(json.loads(text.removeprefix("\ufeff")))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, d['loc'])) or 'line'}: {d['msg']}" for d in error.errors()[:5]
        )
        raise RequestError(
            problems, hint='{"history": ["Fargo"], "candidates": ["Heat", {"title": "New"}]}'
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"not JSON: {error}", hint="one JSON object a line") from error


def _score(recommender: Recommender, score_request: ScoreRequest, strategy: str) -> dict[str, Any]:
    recommender.live.refresh()
    context = build_context(
        at=score_request.at,
        place=score_request.place,
        wish=score_request.wish,
        extra=score_request.context,
        domain=in_country(recommender.domain, score_request.country),
    )
    items = [_item(recommender, entry, number) for number, entry in enumerate(score_request.candidates)]
    history = tuple(
        HistoryEntry(
            item=_item(recommender, entry, number), liked=True if isinstance(entry, str) else entry.liked
        )
        for number, entry in enumerate(score_request.history)
    )
    request = RankRequest.of(
        recommender.domain,
        [Candidate(item=item, score=0.0, source="request") for item in items],
        history,
        context,
        mask_facts(score_request.profile, recommender.domain.privacy),
    )
    ranking = recommender.rank(request, strategy)
    return {
        "scores": [
            {"id": item.id, "title": item.title, "probability": score, "log_odds": log_odds}
            for item, score, log_odds in zip(items, ranking.scores, ranking.log_odds, strict=True)
        ],
        "report": ranking.report.model_dump(mode="json"),
        "prompt": prompt_info(ranking).model_dump(mode="json"),
        "usage": ranking.usage.model_dump(mode="json"),
    }


def _item(recommender: Recommender, entry: str | AdHocItem, number: int) -> Item:
    if isinstance(entry, str):
        return recommender.catalog.find_any(entry)
    if entry.id is not None and (known := recommender.catalog.get(entry.id)):
        return known
    if not (entry.title or "").strip():
        raise RequestError(f"item {number + 1} has neither a known id nor a title", hint="give one of them")
    return Item(
        id=entry.id or f"new-{number + 1}",
        title=str(entry.title).strip(),
        year=entry.year,
        attributes=entry.attributes,
        description=entry.description,
    )
