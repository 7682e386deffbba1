"""Options of experiments, as `[scenarios]` in domain.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from recsys.config.ranking import RankerConfig
from recsys.config.retrieval import Channel
from recsys.types import StrictModel

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


class Arm(StrictModel):
    """One way to serve a share of the people; what it does not set is as the domain has it."""

    name: Name
    share: float = Field(
        gt=0, allow_inf_nan=False, description="of the people, beside the shares of the others"
    )
    prompts: Path | None = Field(None, description="folder of templates, in place of the domain's own")
    adapter: str | None = Field(
        None,
        pattern=r"^(none|[a-z0-9][a-z0-9_-]*@[0-9a-f]{4,64})$",
        description="domain@sha of the registry, or 'none': the base model alone",
    )
    weights: dict[Channel, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description="of retrieval channels; the others keep theirs"
    )
    ranker: RankerConfig = Field(RankerConfig(), description="of this only what is set counts")

    @property
    def by_name(self) -> dict[str, float]:
        """The weights, by plain names."""
        return {str(name): weight for name, weight in self.weights.items()}

    @property
    def overrides(self) -> frozenset[str]:
        """What it sets: "prompts", "weights.gru", "ranker.diversity"."""
        whole = {name for name in ("prompts", "adapter") if getattr(self, name) is not None}
        parts = {f"weights.{name}" for name in self.weights}
        return frozenset(whole | parts | {f"ranker.{name}" for name in self.ranker.model_fields_set})


class Scenario(StrictModel):
    """An experiment: each person is in one of its arms. The first is the control, the domain as it is."""

    arms: tuple[Arm, ...]

    @model_validator(mode="after")
    def _can_be_compared(self) -> Scenario:
        names = [arm.name for arm in self.arms]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("it needs two arms or more, each of another name")
        if found := self.arms[0].overrides:
            raise ValueError(f"the first arm, '{names[0]}', is the control: it cannot set {min(found)}")
        return self

    @property
    def control(self) -> Arm:
        return self.arms[0]
