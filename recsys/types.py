"""Data types of the system: frozen, serialisable, importing nothing of ours.

The Python API, `--json` output and every service return these objects, so a field
added here is a field of every surface.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator


class StrictModel(BaseModel):
    """Base of all data types and options: immutable, unknown fields rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what a domain holds ---------------------------------------------------------


class Place(StrictModel):
    """A geographic place, of which only what is known is filled in."""

    city: str | None = Field(None, max_length=200)
    state: str | None = Field(None, max_length=200)
    country: str | None = Field(None, max_length=200)
    postal_code: str | None = Field(None, max_length=200)
    latitude: float | None = Field(None, ge=-90, le=90, description="degrees, WGS 84")
    longitude: float | None = Field(None, ge=-180, le=180, description="degrees, WGS 84")
    timezone: str | None = Field(None, max_length=200, description='IANA name: "America/Chicago"')

    @property
    def name(self) -> str:
        """A name for people: "Minneapolis, Minnesota"; empty if nothing is known."""
        region = self.state or (self.country if self.city and self.country != "United States" else None)
        parts = [part for part in (self.city, region) if part]
        return ", ".join(parts) if parts else (self.country or "")


class Site(StrictModel):
    """Where an item is, and when it is open there."""

    latitude: float | None = Field(None, ge=-90, le=90, description="degrees, WGS 84")
    longitude: float | None = Field(None, ge=-180, le=180, description="degrees, WGS 84")
    hours: str = Field(
        "", description='local opening hours as in OpenStreetMap: "Tu-Su 10:00-17:00; Fr 10:00-21:00"'
    )


class Item(StrictModel):
    """One thing that can be recommended."""

    id: str
    title: str
    year: int | None = Field(None, description="of publication")
    attributes: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description='{"genre": ["Comedy", "Drama"]}'
    )
    description: str = ""
    site: Site | None = Field(
        None,
        exclude_if=lambda site: site is None,
        description="of items that have a location; a film has none",
    )
    sources: Mapping[str, str] | None = Field(
        None,
        exclude_if=lambda sources: sources is None,
        description="attribute -> the further source that gave it; the others are of the item's own table",
    )

    @property
    def name(self) -> str:
        """Title with its year, which tells remakes apart: "Cape Fear (1991)"."""
        return f"{self.title} ({self.year})" if self.year else self.title


class User(StrictModel):
    """A known user."""

    id: str
    profile: Mapping[str, str] = Field(
        default_factory=dict, description='facts that a prompt may contain: {"occupation": "nurse"}'
    )
    home: Place | None = None


class Interaction(StrictModel):
    """One event: a user interacted with an item."""

    user_id: str
    item_id: str
    rating: float | None = None
    timestamp: float | None = Field(None, description="seconds since 1970, UTC")
    context: Mapping[str, str] = Field(
        default_factory=dict, description='facts of the moment: {"weather": "rain"}'
    )


class HistoryEntry(StrictModel):
    """An item of a user's history."""

    item: Item
    liked: bool | None = Field(None, description="None: the event does not tell")
    rating: float | None = None
    timestamp: float | None = Field(None, description="of the last time, in seconds since 1970, UTC")
    times: int = Field(1, ge=1, description="how often it was chosen")
    first: float | None = Field(None, description="time of the first of several, in seconds since 1970, UTC")

    @property
    def cycle(self) -> float | None:
        """Mean seconds from one choice to the next; None below three, or without times."""
        if self.times < 3 or self.timestamp is None or self.first is None:
            return None
        return (self.timestamp - self.first) / (self.times - 1)


# --- what a request says -----------------------------------------------------------


class Context(StrictModel):
    """The context of a request. What is not known is None."""

    time: dt.datetime | None = Field(
        None, description="only its date counts where `hour` is None; local where the time zone is known"
    )
    hour: int | None = Field(None, ge=0, le=23, description="local")
    part_of_day: str | None = Field(None, description='"morning", "evening" ...')
    weekday: str | None = Field(None, description='"Friday"')
    weekend: bool | None = Field(None, description="Saturday or Sunday")
    season: str | None = Field(None, description="meteorological, of the hemisphere of the place")
    place: Place | None = None
    wish: str = Field("", description="free text")
    extra: Mapping[str, str] = Field(default_factory=dict, description="further facts by name")
    notes: tuple[str, ...] = Field((), description="what was assumed")

    @property
    def facts(self) -> dict[str, str]:
        """What a prompt may contain, as short phrases: {"weekday": "Friday"}."""
        facts: dict[str, str] = {}
        if self.weekday:
            facts["weekday"] = self.weekday
        if self.hour is not None and self.time is not None:
            facts["time"] = f"{self.time:%H:%M}"
        if self.part_of_day:
            facts["part of day"] = self.part_of_day
        if self.season:
            facts["season"] = self.season
        if self.place and self.place.name:
            facts["place"] = self.place.name
        return facts | dict(self.extra)


class AtLeast(StrictModel):
    """A quota: at least `n` of the recommended items have one of `values`."""

    attribute: str = Field(description='"genre"')
    values: tuple[str, ...] = Field(description='["Drama"]')
    n: int = Field(ge=1)


class Comparison(StrictModel):
    """A condition on a typed attribute; items without the attribute fail it."""

    attribute: str = Field(description='"price"')
    operator: Literal["<", "<=", ">", ">="]
    value: str = Field(description='as people write it: "5", "$5", "2 hours", "March 1996"')


class Filter(StrictModel):
    """Which items may be recommended; attributes are compared without case."""

    where: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="the item has one of the values, for every attribute named"
    )
    without: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="the item has none of the values"
    )
    compare: tuple[Comparison, ...] = Field((), description="all of them hold")
    expressions: tuple[str, ...] = Field(
        (),
        description='CEL, as in rules: "item.price < 5.0"; all of them hold, an item of which one cannot '
        "be decided is left out",
    )
    year_from: int | None = Field(None, description="inclusive; excludes items of unknown year")
    year_to: int | None = Field(None, description="inclusive; excludes items of unknown year")
    only: frozenset[str] | None = Field(None, description="ids of the only items allowed")
    never: frozenset[str] = Field(frozenset(), description="ids of items that are excluded")
    at_least: tuple[AtLeast, ...] = Field(
        (), description="quotas; where the catalog has fewer such items, all of them come in"
    )

    @field_serializer("only", "never", when_used="json")
    def _in_order(self, ids: frozenset[str] | None) -> list[str] | None:
        """Sort ids: the order of a set is another in every process."""
        return None if ids is None else sorted(ids)


ConditionOperator = Literal["is", "<", "<=", ">", ">=", "lowest", "highest"]


class WishCondition(StrictModel):
    """One thing that a wish asks of an item."""

    attribute: str = Field(description='"genre"; "year"')
    operator: ConditionOperator = Field(
        "is", description="lowest and highest order the items, and leave none out"
    )
    values: tuple[str, ...] = Field(
        (), description="any of them; of a comparison the bound, in the unit of the attribute"
    )
    wanted: bool = Field(True, description="False: it must not hold")
    hard: bool = Field(
        False, description="True: items without it are left out; else those with it come first"
    )
    rather: bool = Field(False, description="True: it was said as a preference, and counts after the others")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.hard and self.rather:
            raise ValueError("a condition is a must (hard) or a preference (rather), not both")
        return self


class Conversation(StrictModel):
    """What a conversation asks for so far; the next turn changes it."""

    conditions: tuple[WishCondition, ...] = Field((), max_length=20)
    like: tuple[str, ...] = Field((), max_length=20, description="ids of items named as examples")
    words: str = Field("", max_length=500, description="what names nothing of this domain")
    rejected: tuple[str, ...] = Field((), max_length=500, description="ids that are not shown again")
    shown: tuple[str, ...] = Field((), max_length=100, description='ids of the last list: "the second"')


class Understood(StrictModel):
    """How a wish was read."""

    text: str = Field(
        description="\"language: French \u00b7 not genre: War \u00b7 not known here: 'by the sea'\""
    )
    conditions: tuple[WishCondition, ...] = ()
    like: tuple[str, ...] = Field((), description="ids of items that the wish names as examples")
    unknown: str = Field("", description="what of the wish names nothing of this domain")
    relaxed: tuple[str, ...] = Field(
        (), description="conditions that count less, in this order, for nothing fits all of them"
    )


# --- what ranking and explaining return -----------------------------------------------


class Relatedness(StrictModel):
    """How an item is related to another, by a relation of the domain."""

    item_id: str = Field(description="of the other")
    relation: str
    forward: bool = Field(True, description="False: the edge leads from the other to the item")
    value: str = Field("", description="what both have in common, such as a director")


class Candidate(StrictModel):
    """An item that retrieval passes to ranking."""

    item: Item
    score: float = Field(description="fused retriever score; higher is better")
    source: str = Field(description="the channel that ranked it best")
    channels: Mapping[str, int] = Field(
        default_factory=dict, description="its rank in each channel that retrieved it, from 1"
    )
    contributions: Mapping[str, float] = Field(
        default_factory=dict, description="history item id -> its share of the text channel's score"
    )
    co_consumed: Mapping[str, float] = Field(
        default_factory=dict,
        description="ids of the history items with which it co-occurs most, strongest first, "
        "and their shares of that evidence",
    )
    related: tuple[Relatedness, ...] = Field(
        (), description="how it is related to items of the history that were not disliked"
    )
    popularity: float | None = Field(
        None, description="share of the items with fewer users (0 to 1); None without interactions"
    )
    lead: float | None = Field(
        None, description="its score minus the best score of the answer; None if it was not retrieved"
    )


EvidenceKind = Literal[
    "history",
    "group",
    "co_consumed",
    "relation",
    "attribute",
    "context",
    "profile",
    "wish",
    "popularity",
    "repeat",
    "passage",
]


class Evidence(StrictModel):
    """A fact that a reason may cite."""

    id: str = Field(description="h1, a2, c1 ...: unique within its reason")
    kind: EvidenceKind
    text: str
    item_id: str | None = Field(None, description="the history item that it is about")
    item_ids: tuple[str, ...] = Field((), description="of several: all of them, strongest first")
    attribute: str | None = Field(None, description="name of the attribute whose value it is")
    contribution: float | None = Field(None, description="effect on the score; None if not measured")
    measure: str | None = Field(None, description="how `contribution` was measured")


class Counterfactual(StrictModel):
    """Where the item would rank without some of the evidence. Ranks start at 1."""

    without: tuple[str, ...] = Field(description="ids of the evidence left out")
    rank: int
    rank_without: int


class Influence(StrictModel):
    """One of the main parameters of a score."""

    name: Literal["retrieval", "history", "context", "wish", "profile", "popularity", "rules"]
    share: float = Field(description="of all measured effects; the shares of an item sum to 1")
    text: str


class Explanation(StrictModel):
    """A reason in words, and the evidence for it.

    Comprehensiveness and sufficiency: DeYoung et al., ERASER, ACL 2020; None without an ablation.
    """

    text: str
    source: Literal["llm", "template"]
    free: bool = Field(False, description="the model worded it itself, from a sentence that is true")
    grounded: bool = Field(description="every claim is backed by the cited evidence")
    evidence: tuple[Evidence, ...] = Field((), description="cited by the text")
    against: tuple[Evidence, ...] = Field((), description="with a negative measured effect")
    comprehensiveness: float | None = Field(
        None, description="share of the item's probability that is lost without the cited evidence"
    )
    sufficiency: float | None = Field(
        None, description="share of the item's probability that is lost with the cited evidence alone"
    )
    counterfactual: Counterfactual | None = None
    influences: tuple[Influence, ...] = ()
    language: str = "en"
    failures: tuple[str, ...] = Field((), description="checks that a rejected text did not pass")


class RuleAction(StrictModel):
    """What a rule of the domain did in an answer."""

    rule: str
    do: str = Field(
        description="forbid, require, limit, boost, bury, quota, at_least, pin or remark",
    )
    items: int = Field(
        description="how many it left out of those that would have been candidates, moved among them, or "
        "remarked on in the list"
    )
    version: str = Field(description="a digest of the rule")
    trial: bool = Field(False, description="only counted: the answer is as without it")
    values: Mapping[str, str] = Field(
        default_factory=dict, description="what it read of the first of them; nothing about the person"
    )

    @property
    def text(self) -> str:
        """Return what it did in words: "no-horror left 3 out"."""
        left_out = self.do in ("forbid", "require", "limit")
        done = f"left {self.items} out" if left_out else f"moved {self.items} ({self.do})"
        done = f"remarked on {self.items}" if self.do == "remark" else done
        return f"{self.rule} would have {done}, and is on trial" if self.trial else f"{self.rule} {done}"


class LeftOut(StrictModel):
    """Why an item is not in a list."""

    item: str = Field(description="its id")
    rule: str
    version: str = Field(description="a digest of the rule")
    values: Mapping[str, str] = Field(description='what the rule read, in words: {"item.price": "7"}')
    text: str = Field(
        description='"left out: rule no-repeat (item.last_chosen = 3 March 2017)", or the words of the rule'
    )


class Recommendation(StrictModel):
    """One line of the answer."""

    item: Item
    rank: int = Field(description="from 1; with `rules`, the order is not that of the scores")
    score: float = Field(description="probability among the ranked candidates")
    log_odds: float | None = Field(None, description="of the model, in nats; None if it did not score")
    retriever_score: float | None = None
    source: str = Field("", description="the retrieval channel that ranked it best")
    explanation: Explanation | None = None
    rules: tuple[str, ...] = Field((), description="rules of the domain that moved it")
    remarks: tuple[str, ...] = Field(
        (), description="what rules of the domain say of it; the reason ends with them"
    )

    @property
    def written(self) -> str:
        """The reason as it was written and checked, without the remarks; "" without one."""
        text = self.explanation.text if self.explanation else ""
        for remark in reversed(self.remarks):
            text = text.removesuffix(remark).rstrip()
        return text


class Effect(StrictModel):
    """The effect of one part of a request on an item."""

    kind: EvidenceKind
    text: str
    contribution: float = Field(description="to log p among the candidates, in nats")
    other: float | None = Field(None, description="the same for the item it is compared with")
    rank_without: int = Field(description="its rank without this part")


class PromptInfo(StrictModel):
    """Which prompt produced a result."""

    name: str
    version: int
    hash: str = Field(description="of the template and what it includes")
    tokens: int
    dropped_history: int = Field(0, description="history entries left out to fit the token budget")


class ModelInfo(StrictModel):
    """Which model produced a result."""

    model: str
    engine: str
    adapter: str | None = Field(None, description="domain@sha")


ParseCategory = Literal[
    "ok",
    "repaired",
    "truncated",
    "wrong_format",
    "unknown_id",
    "duplicate",
    "missing",
    "empty",
    "refusal",
    "engine_error",
]


class ParseReport(StrictModel):
    """How the output of a model was parsed."""

    category: ParseCategory = Field(description="the worst problem found")
    detail: str = ""
    repaired: bool = False


class Usage(StrictModel):
    """Engine work of one request."""

    prompt_tokens: int = 0
    cached_tokens: int = Field(0, description="prompt tokens found in the prefix cache")
    generated_tokens: int = 0
    label_mass: float | None = Field(
        None, description="mean total probability of the allowed labels: a health signal"
    )


class Recommendations(StrictModel):
    """The whole answer, a sequence of its recommendations."""

    domain: str
    user: str | None
    recommendations: tuple[Recommendation, ...]
    lead: str = Field("", description='what all of the list share, to stand above it: "Five comedies"')
    context: Context
    model: ModelInfo | None = Field(description="None where no model ranked or wrote")
    strategy: str
    prompt: PromptInfo | None = None
    parse: ParseReport | None = None
    usage: Usage = Usage()
    usage_by_stage: Mapping[str, Usage] = Field(default_factory=dict)
    timings: Mapping[str, float] = Field(default_factory=dict, description="seconds by stage")
    degraded: tuple[str, ...] = Field((), description="what failed and was replaced by something simpler")
    notes: tuple[str, ...] = Field((), description="what was assumed or left out")
    rules: tuple[RuleAction, ...] = Field((), description="rules of the domain that acted")
    understood: Understood | None = Field(None, description="how the wish was read; None without one")
    conversation: Conversation | None = Field(
        None, description="send it with the next wish, which is then read as a follow-up"
    )
    arms: Mapping[str, str] = Field(
        default_factory=dict, description="scenario -> arm of the running experiments"
    )

    def __iter__(self) -> Iterator[Recommendation]:  # type: ignore[override]
        return iter(self.recommendations)

    def __len__(self) -> int:
        return len(self.recommendations)

    def __getitem__(self, index: int) -> Recommendation:
        return self.recommendations[index]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as `recsys recommend --json` prints them."""
        return self.model_dump(mode="json")


class StreamEvent(StrictModel):
    """One step of a streamed answer."""

    kind: Literal["ranked", "reason", "done"]
    answer: Recommendations | None = Field(
        None, description="`ranked`: the answer without reasons; `done`: the complete answer"
    )
    rank: int | None = Field(None, description="`reason`: the rank that it explains")
    explanation: Explanation | None = Field(
        None, description="`reason`: checked; what is measured for all reasons together comes with `done`"
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the data of one server-sent event."""
        return self.model_dump(mode="json", exclude_none=True)


class Why(StrictModel):
    """Why an item has its rank for one user, and why another item has not."""

    domain: str
    user: str | None
    item: Recommendation
    other: Recommendation | None = Field(None, description="the item it is compared with")
    candidates: int = Field(description="how many items were ranked")
    effects: tuple[Effect, ...] = Field((), description="all that was measured, strongest first")
    context: Context
    model: ModelInfo | None = None
    strategy: str
    usage: Usage = Usage()
    degraded: tuple[str, ...] = Field((), description="what failed and was replaced by something simpler")
    notes: tuple[str, ...] = Field((), description="what was assumed or left out")
    left_out: tuple[LeftOut, ...] = Field((), description="why a list of this request would not have it")
    arms: Mapping[str, str] = Field(
        default_factory=dict, description="scenario -> arm of the running experiments"
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as `recsys explain --json` prints them."""
        return self.model_dump(mode="json")
