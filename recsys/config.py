"""The only option schema: settings of the installation, and of one domain.

A *domain* is a folder with a `domain.toml`: what an item is called, where its
data lies and how columns map, and how to retrieve and rank. Settings come from
`WHYREC_*` environment variables (or keyword arguments) and hold for all domains.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import platformdirs
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigError, UnknownDomain
from recsys.ranker_config import RankerConfig
from recsys.retriever_config import Channel, RetrieverConfig
from recsys.table_config import InteractionTable, ItemTable, Source, Strict, UserTable
from recsys.tuning_config import TuningConfig

PACKAGED_MODEL = "smollm2-135m-instruct"
PACKAGED_EMBEDDER = "all-minilm-l6-v2"


class Settings(BaseSettings):
    """Where things lie on this machine and which models run. `WHYREC_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="WHYREC_", extra="forbid", frozen=True)

    cache_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("whyrec")))
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("whyrec")))
    store_url: str = ""
    model: str = Field(PACKAGED_MODEL, description="packaged name, Hugging Face id, or folder")
    embedder: str = Field(PACKAGED_EMBEDDER, description="packaged name, Hugging Face id, or folder")
    engine: str = Field("vllm", description="'vllm' in this process, or the URL of a `vllm serve`")
    api_key: str = Field("", description="for a remote engine")
    adapter: str = Field(
        "", description="'' the domain's default, 'none', an adapter's domain@sha, or a LoRA folder"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: Literal["", "int8", "fp8", "awq", "gptq"] = Field(
        "",
        description="'' as the weights are; 'int8' made of plain weights, on a CPU too; 'fp8' by vLLM while "
        "loading, on a GPU; 'awq' and 'gptq' (int4) only say what the weights must be",
    )
    max_model_len: int = Field(4096, ge=256)
    kv_cache_gb: float = Field(2.0, gt=0, description="CPU only, GiB")
    compile: bool = Field(False, description="compile the model: slower start, about 10 % faster requests")
    timeout_s: float = Field(120.0, gt=0, description="one engine call")

    @field_validator("adapter", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the store; one SQLite file unless set."""
        return self.store_url or f"sqlite:///{self.data_dir / 'whyrec.db'}"


class Locality(Strict):
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


class Feedback(Strict):
    """Which ratings count as liked and as disliked; between them neither."""

    liked_at_least: float | None = None
    disliked_at_most: float | None = None

    def liked(self, rating: float | None) -> bool | None:
        if rating is None:
            return None
        if self.liked_at_least is not None and rating >= self.liked_at_least:
            return True
        if self.disliked_at_most is not None and rating <= self.disliked_at_most:
            return False
        return None


class Rule(Strict):
    """What is done with some items of every list, whatever the scores: see `recsys.ranking.rules`.

    It is about items with one of the values of every attribute in `where`, and about `items` by id.
    """

    name: str = Field(min_length=1, description="named in the answer, beside each item it acted on")
    do: Literal["pin", "boost", "bury", "quota", "hide"]
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    items: frozenset[str] = frozenset()
    first: int = Field(1, ge=1, description="pin: the place; quota: the first so many places")
    n: int = Field(1, ge=0, description="quota: how many may stand there")
    factor: float = Field(2.0, gt=1, description="boost: of the score")

    @model_validator(mode="after")
    def _about_something(self) -> Rule:
        if not self.where and not self.items:
            raise ValueError("a rule needs `where` or `items`")
        used = {"pin": {"first"}, "quota": {"first", "n"}, "boost": {"factor"}}.get(self.do, set())
        if odd := self.model_fields_set.intersection({"first", "n", "factor"} - used):
            raise ValueError(f"'{self.do}' has no {', '.join(sorted(odd))}")
        return self


Style = Literal["short", "detailed", "comparative"]


class ReasonConfig(Strict):
    max_tokens: int = Field(96, ge=16)
    history_shown: int = Field(3, ge=0, description="history items offered as evidence")
    retries: int = Field(1, ge=0, le=3)
    ablations: int = Field(
        3,
        ge=0,
        le=100,
        description="parts of a request that the model is asked again without, one by one; what a reason cites "
        "is left out as a whole besides. 0: only the retriever is measured",
    )
    language: str = Field("en", pattern=r"^[a-z]{2}(-[a-z]+)?$", description="a folder of prompts/explain")
    style: Style = Field("short", description="detailed: two sentences; comparative: against the next item")


PersonalData = Literal["name", "mail", "phone", "card", "iban", "ip"]


class Privacy(Strict):
    """What is masked in wishes, facts and profiles before a prompt, a trace or a log: see `recsys.privacy`."""

    mask: tuple[PersonalData, ...] = ("name", "mail", "phone", "card", "iban")
    name_fields: tuple[str, ...] = Field(
        ("name", "first_name", "last_name", "full_name", "nickname"),
        description="of a user's profile: never told, and masked wherever that user writes them",
    )
    names: tuple[str, ...] = Field((), description="further names to mask")
    regions: tuple[str, ...] = Field(
        ("US", "GB", "DE"), description="ISO codes whose telephone numbers are known without their +"
    )


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


class Arm(Strict):
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


class Scenario(Strict):
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


class Domain(Strict):
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
    finetune: TuningConfig = TuningConfig()
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
    def situated(self) -> bool:
        """Whether events say in which situation they happened, so that evaluation and tuning tell it."""
        return self.interactions is not None and bool(self.interactions.context)

    @property
    def prompt_folder(self) -> Path | None:
        """Where the domain's own templates are, if it has any."""
        return self.folder / self.prompts if self.prompts else None


def shipped_domains() -> Path:
    """The folder of domains that come with the distribution."""
    here = Path(__file__).resolve().parent
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


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, with keyword overrides.

    Raises ConfigError naming each wrong variable.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"WHYREC_{str(d['loc'][0]).upper()}: {d['msg']}" for d in error.errors())
        raise ConfigError(problems, hint="unset the variable or correct its value") from error
