"""Options of reasons, as `[reasons]` in domain.toml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys.types import StrictModel

Style = Literal["short", "detailed", "comparative"]


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
    style: Style = Field("short", description="detailed: two sentences; comparative: against the next item")
