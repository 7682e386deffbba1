"""Options of fine-tuning: `[finetune]` in `domain.toml`, `recsys finetune --set`."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from recsys.types import StrictModel

Method = Literal["lora", "dora", "rslora", "qlora", "partial", "full"]
ExampleKind = Literal["hard", "random", "wish", "shown"]
Objective = Literal["pointwise", "letters", "title", "reason", "read"]


class ExampleConfig(StrictModel):
    """How training examples are made.

    A `*_dropout` share of the examples goes without that part of the prompt, so that the model
    also learns to rank without it.
    """

    reserved: int = Field(
        10, ge=2, description="last events of each user, never trained on: half for test, half for validation"
    )
    targets: int = Field(
        10,
        ge=1,
        description="events before the reserved ones, each the answer of an example; without folds the "
        "retriever is fitted on earlier events only",
    )
    folds: int = Field(
        0,
        ge=0,
        description="2 and more: so many parts of the users, each with a retriever fitted on all events of "
        "the other users, so that targets may be many; 0: one retriever",
    )
    candidates: int = Field(16, ge=2, le=200, description="of an example")
    depth: int = Field(50, ge=2, description="hard candidates are sampled from the retriever's first so many")
    hard: float = Field(0.5, ge=0, description="share of examples whose candidates the retriever brings")
    random: float = Field(0.35, ge=0, description="share of examples with random candidates")
    wish: float = Field(
        0.15, ge=0, description="share of examples with random candidates and a wish for the target in words"
    )
    shown: float = Field(
        0.0,
        ge=0,
        description="share of examples whose candidates are of the list that the user was shown; above 0, "
        "`reserved` and `targets` do not count: what comes first in time is trained on, as in "
        "`recsys evaluate --split impressions`",
    )
    facts_dropout: float = Field(0.35, ge=0, le=1, description="share without the retriever's facts")
    item_dropout: float = Field(0.1, ge=0, le=1, description="share of candidates without facts, as if new")
    profile_dropout: float = Field(0.3, ge=0, le=1, description="share without the user's profile")
    context_dropout: float = Field(0.7, ge=0, le=1, description="share without time, place and weather")
    short_history: float = Field(0.3, ge=0, le=1, description="share with a history cut to a random length")
    adversarial_text: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of candidates with unrelated text added to title or description, and of profiles "
        "with such text in a field: the model learns to ignore it",
    )
    held_items: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of items held out of training; .2 for `evaluate --split cold-items`, both parts",
    )


class ObjectiveConfig(StrictModel):
    """What the model learns to answer, by relative shares of the examples.

    Train mostly for what `ranker.strategy` asks, which is also what validation measures.
    """

    pointwise: float = Field(1.0, ge=0, description="Yes or No for every candidate, compared among them")
    letters: float = Field(0.0, ge=0, description="the letter of one candidate out of all (listwise)")
    title: float = Field(0.0, ge=0, description="the target's title, token by token")
    reason: float = Field(
        0.0,
        ge=0,
        description="a true reason for the target, token by token; an example without one is ranked",
    )
    read: float = Field(
        0.0, ge=0, description="the conditions of a made-up wish as JSON, token by token; several at once"
    )

    @property
    def shares(self) -> dict[Objective, float]:
        """Shares of the examples, which add up to 1."""
        weights: dict[Objective, float] = {name: getattr(self, name) for name in get_args(Objective)}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        names = get_args(Objective)
        if not any(getattr(self, name) for name in names):
            raise ValueError(f"one of {', '.join(names)} must be above 0")
        return self


class FinetuneConfig(StrictModel):
    """How a model is fine-tuned."""

    method: Method = Field("lora", description="an adapter, the last layers (partial), or everything (full)")
    start: str = Field(
        "", description="adapter to continue from (domain@sha, or a folder): same rank and layers"
    )
    rank: int = Field(16, ge=1, le=256, description="of LoRA")
    alpha: int = Field(32, ge=1, description="of LoRA")
    dropout: float = Field(0.0, ge=0, lt=1, description="of LoRA")
    modules: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="layers that LoRA adapts"
    )
    layers: int = Field(4, ge=1, description="partial: how many of the last layers")
    embeddings: bool = Field(False, description="partial: the embeddings too")
    learning_rate: float = Field(2e-4, gt=0, description="after the warm-up; then a cosine down to 0")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    batch: int = Field(8, ge=1, description="examples a step")
    micro_batch_size: int = Field(
        1, ge=1, description="of them computed at once: 16 and more fill a GPU, 1 is best on a CPU"
    )
    steps: int = Field(400, ge=1)
    prior: float = Field(
        0.0, ge=0, description="weight of the retriever's score in the loss of hard examples, as when serving"
    )
    calibration: float = Field(0.05, ge=0, description="weight of the labels' own likelihood in the loss")
    checkpointing: bool = Field(False, description="recompute activations: less memory, a third more time")
    evaluate_every: int = Field(50, ge=1, description="steps")
    patience: int = Field(4, ge=1, description="evaluations without a better one before training stops")
    validation: int = Field(100, ge=1, description="cases of each validation list")
    final: int = Field(150, ge=1, description="cases of each list that the finished model is measured on")
    seed: int = 0
    objectives: ObjectiveConfig = ObjectiveConfig()
    examples: ExampleConfig = ExampleConfig()

    @property
    def trains_adapter(self) -> bool:
        """False where the model's own weights are changed."""
        return self.method not in ("partial", "full")
