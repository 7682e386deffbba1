"""A domain: a folder whose `domain.toml` names its items, data and ranking."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from recsys.config.attributes import AttributeType
from recsys.config.experiments import Name, Scenario
from recsys.config.finetuning import FinetuneConfig
from recsys.config.knowledge import Feedback, Rule
from recsys.config.ranking import RankerConfig, RequestKind, Weights
from recsys.config.reasons import ReasonConfig
from recsys.config.relations import Relation, RelationName
from recsys.config.retrieval import FittedWeights, RetrieverConfig
from recsys.config.settings import Settings
from recsys.config.sources import KnowledgeSource
from recsys.config.tables import Column, ImpressionTable, InteractionTable, ItemTable, Source, UserTable
from recsys.config.wishes import WishConfig
from recsys.errors import ConfigError, UnknownDomain
from recsys.types import Place, StrictModel
from recsys.utils.files import expanded


class Locality(StrictModel):
    """A town that the gazetteer does not have, as named areas."""

    name: str
    timezone: str = Field(description='IANA name: "America/Chicago"')
    radius_km: float = Field(5.0, gt=0, description="a point this close to an area lies in it")
    areas: dict[str, tuple[float, float]] = Field(
        min_length=1, description="name -> centre: latitude, longitude in degrees"
    )

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"'{name}' is not a time zone") from error
        return name


PersonalData = Literal["name", "mail", "phone", "card", "iban", "id", "address", "ip"]


class Privacy(StrictModel):
    """Which personal data is masked in wishes, facts and profiles.

    See `recsys.context.pii`.
    """

    mask: tuple[PersonalData, ...] = Field(
        ("name", "mail", "phone", "card", "iban", "id", "address"),
        description="before a prompt, a trace or a log",
    )
    name_fields: tuple[str, ...] = Field(
        ("name", "first_name", "last_name", "full_name", "nickname"),
        description="of a user's profile: left out of prompts; their values are masked elsewhere",
    )
    names: tuple[str, ...] = Field((), description="further names to mask")
    private: bool = Field(
        False,
        description="what is known of a person, such as a disease, stays out of traces: they keep no "
        "reasons, remarks, wishes, facts and stated items",
    )
    regions: tuple[str, ...] = Field(
        ("US", "GB", "DE"),
        description="ISO codes of countries whose numbers are recognized without +",
    )


class Domain(StrictModel):
    """A parsed `domain.toml`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    noun: str = Field(description='what one item is called: "film"')
    plural: str = Field(description='"films"')
    title: str = Field("", description="of the data set")
    licence: str = Field("", description="of the data")
    notice: str = Field(
        "",
        max_length=300,
        description="what every answer says; the domain is served only where WHYREC_ACKNOWLEDGED names it",
    )
    source: Source = Source()
    items: ItemTable
    sources: tuple[KnowledgeSource, ...] = Field((), description="of further attributes; the first wins")
    users: UserTable | None = None
    interactions: InteractionTable | None = None
    impressions: ImpressionTable | None = None
    attributes: dict[str, AttributeType] = Field(
        default_factory=dict, description="types of item attributes; one that is not named is text"
    )
    relations: dict[RelationName, Relation] = Field(
        default_factory=dict, description="edges between items, or to what they have in common"
    )
    region: Place | None = Field(
        None, description="where all users are: gives time zone and season where a request names no place"
    )
    country: str | None = Field(
        None,
        pattern=r"^[A-Z]{2}$",
        description="ISO code of the country that bare postal codes and cities are in",
    )
    locality: Locality | None = Field(None, description="a town that the gazetteer does not have")
    feedback: Feedback = Feedback()
    retriever: RetrieverConfig = RetrieverConfig()
    ranker: RankerConfig = RankerConfig()
    rules: tuple[Rule, ...] = Field((), description="those of `rules.toml` beside the file come after")
    reasons: ReasonConfig = ReasonConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    wishes: WishConfig = WishConfig()
    privacy: Privacy = Privacy()
    noise_filter: float = Field(
        0.0,
        ge=0,
        description="drop history items that are this many standard deviations less similar than the rest; "
        "0 keeps all, 2 is a start",
    )
    prompts: Path | None = Field(None, description="folder of templates that override the shipped ones")
    scenarios: dict[Name, Scenario] = Field(
        {}, description="experiments; each assigns the users to its arms independently"
    )
    folder: Path = Field(description="where the file was read from")

    @field_validator("rules")
    @classmethod
    def _names_are_unique(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if twice := [name for name, count in Counter(rule.name for rule in rules).items() if count > 1]:
            raise ValueError(f"two rules are called '{twice[0]}'")
        return rules

    @field_validator("scenarios")
    @classmethod
    def _check_disjoint(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        scenario_of: dict[str, str] = {}
        for name, scenario in scenarios.items():
            for option in sorted(frozenset().union(*(arm.overrides for arm in scenario.arms))):
                if (other := scenario_of.setdefault(option, name)) != name:
                    raise ValueError(f"'{other}' and '{name}' both set {option}")
        return scenarios

    @model_validator(mode="after")
    def _known_attributes(self) -> Domain:
        for name, column in self.attribute_columns:
            if name not in self.attributes and (column.invalid != "error" or column.missing):
                raise ValueError(f"invalid and missing of '{name}' need its type: write [attributes.{name}]")
        known = self.attribute_names
        for name in (
            *filter(None, (rule.by for rule in self.rules)),
            *self.attributes,
            *(self.ranker.attributes or ()),
            *(self.retriever.text.attributes or ()),
            *self.retriever.fields.weights.keys() - {"year"},
            *filter(None, [self.retriever.age.attribute]),
        ):
            if name not in known:
                where = (
                    "[items.attributes] and [[sources]] have" if self.sources else "[items.attributes] has"
                )
                raise ValueError(f"{where} no '{name}'; there are: {', '.join(known) or 'none'}")
        return self

    @model_validator(mode="after")
    def _sources_in_order(self) -> Domain:
        names: list[str] = []
        for source in self.sources:
            if source.name in names:
                raise ValueError(f"two sources are called '{source.name}'")
            if source.via and source.via not in names:
                raise ValueError(
                    f"source '{source.name}': via names '{source.via}', which is no source before it"
                )
            names.append(source.name)
        return self

    @model_validator(mode="after")
    def _known_relations(self) -> Domain:
        names = [*self.relations, *filter(None, (kind.inverse for kind in self.relations.values()))]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two relations, or the inverse of one, are called '{twice}'")
        for name, relation in self.relations.items():
            if unknown := next((one for one in relation.attributes if one not in self.attribute_names), None):
                raise ValueError(f"[relations.{name}] names '{unknown}', which no item attribute is")
        return self

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.resolve()

    @property
    def has_event_contexts(self) -> bool:
        """Whether events have a context: facts of their own, or a time in a known zone.

        Evaluation and fine-tuning then show it to the model.
        """
        table = self.interactions
        return table is not None and bool(table.context or (self.region and table.timestamp))

    @property
    def repeats(self) -> bool:
        """Whether an item may be chosen again."""
        return self.interactions is not None and self.interactions.repeats

    @property
    def citable_attributes(self) -> frozenset[str] | None:
        """The attributes that a reason may cite; None: all."""
        silent = {name for name, kind in self.attributes.items() if not kind.citable}
        return frozenset(self.attribute_names) - silent if silent else None

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The attributes of items: those of their own table, then those of the sources."""
        return tuple(dict.fromkeys(name for name, _ in self.attribute_columns))

    @property
    def attribute_columns(self) -> tuple[tuple[str, Column], ...]:
        """The same with their columns; an attribute of two sources comes twice."""
        tables = [self.items.attributes, *(source.attributes for source in self.sources)]
        return tuple(pair for table in tables for pair in table.items())

    def as_fitted(self, settings: Settings) -> Domain:
        """Return the domain with what `recsys fit` found about its score here."""
        fitted = FittedWeights.saved_in(settings.retriever_folder(self.name))
        if fitted is None or fitted.score is None:
            return self
        return self.model_copy(update={"ranker": self.ranker.model_copy(update={"fitted": fitted.score})})

    def weights(self, model: str, adapter: str | None) -> dict[RequestKind, Weights]:
        """Return the weights of a score with the model in use, by kind of request."""
        return self.ranker.weights(model, adapter, adapted=self.is_adapted(adapter))

    def why_retriever_leads(self, kind: RequestKind, model: str, adapter: str | None) -> str:
        """Say why the model has no weight in a kind of request that has weights."""
        if kind in self.ranker.kinds_fitted_with(model, adapter):
            return "the model added nothing to it when it was fitted"
        if self.ranker.weights_need_adapter and not self.is_adapted(adapter):
            return f"no adapter fine-tuned on '{self.name}' is in use"
        if self.ranker.model_weight == 0:
            return "the domain gives the model no weight"
        return f"nothing has shown yet that the model ranks '{self.name}' better; `recsys fit` measures it"

    def is_adapted(self, adapter: str | None) -> bool:
        """Whether an adapter is one of this domain."""
        return (adapter or "").startswith(f"{self.name}@")

    @property
    def prompt_folder(self) -> Path | None:
        """The folder of the domain's own templates, if it has any."""
        return self.folder / self.prompts if self.prompts else None


RULES_FILE = "rules.toml"


def shipped_domains() -> Path:
    """Return the folder of the domains that come with the distribution."""
    here = Path(__file__).resolve().parent.parent
    inside_wheel = here / "domains"
    return inside_wheel if inside_wheel.is_dir() else here.parent / "domains"


def list_domains() -> list[str]:
    """Return the names of the shipped domains."""
    return sorted(path.parent.name for path in shipped_domains().glob("*/domain.toml"))


def load_domain(name_or_folder: str | Path) -> Domain:
    """Read a domain by shipped name or by folder.

    Raises:
        UnknownDomain: There is no such domain.
        ConfigError: The file is malformed; the message names each wrong key.
    """
    folder = expanded(Path(name_or_folder))
    if not (folder / "domain.toml").is_file():
        folder = shipped_domains() / str(name_or_folder)
    path = folder / "domain.toml"
    if not path.is_file() or not str(name_or_folder):
        raise UnknownDomain(
            f"no domain '{name_or_folder}'",
            hint=f"shipped domains: {', '.join(list_domains()) or 'none'}; "
            "or name a folder that holds a domain.toml",
        )
    table = _read(path)
    if (rules := folder / RULES_FILE).is_file():
        more = _read(rules)
        if odd := sorted(more.keys() - {"rules"}):
            raise ConfigError(f"{rules}: {odd[0]}: only [[rules]] stand here", hint=f"move it to {path}")
        table["rules"] = [*table.get("rules", []), *more.get("rules", [])]
    return _validated(path, table | {"folder": folder})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}", hint="correct the line it names") from error


_REMOVED = "removed; use gru"
_READ = "removed; wishes are read into conditions, see docs/wishes.md"
_REPLACEMENTS: dict[tuple[str, ...], str] = {
    ("ranker", "history_spare"): "renamed; use max_history_trim",
    ("weights", "facets"): _READ,
    ("wish_weights", "facets"): _READ,
    ("weights", "attributes"): _READ,
    ("wish_weights", "attributes"): _READ,
    ("weights", "lru"): _REMOVED,
    ("weights", "attention"): _REMOVED,
    ("retriever", "lru"): _REMOVED,
    ("retriever", "attention"): _REMOVED,
    ("reasons", "chosen"): 'renamed; use verb = { en = "read" }',
    ("reasons", "history_shown"): "removed; the cause decides how many items are named",
    ("gru", "architecture"): "removed; the gru is the only architecture",
    ("gru", "heads"): "removed; the gru has none",
    ("finetune", "together"): "renamed; use micro_batch_size",
    ("examples", "planted"): "renamed; use adversarial_text",
    ("rules", "where"): "removed; write it in CEL: when = '\"Drama\" in item.genre'",
    ("rules", "items"): "removed; write it in CEL: when = 'item.id in [\"a\"]'",
    (
        "rules",
        "do",
    ): "must be forbid, require, limit, boost, bury, quota, at_least, pin or remark; forbid replaces hide",
}
"""What to use in place of an old key, by its table and its name."""


def _validated(path: Path, table: dict[str, Any]) -> Domain:
    try:
        return Domain.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(map(_problem, error.errors()))
        raise ConfigError(
            f"{path}: {problems}", hint="see domains/movies/domain.toml for a complete example"
        ) from error


def _problem(detail: ErrorDetails) -> str:
    keys = tuple(str(key) for key in detail["loc"] if key != "[key]")  # pydantic marks a wrong dict key so
    table = keys[-2] if len(keys) > 1 and not keys[-2].isdigit() else keys[0] if keys else ""
    return f"{'.'.join(keys) or 'file'}: {_REPLACEMENTS.get((table, *keys[-1:]), detail['msg'])}"
