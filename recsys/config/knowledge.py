"""What a domain decides about its items: rules, and which feedback means what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from recsys.types import StrictModel


class Feedback(StrictModel):
    """Which ratings count as liked and as disliked; between them neither."""

    liked_at_least: float | None = None
    disliked_at_most: float | None = None

    def liked(self, rating: float | None) -> bool | None:
        if rating is None:
            return None
        if self.liked_at_least is not None and rating >= self.liked_at_least:
            return True
        if self.disliked_at_most is not None and rating <= self.disliked_at_most:
            return False
        return None


class Rule(StrictModel):
    """What is done with some items of every list, whatever the scores: see `recsys.knowledge.rules`.

    It is about items with one of the values of every attribute in `where`, and about `items` by id.
    """

    name: str = Field(min_length=1, description="named in the answer, beside each item it acted on")
    do: Literal["pin", "boost", "bury", "quota", "hide"]
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    items: frozenset[str] = frozenset()
    first: int = Field(1, ge=1, description="pin: the place; quota: the first so many places")
    n: int = Field(1, ge=0, description="quota: how many may stand there")
    factor: float = Field(2.0, gt=1, description="boost: of the score")

    @model_validator(mode="after")
    def _about_something(self) -> Rule:
        if not self.where and not self.items:
            raise ValueError("a rule needs `where` or `items`")
        used = {"pin": {"first"}, "quota": {"first", "n"}, "boost": {"factor"}}.get(self.do, set())
        if odd := self.model_fields_set.intersection({"first", "n", "factor"} - used):
            raise ValueError(f"'{self.do}' has no {', '.join(sorted(odd))}")
        return self
