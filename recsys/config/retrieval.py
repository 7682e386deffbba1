"""Options of retrieval: one config per channel, and how channels are fused.

`[retriever]` in a `domain.toml`; unknown keys are errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from recsys.config.ranking import Estimate, FittedScore
from recsys.types import StrictModel

WEIGHTS_FILE = "weights.json"  # in the folder of a fitted retriever


class HistoryDecay(StrictModel):
    """How much each entry of a history counts; the newest has weight 1."""

    item_decay: float = Field(0.9, gt=0, le=1, description="factor per later entry")
    moment_decay: float = Field(
        0.8, gt=0, le=1, description="factor per later moment; entries of one second are one moment"
    )
    length: int = Field(100, ge=1, description="newest entries that are read")
    disliked: float = Field(1.0, ge=0, le=1, description="factor of a disliked entry; a liked one has 1")


class TextConfig(StrictModel):
    """Nearest item texts to the history and the wish."""

    attributes: tuple[str, ...] | None = Field(
        None, description="item attributes that the text has; unset: all"
    )
    description: int = Field(2000, ge=0, description="characters of the description that the text has")
    centred: bool = Field(
        False, description="compare what makes texts differ: the mean text is subtracted from the history"
    )
    wish_weight: float = Field(0.7, ge=0, le=1, description="of the wish in the query; the rest is history")
    half_life: float = Field(10.0, gt=0, description="entries after which a history weight halves")


class FieldsConfig(StrictModel):
    """Attribute values in common with the history, each attribute by itself."""

    weights: dict[str, float] = Field(
        default_factory=dict,
        description='of attributes and "year": one without a weight is not compared; unset: all, equally',
    )
    numbers: tuple[str, ...] = Field(
        (), description="attributes that are compared as numbers: long stories with a history of long ones"
    )
    half_life: float = Field(10.0, gt=0, description="entries after which a history weight halves")


class TransitionConfig(StrictModel):
    """Counts of which items follow each other, weighted by 1 / distance ** power."""

    window: int = Field(20, ge=1, description="largest distance, in events")
    power: float = Field(1.0, ge=0)
    backward: float = Field(1.0, ge=0, description="weight of steps back in time; steps forward have 1")
    row_power: float = Field(0.5, ge=0, description="normalises by how much follows the history item")
    popularity_power: float = Field(0.3, ge=0, description="normalises by the candidate's interactions")
    memory: HistoryDecay = HistoryDecay()


class CooccurrenceConfig(StrictModel):
    """Item-kNN: cosine of the items' sets of users, active users weighing less."""

    power: float = Field(0.5, ge=0, description="of both items' popularity; 0.5 is the cosine")
    user_power: float = Field(0.5, ge=0, description="of the length of a user's history")
    memory: HistoryDecay = HistoryDecay(item_decay=0.8, moment_decay=1.0, length=1000)


class EaseConfig(StrictModel):
    """EASE: the linear autoencoder with zero diagonal, in closed form."""

    l2: float = Field(500.0, gt=0)
    max_items: int = Field(6000, ge=1, description="most popular items fitted: time grows with the cube")
    memory: HistoryDecay = HistoryDecay(item_decay=0.9, moment_decay=1.0, length=1000)


class LinearConfig(StrictModel):
    """Ridge regression of the next items on the weighted history, in closed form."""

    l2: float = Field(300.0, gt=0)
    window: int = Field(30, ge=1, description="events ahead that are predicted, weight 1 / distance")
    length: int = Field(50, ge=1, description="history entries of a training example")
    popularity_power: float = Field(0.3, ge=0)
    max_items: int = Field(6000, ge=1, description="most popular items fitted: time grows with the cube")
    memory: HistoryDecay = HistoryDecay()


class GruConfig(StrictModel):
    """A GRU that predicts the next item, and its training.

    Training holds out the last event of some users and keeps the epoch under which these events
    are likeliest.

    Hidasi et al.: Session-based recommendations with recurrent neural networks, ICLR 2016.
    """

    dimension: int = Field(64, ge=2, le=1024, description="of an item embedding")
    hidden: int = Field(128, ge=1, le=4096, description="size of the GRU's state")
    layers: int = Field(1, ge=1, le=8)
    dropout: float = Field(0.2, ge=0, lt=1)
    length: int = Field(100, ge=1, le=2000, description="newest items of a history that are read")
    epochs: int = Field(15, ge=0)
    batch: int = Field(16, ge=1, description="histories of full length per step")
    threads: int = Field(
        1, ge=1, description="CPU threads of the training: more pay only with many items and idle cores"
    )
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    patience: int = Field(5, ge=1, description="epochs without a better validation before it stops")
    validation_users: float = Field(
        0.2, ge=0, le=1, description="share of users whose last event is held out"
    )
    epoch_events: int = Field(
        110_000, ge=1, description="most events of an epoch; of a longer log, a new sample of users each"
    )
    full_softmax_items: int = Field(
        10_000, ge=0, description="with more items the softmax of the training is over a sample of them"
    )
    negatives: int = Field(2048, ge=1, description="items sampled for each step of such a training")
    seed: int = Field(0, ge=0)


class PopularityConfig(StrictModel):
    """Interactions per item: overall, recent, and per context."""

    half_life_days: float = Field(7.0, gt=0, description="`recent`: age at which an event weighs half")
    smoothing: float = Field(50.0, gt=0, description="`segment`: events at which its own counts weigh half")
    alike: str = Field(
        "", description="`segment`: attribute, such as category, whose items share what a context changes"
    )


class RepeatConfig(StrictModel):
    """What a person chose before, where it may be chosen again."""

    half_life_days: float = Field(120.0, gt=0, description="age at which a choice weighs half")


class TrendConfig(StrictModel):
    """What is chosen more in the days before a request than before those."""

    half_life_days: float = Field(7.0, gt=0, description="age at which an event of these days weighs half")
    smoothing: float = Field(5.0, gt=0, description="events at which the change of an item weighs half")


class AudienceConfig(StrictModel):
    """Texts like those that people choose who share a value of the profile."""

    least_users: int = Field(5, ge=1, description="a value of fewer users says nothing")
    bins: int = Field(8, ge=2, description="quantiles that the values of a number are divided into")


class AgeConfig(StrictModel):
    """The newest items first."""

    attribute: str = Field("", description="date or time that an item is of, such as that of its publication")


class UserKnnConfig(StrictModel):
    """What the people with the most similar past choose."""

    neighbours: int = Field(300, ge=1, description="people whose choices are averaged")
    half_life_days: float = Field(120.0, gt=0, description="age at which a choice weighs half")


class ProfileConfig(StrictModel):
    """What people choose who share a value of the profile."""

    least_users: int = Field(5, ge=1, description="a value of fewer users says nothing")
    bins: int = Field(8, ge=2, description="quantiles that the values of a number are divided into")
    explained: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of several values: how much of one is settled by an item of the history chosen for it",
    )


class RelatedConfig(StrictModel):
    """What is related to the history, by the relations of the domain."""

    relations: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="factor of each relation; one that is not named has 1"
    )
    memory: HistoryDecay = HistoryDecay(moment_decay=1.0, disliked=0.0)


class NearbyConfig(StrictModel):
    """What distance and closing hours cost, in nats; unset costs are fitted."""

    per_km: float | None = Field(None, ge=0)
    closed: float | None = Field(None, ge=0)


Channel = Literal[
    "text",
    "transitions",
    "cooccurrence",
    "ease",
    "linear",
    "gru",
    "popularity",
    "recent",
    "segment",
    "nearby",
    "related",
    "repeat",
    "fields",
    "trend",
    "user_knn",
    "profile",
    "age",
    "audience",
]

WishChannel = Literal["text"]
"""Channels that read the wish."""

DEFAULT_WEIGHTS: dict[Channel, float] = {
    "linear": 0.6,
    "transitions": 0.6,
    "ease": 0.3,
    "cooccurrence": 0.2,
    "text": 0.1,
    "popularity": 0.05,
}

DEFAULT_RETURNING_WEIGHTS: dict[Channel, float] = {
    "linear": 0.3,
    "transitions": 0.3,
    "ease": 0.15,
    "cooccurrence": 0.1,
    "text": 0.05,
    "popularity": 0.5,
    "trend": 0.4,
}

DEFAULT_WISH_WEIGHTS: dict[WishChannel, float] = {"text": 2.0}


class RetrieverConfig(StrictModel):
    """Which channels find candidates, and how their scores are fused."""

    weights: dict[Channel, float] = Field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS),
        description="channel weights until `recsys fit` writes fitted ones; weight 0 leaves a channel out",
    )
    returning_weights: dict[Channel, float] | None = Field(
        None,
        description="in place of `weights` for a person whose newest event is older than `returning_days`; "
        "unset: defaults if `weights` is unset too, else no difference is made",
    )
    returning_days: float = Field(1.0, gt=0)
    wish_weights: dict[WishChannel, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: dict(DEFAULT_WISH_WEIGHTS),
        description="least weights of these channels in a request with a wish",
    )
    fusion: Literal["weighted", "rank"] = Field(
        "weighted", description="'weighted' sums standardised scores, 'rank' is reciprocal rank fusion"
    )
    rrf_k: int = Field(60, ge=1, description="the constant of reciprocal rank fusion")
    depth: int = Field(200, ge=1, description="items taken from each channel before fusion")
    long_tail_share: float = Field(0.0, ge=0, le=1, description="of the list, reserved for unpopular items")
    new_item_share: float = Field(
        0.0, ge=0, le=1, description="of the list, reserved for items without interactions"
    )
    text: TextConfig = TextConfig()
    fields: FieldsConfig = FieldsConfig()
    transitions: TransitionConfig = TransitionConfig()
    cooccurrence: CooccurrenceConfig = CooccurrenceConfig()
    ease: EaseConfig = EaseConfig()
    linear: LinearConfig = LinearConfig()
    gru: GruConfig = GruConfig()
    popularity: PopularityConfig = PopularityConfig()
    nearby: NearbyConfig = NearbyConfig()
    related: RelatedConfig = RelatedConfig()
    repeat: RepeatConfig = RepeatConfig()
    trend: TrendConfig = TrendConfig()
    user_knn: UserKnnConfig = UserKnnConfig()
    profile: ProfileConfig = ProfileConfig()
    age: AgeConfig = AgeConfig()
    audience: AudienceConfig = AudienceConfig()

    @property
    def by_name(self) -> dict[str, float]:
        """The weights, by plain names."""
        return {str(name): weight for name, weight in self.weights.items()}

    @property
    def returning_by_name(self) -> dict[str, float]:
        """The weights for returning people, by plain names; {} where there are none."""
        weights = self.returning_weights
        if weights is None:
            weights = {} if "weights" in self.model_fields_set else DEFAULT_RETURNING_WEIGHTS
        return {str(name): weight for name, weight in weights.items()}


class FittedWeights(StrictModel):
    """Channel weights that `recsys fit` fitted on validation, with their figures."""

    weights: dict[str, float]
    returning: dict[str, float] = Field(
        default_factory=dict, description="of requests of returning people; {}: no difference is proven"
    )
    returning_gain: Estimate | None = Field(
        None, description="NDCG@10 of returning people's events minus that under `weights`, cross-fitted"
    )
    fitted_on: str = Field(description="hash of the events")
    users: int
    metrics: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="validation figures of each channel and of the fusion"
    )
    notes: tuple[str, ...] = Field((), description="channels that were left out, and why")
    score: FittedScore | None = Field(None, description="of the score; None if the model was not asked")

    @classmethod
    def saved_in(cls, folder: Path) -> FittedWeights | None:
        """Read what `recsys fit` saved; None if missing or damaged."""
        try:
            return cls.model_validate_json((folder / WEIGHTS_FILE).read_bytes())
        except (OSError, ValidationError):
            return None
