"""The nouns of the system, frozen and serialisable. Imports nothing of ours.

The Python API, `--json` output and every service surface return these same
objects, so a field added here is a field everybody sees.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class StrictModel(BaseModel):
    """Base of all nouns and options: immutable, unknown fields rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(StrictModel):
    """A spot on the map; only what is known is filled in. Degrees, WGS 84."""

    city: str | None = None
    state: str | None = None
    country: str | None = None
    postal_code: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    timezone: str | None = None

    @property
    def name(self) -> str:
        """What a person calls it: "Minneapolis, Minnesota"; empty if unnamed."""
        parts = [part for part in (self.city, self.state) if part]
        return ", ".join(parts) if parts else (self.country or "")


class Site(StrictModel):
    """Where an item is (degrees, WGS 84) and when it is open there; what is not known is None or "".

    `hours` are local, in the notation of OpenStreetMap: "Tu-Su 10:00-17:00; Fr 10:00-21:00".
    """

    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    hours: str = ""


class Item(StrictModel):
    """One thing that can be recommended. `site` is for what has a place of its own; a film has none."""

    id: str
    title: str
    year: int | None = None
    attributes: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    description: str = ""
    site: Site | None = Field(default=None, exclude_if=lambda site: site is None)

    @property
    def name(self) -> str:
        """Title with its year, which tells remakes apart: "Cape Fear (1991)"."""
        return f"{self.title} ({self.year})" if self.year else self.title


class User(StrictModel):
    """A known person: profile facts that may be told to a model, and a home."""

    id: str
    profile: Mapping[str, str] = Field(default_factory=dict)
    home: Place | None = None


class Interaction(StrictModel):
    """One event. `timestamp` is seconds since 1970 (UTC), None when unknown."""

    user_id: str
    item_id: str
    rating: float | None = None
    timestamp: float | None = None
    context: Mapping[str, str] = Field(default_factory=dict)


class HistoryEntry(StrictModel):
    """An item someone met before; `liked` is None when nothing says so."""

    item: Item
    liked: bool | None = None
    rating: float | None = None
    timestamp: float | None = None


class Context(StrictModel):
    """The situation of a request. A field is None when it is not known."""

    time: dt.datetime | None = None
    hour: int | None = Field(default=None, ge=0, le=23)
    part_of_day: str | None = None
    weekday: str | None = None
    weekend: bool | None = None
    season: str | None = None
    place: Place | None = None
    wish: str = ""
    extra: Mapping[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, str]:
        """What may be told to a model, as short phrases: {"weekday": "Friday"}."""
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
    """ "At least n of the answer have this": {attribute: genre, values: [Drama], n: 2}."""

    attribute: str
    values: tuple[str, ...]
    n: int = Field(ge=1)


class Filter(StrictModel):
    """What may be recommended. Attribute names and values are compared without case.

    `where`: the attribute has one of the values, for every attribute named;
    `without`: it has none of them. Years are inclusive, an item of unknown year is in
    no range. `only` and `never` are item ids. `at_least` cannot be promised where the
    catalogue has fewer: then all there are come in.
    """

    where: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    without: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    year_from: int | None = None
    year_to: int | None = None
    only: frozenset[str] | None = None
    never: frozenset[str] = frozenset()
    at_least: tuple[AtLeast, ...] = ()


class Candidate(StrictModel):
    """An item that retrieval handed to ranking.

    `score` is the fused retriever score (higher is better), `channels` the rank
    (1 = first) it had in each channel that found it, `source` the channel that
    ranked it best, `contributions` each history item's share of the text-channel score.
    `co_consumed` has the history items that it is most often met together with and their
    shares of that evidence, strongest first; `popularity` is the share of the
    catalogue's items that fewer people met (0 to 1), None for an item nobody met. `lead`
    is its score less the best score of the same answer (0 or less), None if not retrieved.
    """

    item: Item
    score: float
    source: str
    channels: Mapping[str, int] = Field(default_factory=dict)
    contributions: Mapping[str, float] = Field(default_factory=dict)
    co_consumed: Mapping[str, float] = Field(default_factory=dict)
    popularity: float | None = None
    lead: float | None = None


EvidenceKind = Literal["history", "co_consumed", "attribute", "context", "profile", "wish", "popularity"]


class Evidence(StrictModel):
    """A fact a reason may cite. `id` is what the model writes: h1, a2, c1 ...

    `contribution` is measured (which measure is named by `measure`), or None.
    """

    id: str
    kind: EvidenceKind
    text: str
    item_id: str | None = None
    contribution: float | None = None
    measure: str | None = None


class Counterfactual(StrictModel):
    """Where the item would rank if the evidence named by `without` (ids) were not there; 1 = first."""

    without: tuple[str, ...]
    rank: int
    rank_without: int


class Influence(StrictModel):
    """One of the main parameters of a score, and its share of all that moved it (0 to 1, summing to 1)."""

    name: Literal["retrieval", "history", "context", "wish", "profile", "popularity", "rules"]
    share: float
    text: str


class Explanation(StrictModel):
    """A reason in words, and what it stands on.

    `evidence` is what the text cites, `against` what measurably spoke against the item.
    `comprehensiveness` is how much of the item's probability among the candidates is lost
    without what is cited, `sufficiency` how much is lost with nothing else (DeYoung et al.:
    ERASER, ACL 2020); None where nothing was ablated.
    """

    text: str
    source: Literal["llm", "template"]
    grounded: bool
    evidence: tuple[Evidence, ...] = ()
    against: tuple[Evidence, ...] = ()
    comprehensiveness: float | None = None
    sufficiency: float | None = None
    counterfactual: Counterfactual | None = None
    influences: tuple[Influence, ...] = ()
    language: str = "en"
    failures: tuple[str, ...] = ()


class Recommendation(StrictModel):
    """One line of the answer. `score` sums to 1 over all ranked candidates;
    `log_odds` (nats) is what the model said before that, None if it was not asked. `rules` are
    those of the domain that acted on its place: with them the order is not that of the scores."""

    item: Item
    rank: int
    score: float
    log_odds: float | None = None
    retriever_score: float | None = None
    source: str = ""
    explanation: Explanation | None = None
    rules: tuple[str, ...] = ()


class Effect(StrictModel):
    """What one part of a request did to an item: to its log p among the candidates (nats), and to its rank.

    `contribution` is as in `Evidence`; `other` is the same of the item it is compared with.
    """

    kind: EvidenceKind
    text: str
    contribution: float
    other: float | None = None
    rank_without: int


class PromptInfo(StrictModel):
    """Which prompt produced a result."""

    name: str
    version: int
    hash: str
    tokens: int
    dropped_history: int = 0


class ModelInfo(StrictModel):
    """Which model produced a result."""

    model: str
    engine: str
    adapter: str | None = None


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
    """What became of one model output. `category` is the worst thing found."""

    category: ParseCategory
    detail: str = ""
    repaired: bool = False


class Usage(StrictModel):
    """Engine work of one request, in tokens; `label_mass` is the mean probability
    that the model gave to the allowed labels together, a health signal."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    label_mass: float | None = None


class Recommendations(StrictModel):
    """The whole answer. Iterates over its recommendations. `arms` is scenario -> arm, where experiments run."""

    domain: str
    user: str | None
    recommendations: tuple[Recommendation, ...]
    context: Context
    model: ModelInfo | None
    strategy: str
    prompt: PromptInfo | None = None
    parse: ParseReport | None = None
    usage: Usage = Usage()
    usage_by_stage: Mapping[str, Usage] = Field(default_factory=dict)
    timings: Mapping[str, float] = Field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arms: Mapping[str, str] = Field(default_factory=dict)

    def __iter__(self) -> Iterator[Recommendation]:  # type: ignore[override]
        return iter(self.recommendations)

    def __len__(self) -> int:
        return len(self.recommendations)

    def __getitem__(self, index: int) -> Recommendation:
        return self.recommendations[index]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the exact object `recsys recommend --json` prints."""
        return self.model_dump(mode="json")


class StreamEvent(StrictModel):
    """A step of an answer that is streamed.

    `ranked` brings the answer without reasons, each `reason` the explanation of one rank as soon as
    it is checked (what is measured of its words together comes later), `done` the complete answer.
    """

    kind: Literal["ranked", "reason", "done"]
    answer: Recommendations | None = None
    rank: int | None = None
    explanation: Explanation | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the data of one server-sent event."""
        return self.model_dump(mode="json", exclude_none=True)


class Why(StrictModel):
    """Why an item comes where it does for one person, and why not another.

    Ranks are among `candidates` items. `effects` is everything measured, the strongest first.
    """

    domain: str
    user: str | None
    item: Recommendation
    other: Recommendation | None = None
    candidates: int
    effects: tuple[Effect, ...] = ()
    context: Context
    model: ModelInfo | None = None
    strategy: str
    usage: Usage = Usage()
    degraded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arms: Mapping[str, str] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the exact object `recsys explain --json` prints."""
        return self.model_dump(mode="json")
