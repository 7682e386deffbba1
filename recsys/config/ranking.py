"""Options of ranking: who scores the candidates, how, and what a score is made of.

`[ranker]` in a `domain.toml`; unknown keys are errors.
"""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import Field, field_validator

from recsys.types import StrictModel

Fact = Literal["match", "popularity", "with", "distance", "open"]
Strategy = Literal["pointwise", "listwise", "title", "generated", "generated-scores"]
Windows = Literal["anchored", "sliding"]


class Weights(StrictModel):
    """What a score is the sum of: so many times the model's log-odds (nats), and the retriever's score."""

    model: float = Field(ge=0)
    retriever: float = Field(ge=0)

    def at(self, temperature: float) -> Weights:
        """Of the same score, divided by the temperature."""
        return Weights(model=self.model / temperature, retriever=self.retriever / temperature)


MODEL_ALONE = Weights(model=1, retriever=0)


class RankerConfig(StrictModel):
    strategy: Strategy = "pointwise"
    n_candidates: int = Field(20, ge=1, le=1000)
    history_length: int = Field(15, ge=0)
    max_history_trim: int = Field(
        2,
        ge=0,
        description="pointwise: so many of the oldest entries, one in five at most, may be left out of the prompt "
        "where that saves tokens: a fifth of those computed",
    )
    max_prompt_tokens: int = Field(1536, ge=128)
    facts: tuple[Fact, ...] = Field(
        (), description="what is known of a candidate in this request that the model is told"
    )
    model_weight: float = Field(1.0, ge=0, description="of the model's log-odds in the score")
    retriever_weight: float = Field(0.0, ge=0, description="of the retriever's score in the score")
    wish_weights: Weights | None = Field(
        None, description="both weights where the request has a wish; the two above while this is unset"
    )
    temperature: float = Field(1.0, gt=0, description="the score is divided by it: calibrates probabilities")
    isotonic: tuple[tuple[float, float], ...] = Field(
        (),
        description="points (score, what it turned out to mean) that calibrate after the temperature, both "
        "rising between 0 and 1; `recsys evaluate --part validation` finds them while this is unset",
    )
    exact: bool = Field(
        False,
        description="pointwise: the same request gives the same scores to the last bit, in whatever order its "
        "candidates come; slower, for each request has the engine to itself and an empty cache",
    )
    windows: Windows = Field(
        "anchored",
        description="listwise, where candidates outnumber the letters: all windows at once, joined by the "
        "candidates they share; or one after another from the end (RankGPT)",
    )
    window: int = Field(20, ge=2, le=26, description="candidates in a window")
    permutations: int = Field(1, ge=1, le=16, description="listwise: orders of the list that are averaged")
    diversity: float = Field(0.0, ge=0, lt=1, description="weight of being unlike what stands above (MMR)")
    long_tail: float = Field(
        0.0, ge=0, description="nats that an item nobody met gains over the most popular one, in the order"
    )

    @field_validator("isotonic")
    @classmethod
    def _rising(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for values in zip(*points, strict=True):
            line = (0.0, *values, 1.0)
            if any(low >= high for low, high in itertools.pairwise(line)):
                raise ValueError("must rise between 0 and 1, in both numbers")
        return points

    def weights(self, wish: bool = False) -> Weights:
        """What a score is made of, at the temperature, in a request with a wish or without one."""
        plain = Weights(model=self.model_weight, retriever=self.retriever_weight)
        return ((wish and self.wish_weights) or plain).at(self.temperature)
