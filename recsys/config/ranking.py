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
RequestKind = Literal["plain", "context", "new-user", "wish", "new-items"]
"""What a request knows: `recsys.ranking.kinds` tells which one it is."""


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


class Estimate(StrictModel):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class KindFit(StrictModel):
    """The weights of one kind of request, and what they are worth on held-out events."""

    weights: Weights
    model_weight: Estimate = Field(description="as the events alone have it, before it had to prove a gain")
    gain: Estimate = Field(description="nats of log-likelihood over the retriever, a case, cross-fitted")
    ndcg: Estimate = Field(description="NDCG@10 of the score minus that of the retriever, an event asked")
    cases: int = Field(description="events whose item was among the candidates")
    asked: int = Field(description="events in all")


class FittedScore(StrictModel):
    """What `recsys fit` found about the parts of a score, with one model."""

    model: str
    adapter: str | None
    kinds: dict[RequestKind, KindFit]

    def is_of(self, model: str, adapter: str | None) -> bool:
        """Tell whether it was fitted with this model and adapter."""
        return (self.model, self.adapter) == (model, adapter)


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
    fitted: FittedScore | None = Field(
        None, description="what `recsys fit` found; it goes before the weights above"
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

    def weights(self, model: str, adapter: str | None, *, adapted: bool) -> dict[RequestKind, Weights]:
        """Return the weights of plain requests, and of the kinds that have their own.

        They are those of the file, at the temperature, and instead what was fitted with this very model.

        Args:
            model: The model in use.
            adapter: Its adapter.
            adapted: Whether that is one of the domain.
        """
        fitted = {kind: fit.weights for kind, fit in self.kinds_fitted_with(model, adapter).items()}
        weights = self._configured(adapted=adapted) | fitted
        return {kind: of_kind.at(self.temperature) for kind, of_kind in weights.items()}

    def kinds_fitted_with(self, model: str, adapter: str | None) -> dict[RequestKind, KindFit]:
        """Return what `recsys fit` found with this model; {} if nothing."""
        return self.fitted.kinds if self.fitted and self.fitted.is_of(model, adapter) else {}

    def _configured(self, *, adapted: bool) -> dict[RequestKind, Weights]:
        """Return the weights of the file, those of plain requests at least."""
        unset = WITH_ADAPTER if adapted else RETRIEVER_LEADS
        if self.weights_need_adapter and not adapted:
            return {"plain": unset}
        plain = Weights(
            model=unset.model if self.model_weight is None else self.model_weight,
            retriever=unset.retriever if self.retriever_weight is None else self.retriever_weight,
        )
        return {"plain": plain, **({"wish": self.wish_weights} if self.wish_weights else {})}
