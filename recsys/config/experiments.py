"""Experiments: `[scenarios]` of domain.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from recsys.config.knowledge import Rule
from recsys.config.ranking import RankerConfig
from recsys.config.retrieval import Channel
from recsys.types import StrictModel

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


class Arm(StrictModel):
    """A variant of the domain that a share of users gets; unset options stay."""

    name: Name
    share: float = Field(
        gt=0, allow_inf_nan=False, description="of the users, relative to the shares of the other arms"
    )
    prompts: Path | None = Field(None, description="folder of templates that replaces the domain's own")
    adapter: str | None = Field(
        None,
        pattern=r"^(none|[a-z0-9][a-z0-9_-]*@[0-9a-f]{4,64})$",
        description="domain@sha in the registry, or 'none' for the base model alone",
    )
    weights: dict[Channel, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description="of retrieval channels; channels not named keep theirs"
    )
    ranker: RankerConfig = Field(RankerConfig(), description="only the options set here count")
    rules: tuple[Rule, ...] = Field(
        (), description="added to those of the domain, or in place of the one of the same name"
    )

    @property
    def by_name(self) -> dict[str, float]:
        """The weights by plain channel names."""
        return {str(name): weight for name, weight in self.weights.items()}

    @property
    def overrides(self) -> frozenset[str]:
        """Names of what it sets: "prompts", "weights.gru", "ranker.diversity", "rules.x"."""
        top_level = {name for name in ("prompts", "adapter") if getattr(self, name) is not None}
        weights = {f"weights.{name}" for name in self.weights}
        ranker = {f"ranker.{name}" for name in self.ranker.model_fields_set}
        rules = {f"rules.{rule.name}" for rule in self.rules}
        return frozenset(top_level | weights | ranker | rules)


class Scenario(StrictModel):
    """An experiment that assigns each user to one arm."""

    arms: tuple[Arm, ...] = Field(description="the first is the control: the domain as it is")

    @model_validator(mode="after")
    def _check_arms(self) -> Scenario:
        names = [arm.name for arm in self.arms]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("two arms or more are needed, with different names")
        if overrides := self.arms[0].overrides:
            raise ValueError(f"the first arm, '{names[0]}', is the control: it cannot set {min(overrides)}")
        return self

    @property
    def control(self) -> Arm:
        """The arm that serves the domain as it is."""
        return self.arms[0]
