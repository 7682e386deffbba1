"""The type of an item's attribute: what values must be, and how they are shown.

`[attributes.price]` in a `domain.toml`; an attribute without a table is text of any kind.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from recsys.types import StrictModel

AttributeKind = Literal["text", "category", "number", "money", "date", "time", "duration", "flag", "list"]
TimeSpan = Literal["seconds", "minutes", "hours", "days"]

Language = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)?$")]
"""A folder of prompts/explain; "en" is the folder itself."""

ORDERED: tuple[AttributeKind, ...] = ("number", "money", "date", "time", "duration")
"""Kinds whose values can be compared."""


class AttributeType(StrictModel):
    """What the values of one attribute are."""

    type: AttributeKind
    unit: str | None = Field(
        None,
        min_length=1,
        description='number: "lb"; duration: seconds, minutes (the default), hours or days',
    )
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$", description='money: ISO 4217 code, "USD"')
    least: float | None = Field(
        None,
        description="smallest value allowed, in `unit` or `currency`; money is never negative without it",
    )
    most: float | None = Field(None, description="largest value allowed")
    evidence: bool | None = Field(
        None,
        description="whether a reason may cite it; unset: all but number, money, date, time and duration",
    )
    say: dict[Language, str] = Field(
        default_factory=dict,
        description='by language, what reasons say after the noun: "directed by {value}"; by default it goes '
        "by the type",
    )
    words: dict[Language, dict[str, str]] = Field(
        default_factory=dict,
        description='by language, values that stand in a sentence in other words: "United Kingdom" = '
        '"the United Kingdom"',
    )
    nouns: dict[Language, dict[str, str]] = Field(
        default_factory=dict,
        description='by language, values that are nouns of their own: Comedy = "comedy", or with its plural '
        '"children\'s film|children\'s films"; "*" stands for every other value: "{value}"',
    )

    @model_validator(mode="after")
    def _say_holds_the_value(self) -> AttributeType:
        for language, text in self.say.items():
            if text.count("{value}") != 1 or re.search(r"[{}]", text.replace("{value}", "")):
                raise ValueError(
                    f"say.{language} must hold {{value}} once, and nothing else in braces: {text!r}"
                )
        return self

    @model_validator(mode="after")
    def _options_are_used(self) -> AttributeType:
        if (self.type == "money") != (self.currency is not None):
            raise ValueError('money needs a currency, such as currency = "USD", and nothing else has one')
        if self.unit is not None and self.type not in ("number", "duration"):
            raise ValueError(f"unit would do nothing for {self.type}: leave it out")
        if self.type == "duration" and self.span not in get_args(TimeSpan):
            raise ValueError(f"unit of a duration must be one of {', '.join(get_args(TimeSpan))}")
        if (self.least is not None or self.most is not None) and self.type not in (
            "number",
            "money",
            "duration",
        ):
            raise ValueError(f"least and most would do nothing for {self.type}: leave them out")
        return self

    @property
    def ordered(self) -> bool:
        """Whether values can be compared: "price<=5"."""
        return self.type in ORDERED

    @property
    def citable(self) -> bool:
        """Whether a reason may cite a value."""
        return not self.ordered if self.evidence is None else self.evidence

    @property
    def span(self) -> str:
        """The unit of a duration."""
        return self.unit or "minutes"

    @property
    def smallest(self) -> float | None:
        """The smallest value allowed."""
        return 0.0 if self.least is None and self.type in ("money", "duration") else self.least
