"""A domain: a folder whose `domain.toml` says what an item is called, where its data lies, and how to rank."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, field_validator

from recsys.config.experiments import Name, Scenario
from recsys.config.finetuning import FinetuneConfig
from recsys.config.knowledge import Feedback, Rule
from recsys.config.ranking import RankerConfig
from recsys.config.reasons import ReasonConfig
from recsys.config.retrieval import RetrieverConfig
from recsys.config.tables import InteractionTable, ItemTable, Source, UserTable
from recsys.errors import ConfigError, UnknownDomain
from recsys.types import StrictModel


class Locality(StrictModel):
    """A town that no table of places has: its parts by name, each "latitude, longitude" in degrees."""

    name: str
    timezone: str
    radius_km: float = Field(5.0, gt=0, description="within which a point belongs to its nearest part")
    areas: dict[str, tuple[float, float]] = Field(min_length=1)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"'{name}' is no time zone") from error
        return name


PersonalData = Literal["name", "mail", "phone", "card", "iban", "ip"]


class Privacy(StrictModel):
    """What is masked in wishes, facts and profiles before a prompt, a trace or a log: see `recsys.context.pii`."""

    mask: tuple[PersonalData, ...] = ("name", "mail", "phone", "card", "iban")
    name_fields: tuple[str, ...] = Field(
        ("name", "first_name", "last_name", "full_name", "nickname"),
        description="of a user's profile: never told, and masked wherever that user writes them",
    )
    names: tuple[str, ...] = Field((), description="further names to mask")
    regions: tuple[str, ...] = Field(
        ("US", "GB", "DE"), description="ISO codes whose telephone numbers are known without their +"
    )


class Domain(StrictModel):
    """A parsed `domain.toml`. `folder` is where it was read from."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    noun: str
    plural: str
    title: str = ""
    licence: str = ""
    source: Source = Source()
    items: ItemTable
    users: UserTable | None = None
    interactions: InteractionTable | None = None
    locality: Locality | None = None
    feedback: Feedback = Feedback()
    retriever: RetrieverConfig = RetrieverConfig()
    ranker: RankerConfig = RankerConfig()
    rules: tuple[Rule, ...] = ()
    reasons: ReasonConfig = ReasonConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    privacy: Privacy = Privacy()
    noise_filter: float = Field(
        0.0,
        ge=0,
        description="leave out history items so many deviations less alike than the rest; 0: none, try 2",
    )
    prompts: Path | None = Field(None, description="folder of templates that win over the shipped ones")
    scenarios: dict[Name, Scenario] = Field(
        {}, description="experiments, each of which divides the people anew"
    )
    folder: Path

    @field_validator("scenarios")
    @classmethod
    def _apart(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        first: dict[str, str] = {}
        for name, scenario in scenarios.items():
            for what in sorted(frozenset().union(*(arm.overrides for arm in scenario.arms))):
                if (other := first.setdefault(what, name)) != name:
                    raise ValueError(f"'{other}' and '{name}' both set {what}")
        return scenarios

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.resolve()

    @property
    def has_event_contexts(self) -> bool:
        """Whether events say in which situation they happened, so that evaluation and tuning tell it."""
        return self.interactions is not None and bool(self.interactions.context)

    @property
    def prompt_folder(self) -> Path | None:
        """Where the domain's own templates are, if it has any."""
        return self.folder / self.prompts if self.prompts else None


def shipped_domains() -> Path:
    """The folder of domains that come with the distribution."""
    here = Path(__file__).resolve().parent.parent
    inside_wheel = here / "domains"
    return inside_wheel if inside_wheel.is_dir() else here.parent / "domains"


def list_domains() -> list[str]:
    """Names of the shipped domains."""
    return sorted(path.parent.name for path in shipped_domains().glob("*/domain.toml"))


def load_domain(name_or_folder: str | Path) -> Domain:
    """Read a domain by shipped name or by folder.

    Raises UnknownDomain if there is none, ConfigError naming each wrong key.
    """
    folder = Path(name_or_folder)
    if not (folder / "domain.toml").is_file():
        folder = shipped_domains() / str(name_or_folder)
    path = folder / "domain.toml"
    if not path.is_file() or not str(name_or_folder):
        raise UnknownDomain(
            f"no domain '{name_or_folder}'",
            hint=f"shipped domains: {', '.join(list_domains()) or 'none'}; or give a folder that holds a domain.toml",
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}", hint="mend the line it names") from error
    return _validated(path, table | {"folder": folder})


def _validated(path: Path, table: dict[str, Any]) -> Domain:
    try:
        return Domain.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}" for detail in error.errors()
        )
        raise ConfigError(
            f"{path}: {problems}", hint="see domains/movies/domain.toml for a complete example"
        ) from error
