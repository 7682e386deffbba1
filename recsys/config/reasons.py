"""Options of reasons, as `[reasons]` in domain.toml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys.config.attributes import Language
from recsys.types import StrictModel

Style = Literal["short", "detailed", "comparative"]


class ReasonConfig(StrictModel):
    """How reasons are written."""

    max_tokens: int = Field(96, ge=16)
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
    verb: dict[Language, str] = Field(
        default_factory=dict,
        description='by language, what a person did with items that are chosen and not rated: "read"',
    )
    title: dict[Language, str] = Field(
        default_factory=dict, description='by language, how a title stands in a sentence: "\u201c{}\u201d"'
    )
    noun: dict[Language, str] = Field(
        default_factory=dict,
        description="by language other than English, the noun for an item, or with its plural or counter "
        '"singular|plural"',
    )
    quotes: bool = Field(
        False,
        description="quote a sentence of a description where it fits; whoever writes it is heard",
    )
    writer: Literal["auto", "grammar", "free"] = Field(
        "auto",
        description="free: the model words reasons itself, and its own check must pass; auto: where "
        "`recsys doctor --reasons` has shown that it can",
    )
    style: Style = Field("short", description="detailed: two sentences; comparative: against the next item")
