"""Options of a domain's knowledge: business rules, and the meaning of ratings."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from recsys.types import StrictModel


class Feedback(StrictModel):
    """Which ratings count as liked and as disliked; those between are neither."""

    liked_at_least: float | None = None
    disliked_at_most: float | None = None

    def liked(self, rating: float | None) -> bool | None:
        """Return True for liked, False for disliked, None for neither."""
        if rating is None:
            return None
        if self.liked_at_least is not None and rating >= self.liked_at_least:
            return True
        if self.disliked_at_most is not None and rating <= self.disliked_at_most:
            return False
        return None


RuleKind = Literal["forbid", "require", "limit", "boost", "bury", "quota", "at_least", "pin", "remark"]
HARD: tuple[RuleKind, ...] = ("forbid", "require")
"""Kinds that leave out each item of which an expression holds, or does not."""
MOVING: tuple[RuleKind, ...] = ("boost", "bury", "quota", "at_least", "pin")
"""Kinds that order a list and leave nothing out."""

MAX_EXPRESSION = 2000  # characters
_USED: Mapping[RuleKind, frozenset[str]] = {
    "pin": frozenset({"first"}),
    "quota": frozenset({"first", "n"}),
    "at_least": frozenset({"first", "n"}),
    "boost": frozenset({"factor"}),
    "limit": frozenset({"by", "share", "first"}),
    **dict.fromkeys(HARD, frozenset({"missing", "allows", "forbids"})),
}
_OPTIONS = frozenset().union(*_USED.values())


class Example(StrictModel):
    """Values of one decision: `{item = {price = 3}, user = {budget = "$5"}}`."""

    item: dict[str, Any] = Field(default_factory=dict)
    other: dict[str, Any] = Field(default_factory=dict)
    user: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)
    history: tuple[str, ...] = ()
    now: dt.datetime | None = None


class Rule(StrictModel):
    """A rule about the items of every list: see `recsys.knowledge.rules`."""

    name: str = Field(min_length=1, max_length=100, description="shown in the answers that it acts on")
    do: RuleKind
    when: str = Field(
        min_length=1,
        max_length=MAX_EXPRESSION,
        description="CEL: `item.price > user.budget`; one that names `other` is about two items of a list",
    )
    missing: Literal["forbid", "allow"] | None = Field(
        None, description="forbid, require: what happens to an item of which `when` cannot be decided"
    )
    until: dt.date | None = Field(None, description="the last day, UTC, on which it holds")
    trial: bool = Field(False, description="counted, not applied")
    allows: tuple[Example, ...] = Field((), description="forbid, require: examples that it lets through")
    forbids: tuple[Example, ...] = Field((), description="forbid, require: examples that it leaves out")
    first: int = Field(
        1, ge=1, description="pin: the rank; quota, at_least: how many of the first ranks; limit: see `share`"
    )
    n: int = Field(1, ge=0, description="quota: most items in these ranks; at_least: fewest")
    factor: float = Field(2.0, gt=1, description="boost: multiplies the score")
    by: str | None = Field(
        None, description="limit: the attribute of which no value gets more than its share"
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="limit: of the history and of `first` further items, the most that may have one value",
    )
    say: dict[str, str] = Field(
        default_factory=dict,
        description='language -> what it tells of an item: "contraindicated with {history}, which is taken"',
    )

    @model_validator(mode="after")
    def _options_are_used(self) -> Rule:
        if odd := self.model_fields_set.intersection(_OPTIONS - _USED.get(self.do, frozenset())):
            raise ValueError(f"'{self.do}' has no {', '.join(sorted(odd))}")
        if self.hard and self.missing is None:
            raise ValueError('say what a missing value does: missing = "forbid" or missing = "allow"')
        if self.do == "limit" and self.by is None:
            raise ValueError('name the attribute that is limited: by = "sector"')
        if self.do == "remark" and not self.say:
            raise ValueError('write what it remarks: say = { en = "..." }')
        return self

    @property
    def hard(self) -> bool:
        """Whether it leaves out each item that breaks it, whatever anybody scores."""
        return self.do in HARD

    @property
    def moves(self) -> bool:
        """Whether it orders the list."""
        return self.do in MOVING

    @property
    def version(self) -> str:
        """A digest of all that decides; its examples and its words do not."""
        text = self.model_dump_json(exclude={"allows", "forbids", "say"}, exclude_defaults=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def holds_on(self, day: dt.date) -> bool:
        """Return whether it has not expired."""
        return self.until is None or day <= self.until
