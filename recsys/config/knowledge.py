"""Options of a domain's knowledge: business rules, and the meaning of ratings."""

from __future__ import annotations

from typing import Literal

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


class Rule(StrictModel):
    """An action on some items of every list: see `recsys.knowledge.rules`."""

    name: str = Field(min_length=1, description="shown in the answer with each item it acted on")
    do: Literal["pin", "boost", "bury", "quota", "hide"]
    where: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="acts on items that have one of these values of every attribute"
    )
    items: frozenset[str] = Field(frozenset(), description="acts on items with these ids")
    first: int = Field(1, ge=1, description="pin: the rank; quota: how many of the first ranks")
    n: int = Field(1, ge=0, description="quota: most items in these ranks")
    factor: float = Field(2.0, gt=1, description="boost: multiplies the score")

    @model_validator(mode="after")
    def _about_something(self) -> Rule:
        if not self.where and not self.items:
            raise ValueError("a rule needs `where` or `items`")
        used = {"pin": {"first"}, "quota": {"first", "n"}, "boost": {"factor"}}.get(self.do, set())
        if odd := self.model_fields_set.intersection({"first", "n", "factor"} - used):
            raise ValueError(f"'{self.do}' has no {', '.join(sorted(odd))}")
        return self
