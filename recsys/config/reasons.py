"""Options of reasons, as `[reasons]` in domain.toml."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys.types import StrictModel

Style = Literal["short", "detailed", "comparative"]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)?$")]

_SLOT = re.compile(r"\{(\w*)\}")


class ChosenWords(StrictModel):
    """The words of a domain whose events say what was chosen, not what was liked."""

    title: str = Field(description='of such an item: "{title}, which you read"')
    on: str = Field(
        "", description='the same within six days: "{title}, which you read on {weekday}"; by default `title`'
    )
    shares: str = Field(
        "",
        description='of an item with the same attribute values: "shares {values} with {title}"; "": nothing',
    )

    @model_validator(mode="after")
    def _slots(self) -> ChosenWords:
        needed = {"title": ["title"], "on": ["title", "weekday"], "shares": ["title", "values"]}
        for name, slots in needed.items():
            text = getattr(self, name)
            if (text or name == "title") and sorted(_SLOT.findall(text)) != slots:
                each = " and ".join(f"{{{slot}}}" for slot in slots)
                raise ValueError(f"{name} must hold {each} once, and nothing else in braces")
        return self


class ReasonConfig(StrictModel):
    """How reasons are written."""

    max_tokens: int = Field(96, ge=16)
    history_shown: int = Field(3, ge=0, description="most history items offered as evidence")
    retries: int = Field(1, ge=0, le=3)
    ablations: int = Field(
        3,
        ge=0,
        le=100,
        description="parts of a request that the model scores without, one by one; what a reason cites is "
        "also left out as a whole. 0: only the retriever is measured",
    )
    language: str = Field("en", pattern=r"^[a-z]{2}(-[a-z]+)?$", description="a folder of prompts/explain")
    time: bool = Field(
        True, description="cite the time of the request; false where it only tells how old an item is"
    )
    chosen: dict[Language, ChosenWords] = Field(
        default_factory=dict,
        description="by language, how reasons cite items that were chosen and not rated; without it they are "
        "cited only where many people chose both",
    )
    style: Style = Field("short", description="detailed: two sentences; comparative: against the next item")
