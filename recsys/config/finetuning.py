"""Options of fine-tuning, as `[finetune]` in domain.toml and on the command line. A leaf."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from recsys.types import StrictModel

Method = Literal["lora", "dora", "rslora", "qlora", "partial", "full"]
ExampleKind = Literal["hard", "random", "wish"]
Objective = Literal["pointwise", "letters", "title", "reason"]


class ExampleConfig(StrictModel):
    """What training examples look like.

    Of each user the last `reserved` events are never read (half each for test and validation),
    and the `targets` events before those are what the model learns to choose; everything
    earlier fits the retriever that makes the candidates. With `folds` the retriever of a person's
    examples is fitted on all events of the others instead, so that nothing has to be kept
    from it and `targets` may be many. Every `*_dropout` is the share of
    examples (`item_dropout`: of candidates) that go without that part of the prompt, so
    that the model learns to do without it too.
    """

    reserved: int = Field(10, ge=2)
    targets: int = Field(10, ge=1)
    folds: int = Field(
        0,
        ge=0,
        description="2 and more: as many retrievers, each fitted without one part of the users, who learn from it",
    )
    candidates: int = Field(16, ge=2, le=200)
    depth: int = Field(50, ge=2, description="hard candidates are drawn from the retriever's first so many")
    hard: float = Field(0.5, ge=0, description="share of examples whose others come from the retriever")
    random: float = Field(0.35, ge=0, description="share of examples whose others are drawn at random")
    wish: float = Field(0.15, ge=0, description="share of examples where the target is asked for in words")
    facts_dropout: float = Field(0.35, ge=0, le=1)
    item_dropout: float = Field(0.1, ge=0, le=1)
    profile_dropout: float = Field(0.3, ge=0, le=1)
    context_dropout: float = Field(0.7, ge=0, le=1)
    short_history: float = Field(0.3, ge=0, le=1, description="share with a history cut to a random length")
    adversarial_text: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of candidates with a text in their title or description that says nothing of them, and of "
        "profiles with one in a field: the model learns not to heed what others wrote there",
    )
    held_items: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of items that training knows nothing of: .2 for `evaluate --split cold-items`, both parts",
    )


class ObjectiveConfig(StrictModel):
    """What the model is asked in training; each is the share of examples that ask so.

    `pointwise`: Yes or No for every candidate, compared among them. `letters`: one letter
    out of all. `title`: the target's name, word by word (p(y | x) of the sequence). `reason`:
    why the target, a true sentence word by word; where none can be said of an example, it
    asks as ranking does. Tune for what `ranker.strategy` asks, which is also what validation
    asks.
    """

    pointwise: float = Field(1.0, ge=0)
    letters: float = Field(0.0, ge=0)
    title: float = Field(0.0, ge=0)
    reason: float = Field(0.0, ge=0)

    @property
    def _given(self) -> dict[Objective, float]:
        return {name: getattr(self, name) for name in get_args(Objective)}

    @property
    def shares(self) -> dict[Objective, float]:
        """Of all examples."""
        total = sum(self._given.values())
        return {name: given / total for name, given in self._given.items()}

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self._given.values()):
            raise ValueError(f"one of {', '.join(self._given)} must be above 0")
        return self


class FinetuneConfig(StrictModel):
    """How a model is tuned."""

    method: Method = "lora"
    start: str = Field(
        "", description="adapter to go on from (domain@sha, or a folder): same rank and layers"
    )
    rank: int = Field(16, ge=1, le=256)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    layers: int = Field(4, ge=1, description="partial: how many of the last layers")
    embeddings: bool = Field(False, description="partial: the embeddings too")
    learning_rate: float = Field(2e-4, gt=0)
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
    patience: int = Field(4, ge=1, description="evaluations without a better one before it stops")
    validation: int = Field(100, ge=1, description="cases of each validation list")
    final: int = Field(150, ge=1, description="cases of each list that the finished model is measured on")
    seed: int = 0
    objectives: ObjectiveConfig = ObjectiveConfig()
    examples: ExampleConfig = ExampleConfig()
