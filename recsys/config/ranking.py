"""Options of ranking: the strategy and the parts of a score.

`[ranker]` in a `domain.toml`; unknown keys are errors.
"""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import Field, field_validator

from recsys.types import StrictModel

Fact = Literal["match", "popularity", "with", "related", "distance", "open", "repeat"]
Strategy = Literal["pointwise", "listwise", "title", "generated", "generated-scores"]
Windows = Literal["anchored", "sliding"]


class Weights(StrictModel):
    """Weights of the weighted sum that is a candidate's score."""

    model: float = Field(ge=0, description="of the model's log-odds (nats)")
    retriever: float = Field(ge=0, description="of the retriever's score")

    def at(self, temperature: float) -> Weights:
        """Return the weights of the same score divided by the temperature."""
        return Weights(model=self.model / temperature, retriever=self.retriever / temperature)


MODEL_ALONE = Weights(model=1, retriever=0)
RETRIEVER_LEADS = Weights(model=0, retriever=1)  # until something was shown on the domain itself
WITH_ADAPTER = Weights(model=0.25, retriever=1)  # with an adapter of the domain, which passed its gate


class RankerConfig(StrictModel):
    """How candidates are ranked."""

    strategy: Strategy = "pointwise"
    n_candidates: int = Field(20, ge=1, le=1000)
    history_length: int = Field(15, ge=0)
    max_history_trim: int = Field(
        2,
        ge=0,
        description="pointwise: how many of the oldest history entries, one in five at most, may be left "
        "out of the prompt where that saves computed tokens (a fifth of them)",
    )
    max_prompt_tokens: int = Field(1536, ge=128)
    facts: tuple[Fact, ...] = Field(
        (), description="facts about a candidate in this request that the prompt shows"
    )
    attributes: tuple[str, ...] | None = Field(
        None,
        description="item attributes that the prompt shows, diversity compares and reasons share; unset: all",
    )
    model_weight: float | None = Field(
        None,
        ge=0,
        description="of the model's log-odds in the score; unset: 0.25 with an adapter of the domain, else 0",
    )
    retriever_weight: float | None = Field(
        None, ge=0, description="of the retriever's score in the score; unset: 1"
    )
    weights_need_adapter: bool = Field(
        False, description="the weights were fitted with an adapter of the domain, and hold with one alone"
    )
    wish_weights: Weights | None = Field(
        None, description="both weights for requests with a wish; unset: the two above"
    )
    temperature: float = Field(1.0, gt=0, description="divides the score, to calibrate probabilities")
    isotonic: tuple[tuple[float, float], ...] = Field(
        (),
        description="points (score, observed frequency) that calibrate after the temperature, both "
        "rising between 0 and 1; `recsys evaluate --part validation` reports them while this is unset",
    )
    exact: bool = Field(
        False,
        description="pointwise: the same request gives bit-identical scores, whatever the order of its "
        "candidates; slower, as each request has the engine to itself and an empty cache",
    )
    windows: Windows = Field(
        "anchored",
        description="listwise, for more candidates than letters: all windows at once, joined by the "
        "candidates they share; or sliding, one after another from the end (RankGPT)",
    )
    window: int = Field(20, ge=2, le=26, description="candidates in a window")
    permutations: int = Field(1, ge=1, le=16, description="listwise: orders of the list that are averaged")
    diversity: float = Field(0.0, ge=0, lt=1, description="weight of differing from the items above (MMR)")
    long_tail: float = Field(
        0.0, ge=0, description="nats that an item without interactions gains over the most popular one"
    )

    @field_validator("isotonic")
    @classmethod
    def _rising(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for values in zip(*points, strict=True):
            line = (0.0, *values, 1.0)
            if any(low >= high for low, high in itertools.pairwise(line)):
                raise ValueError("must rise between 0 and 1, in both numbers")
        return points

    def weights(self, *, wish: bool = False, adapted: bool = False) -> Weights:
        """Return the score's weights at the temperature.

        Args:
            wish: For requests with a wish.
            adapted: The model runs with an adapter of the domain.
        """
        unset = WITH_ADAPTER if adapted else RETRIEVER_LEADS
        if self.weights_need_adapter and not adapted:
            return unset.at(self.temperature)
        plain = Weights(
            model=unset.model if self.model_weight is None else self.model_weight,
            retriever=unset.retriever if self.retriever_weight is None else self.retriever_weight,
        )
        return ((wish and self.wish_weights) or plain).at(self.temperature)

    def retriever_leads(self, *, adapted: bool) -> bool:
        """Return whether the model has no weight, for lack of evidence that it helps."""
        return not adapted and (self.model_weight is None or self.weights_need_adapter)
