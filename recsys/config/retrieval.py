"""Options of retrieval: one typed config per channel, and how channels are joined.

`[retriever]` in a `domain.toml`; unknown keys are errors.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys.types import StrictModel


class Memory(StrictModel):
    """How much of a history counts: each entry's weight, the newest having 1.

    An entry weighs `item_decay` less for every entry after it, and `moment_decay`
    less for every later moment (entries of one second are one moment: what was
    typed in on one page has no order).
    """

    item_decay: float = Field(0.9, gt=0, le=1)
    moment_decay: float = Field(0.8, gt=0, le=1)
    length: int = Field(100, ge=1, description="entries looked back at")
    disliked: float = Field(1.0, ge=0, le=1, description="weight of a disliked entry, a liked one has 1")


class TextConfig(StrictModel):
    """Nearest item texts to the history and the wish.

    A wish takes `wish_weight` of the query, the history the rest; history weights
    halve every `half_life` items back.
    """

    wish_weight: float = Field(0.7, ge=0, le=1)
    half_life: float = Field(10.0, gt=0)


class TransitionConfig(StrictModel):
    """Counts of what comes near what: 1 / distance ** power, up to `window` steps apart."""

    window: int = Field(20, ge=1)
    power: float = Field(1.0, ge=0)
    backward: float = Field(1.0, ge=0, description="weight of steps back in time, those forward have 1")
    row_power: float = Field(0.5, ge=0, description="normalises by how much follows the history item")
    popularity_power: float = Field(0.3, ge=0, description="normalises by how often the candidate is met")
    memory: Memory = Memory()


class CooccurrenceConfig(StrictModel):
    """Item-kNN: cosine of the sets of users, a busy user counting less."""

    power: float = Field(0.5, ge=0, description="of both items' popularity; 0.5 is the cosine")
    user_power: float = Field(0.5, ge=0, description="of the length of a user's history")
    memory: Memory = Memory(item_decay=0.8, moment_decay=1.0, length=1000)


class EaseConfig(StrictModel):
    """EASE: the linear autoencoder with zero diagonal, in closed form."""

    l2: float = Field(500.0, gt=0)
    max_items: int = Field(6000, ge=1, description="most met items that take part: time grows with its cube")
    memory: Memory = Memory(item_decay=0.9, moment_decay=1.0, length=1000)


class LinearConfig(StrictModel):
    """Ridge regression of what comes next on the weighted history, in closed form."""

    l2: float = Field(300.0, gt=0)
    window: int = Field(30, ge=1, description="steps ahead that are predicted, weight 1 / distance")
    length: int = Field(50, ge=1, description="history entries of a training example")
    popularity_power: float = Field(0.3, ge=0)
    max_items: int = Field(6000, ge=1, description="most met items that take part: time grows with its cube")
    memory: Memory = Memory()


class SequenceConfig(StrictModel):
    """A next-item model and how it is trained.

    "lru" is linear in the history, "gru" a gated recurrent unit, "attention" causal
    self-attention beside the linear path. `length` is how many of the last items of a
    history are read, `batch` how many histories of that length make a step. `threads` of
    the CPU train it: a step is so small that more than one stall each other as soon as
    anything else wants the cores; they pay where items are many. Of a share of all users,
    `validation_users`, the last event is held out; training stops when it has not become more
    likely for `patience` epochs, and the best epoch is kept.

    Hidasi et al.: Session-based recommendations with recurrent neural networks, ICLR 2016.
    Kang and McAuley: Self-attentive sequential recommendation, ICDM 2018.
    Orvieto et al.: Resurrecting recurrent neural networks for long sequences, ICML 2023.
    Press et al.: Train short, test long: attention with linear biases, ICLR 2022.
    """

    architecture: Literal["lru", "gru", "attention"] = "gru"
    dimension: int = Field(64, ge=2, le=1024, description="of an item embedding")
    hidden: int = Field(128, ge=1, le=4096, description="state of the GRU, inner layer of attention")
    layers: int = Field(1, ge=1, le=8)
    heads: int = Field(4, ge=1, le=16)
    dropout: float = Field(0.2, ge=0, lt=1)
    length: int = Field(100, ge=1, le=2000)
    epochs: int = Field(15, ge=0)
    batch: int = Field(16, ge=1)
    threads: int = Field(1, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    patience: int = Field(5, ge=1, description="epochs without a better validation")
    validation_users: float = Field(0.2, ge=0, le=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _heads_share_the_dimension(self) -> SequenceConfig:
        if self.architecture == "attention" and self.dimension % self.heads:
            raise ValueError(f"dimension {self.dimension} is not a multiple of heads {self.heads}")
        return self


class PopularityConfig(StrictModel):
    """How often items are met; `recent` halves the weight of an event every `half_life_days`."""

    half_life_days: float = Field(30.0, gt=0)
    smoothing: float = Field(50.0, gt=0, description="events at which a segment is half believed")
    alike: str = Field("", description="attribute whose items share what a situation changes: category")


class NearbyConfig(StrictModel):
    """What distance and closed doors cost, in nats; None: as the events say."""

    per_km: float | None = Field(None, ge=0)
    closed: float | None = Field(None, ge=0)


Channel = Literal[
    "text",
    "attributes",
    "transitions",
    "cooccurrence",
    "ease",
    "linear",
    "gru",
    "attention",
    "lru",
    "popularity",
    "recent",
    "segment",
    "nearby",
]


DEFAULT_WEIGHTS: dict[Channel, float] = {
    "linear": 0.6,
    "transitions": 0.6,
    "ease": 0.3,
    "cooccurrence": 0.2,
    "text": 0.1,
    "popularity": 0.05,
}


class RetrieverConfig(StrictModel):
    """Which channels are asked and how their answers are joined.

    `fusion`: "weighted" adds each channel's standardised scores, times its weight;
    "rank" is weighted reciprocal rank fusion. Weights are tuned on validation by
    `recsys fit`, which writes them beside the fitted channels; those here hold until
    then. A channel of weight 0 is not asked. `wish_weights` are the least that channels
    which read a wish weigh where somebody says what they want.
    """

    weights: dict[Channel, float] = Field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    wish_weights: dict[Literal["text", "attributes"], Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"text": 2.0, "attributes": 4.0}  # type: ignore[arg-type]
    )
    fusion: Literal["weighted", "rank"] = "weighted"
    rrf_k: int = Field(60, ge=1, description="the constant of reciprocal rank fusion")
    depth: int = Field(200, ge=1, description="items taken from each channel before joining")
    long_tail_share: float = Field(0.0, ge=0, le=1, description="of the list, kept for seldom met items")
    new_item_share: float = Field(0.0, ge=0, le=1, description="of the list, kept for items nobody met")
    text: TextConfig = TextConfig()
    transitions: TransitionConfig = TransitionConfig()
    cooccurrence: CooccurrenceConfig = CooccurrenceConfig()
    ease: EaseConfig = EaseConfig()
    linear: LinearConfig = LinearConfig()
    gru: SequenceConfig = SequenceConfig(architecture="gru")
    attention: SequenceConfig = SequenceConfig(architecture="attention", dropout=0.3)
    lru: SequenceConfig = SequenceConfig(architecture="lru")
    popularity: PopularityConfig = PopularityConfig()
    nearby: NearbyConfig = NearbyConfig()

    @property
    def by_name(self) -> dict[str, float]:
        """The weights, by plain names."""
        return {str(name): weight for name, weight in self.weights.items()}


class FittedWeights(StrictModel):
    """What `recsys fit` found on validation: channel weights, and how well they did."""

    weights: dict[str, float]
    fitted_on: str = Field(description="hash of the events")
    users: int
    metrics: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="validation figures per channel and of the fusion"
    )
