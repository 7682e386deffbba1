"""Request and response bodies, as far as they are not types of the library.

Bounds are declared here, so that the OpenAPI document states them.
"""

from __future__ import annotations

import math
import re
from copy import copy
from dataclasses import replace
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from recsys.config import Style
from recsys.config.ranking import Strategy
from recsys.data.event_validation import event_id, event_rating, event_time
from recsys.data.events import FEEDBACK_ONLY
from recsys.data.importers.times import FIRST_SECOND, LAST_SECOND
from recsys.data.importers.values import number_as_id
from recsys.explain import REASON_TEMPLATE
from recsys.recommender.request import RequestOptions, candidates_wanted
from recsys.service.options import MAX_RANKED
from recsys.service.security.limits import Work
from recsys.service.transport.problems import Problem
from recsys.types import (
    AtLeast,
    Comparison,
    Conversation,
    Filter,
    Interaction,
    Item,
    Place,
    Recommendations,
    Site,
    StrictModel,
    User,
    WishCondition,
)

MAX_K = 100
MAX_USERS = 20
MAX_LIST = 200
MAX_EVENTS = 1000
MAX_FACTS = 50
MAX_EXPRESSIONS = 10
MAX_PAGE = 1000
MAX_DESCRIPTION = 20_000
MAX_NUMBER = 2**53  # what programs that read JSON as floats tell apart
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _require_storable_text(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("holds a NUL byte or half a character")
    return text


def require_storable(value: Any) -> Any:
    """Return the value if it can be stored, and raise ValueError otherwise."""
    match value:
        case str():
            _require_storable_text(value)
        case float() if not math.isfinite(value):
            raise ValueError("holds a number that is not finite")
        case dict():
            require_storable([*value, *value.values()])
        case list() | tuple() | set() | frozenset():
            for entry in value:
                require_storable(entry)
        case BaseModel():
            require_storable(value.model_dump())
    return value


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_require_storable_text)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_require_storable_text)]
Names = Annotated[list[Name], Field(max_length=MAX_LIST)]
Ids = Annotated[frozenset[Name], Field(max_length=MAX_EVENTS)]
Values = Annotated[tuple[Text, ...], Field(max_length=MAX_LIST)]
ValuesByAttribute = Annotated[dict[Name, Values], Field(max_length=MAX_FACTS)]
Year = Annotated[int, Field(ge=0, le=9999)]
K = Annotated[int, Field(ge=1, le=MAX_K, description="how many are returned")]


def _as_in(model: type[BaseModel], name: str) -> Any:
    """Return a field with the default and the description that it has in a model."""
    return copy(model.model_fields[name])


class ComparisonInput(Comparison, from_attributes=True):
    """A condition that a request may contain."""

    attribute: Name = _as_in(Comparison, "attribute")
    value: Name = _as_in(Comparison, "value")


class AtLeastInput(AtLeast, from_attributes=True):
    """A quota that a request may contain."""

    attribute: Name = _as_in(AtLeast, "attribute")
    values: Values = _as_in(AtLeast, "values")
    n: K


class FilterInput(Filter, from_attributes=True):
    """A filter that a request may contain."""

    where: ValuesByAttribute = _as_in(Filter, "where")
    without: ValuesByAttribute = _as_in(Filter, "without")
    compare: Annotated[tuple[ComparisonInput, ...], Field(max_length=MAX_FACTS)] = _as_in(Filter, "compare")
    expressions: Annotated[tuple[Text, ...], Field(max_length=MAX_EXPRESSIONS)] = _as_in(
        Filter, "expressions"
    )
    year_from: Year | None = _as_in(Filter, "year_from")
    year_to: Year | None = _as_in(Filter, "year_to")
    only: Ids | None = _as_in(Filter, "only")
    never: Ids = _as_in(Filter, "never")
    at_least: Annotated[tuple[AtLeastInput, ...], Field(max_length=MAX_FACTS)] = _as_in(Filter, "at_least")


class ConditionInput(WishCondition, from_attributes=True):
    """A condition of a conversation that a request may contain."""

    attribute: Name = _as_in(WishCondition, "attribute")
    values: Values = _as_in(WishCondition, "values")


class ConversationInput(Conversation, from_attributes=True):
    """A conversation that a request may contain."""

    conditions: Annotated[tuple[ConditionInput, ...], Field(max_length=20)] = _as_in(
        Conversation, "conditions"
    )
    like: Annotated[tuple[Name, ...], Field(max_length=20)] = _as_in(Conversation, "like")
    words: Text = _as_in(Conversation, "words")
    rejected: Annotated[tuple[Name, ...], Field(max_length=500)] = _as_in(Conversation, "rejected")
    shown: Annotated[tuple[Name, ...], Field(max_length=100)] = _as_in(Conversation, "shown")


class RequestBase(StrictModel):
    """A user, a session, or neither, with preferences and the context.

    Its fields are those of `recsys.recommender.request.RequestOptions`, with bounds.
    """

    user: Name | None = None
    session: Name | None = Field(None, description="its preferences are added to those of the request")
    liked: Names = Field(default=[], description="titles or ids")
    disliked: Names = Field(default=[], description="titles or ids")
    at: Annotated[str, Field(max_length=100, description="ISO 8601, or 'Friday 21:00'")] | None = None
    place: Annotated[Text | Place, AfterValidator(require_storable)] | None = None
    country: Annotated[str, Field(max_length=60, description="of the place: name or ISO code")] | None = None
    wish: Text = ""
    conversation: ConversationInput | None = Field(
        None, description="of an earlier answer: the wish is then a follow-up, and may be empty"
    )
    extra: dict[Name, Text] = Field(default={}, max_length=20, description="further facts of the context")
    rule: FilterInput | None = None
    n_candidates: int | None = Field(None, ge=1, le=MAX_RANKED, description="how many the model ranks")

    def recommender_options(self) -> RequestOptions:
        """Return the keyword arguments of `Recommender.prepare`."""
        return cast(RequestOptions, {name: getattr(self, name) for name in RequestOptions.__annotations__})

    def work(self, default: int) -> Work:
        """Return what it costs, with `default` candidates if it names no number."""
        return Work(candidates_wanted(getattr(self, "k", 1), self.n_candidates, default))


class ReasonRequestBase(RequestBase):
    """A request whose answer has reasons, by default in the domain's style."""

    language: str | None = Field(None, pattern=r"^[a-z]{2}(-[a-z]+)?$")
    style: Style | None = None


class RecommendationRequest(ReasonRequestBase):
    """A request for one list, or for one list per user."""

    users: list[Name] | None = Field(None, min_length=1, max_length=MAX_USERS)
    k: K = 5
    strategy: Strategy | None = None
    reasons: bool = True

    @model_validator(mode="after")
    def _users_come_alone(self) -> RecommendationRequest:
        if self.users is not None and (self.user is not None or self.session is not None):
            raise ValueError("users comes alone: leave out user and session")
        return self

    def work(self, default: int) -> Work:
        """Return what it costs: a list for each user, with as many reasons."""
        users, reasons = len(self.users or [self.user]), self.k if self.reasons else 0
        return replace(super().work(default), users=users, reasons=reasons)


class ExplanationRequest(ReasonRequestBase):
    """A request to explain an item, and to compare it with another."""

    item: Name = Field(description="title or id")
    instead_of: Name | None = Field(None, description="another item, to compare with")

    def work(self, default: int) -> Work:
        """Return what it costs: a list, and a reason for each item."""
        return replace(super().work(default), reasons=1 if self.instead_of is None else 2)


class SimilarRequest(RequestBase):
    """A request for items similar to an item."""

    item: Name = Field(description="title or id")
    k: K = 10


class PromptRequest(RequestBase):
    """A request whose prompts are rendered."""

    name: Name = Field("rank/pointwise", description="a rank/ template, explain/reason or read/wish")
    n_candidates: int | None = Field(5, ge=1, le=MAX_RANKED)

    def work(self, default: int) -> Work:
        """Return what it costs: a list, or a reason for each of its items."""
        ranked = super().work(default)
        return replace(ranked, reasons=ranked.candidates if self.name == REASON_TEMPLATE else 0)


class RecommendationResponse(Recommendations):
    """A list, and the id that feedback refers to."""

    recommendation_id: str


class FailedRecommendation(StrictModel):
    """The error for one of several users."""

    user: str
    problem: Problem


class BatchResponse(StrictModel):
    """A list for each user, in the order of the request."""

    answers: list[RecommendationResponse | FailedRecommendation]


FeedbackKind = Literal["shown", "clicked", "liked", "disliked", "dismissed", "chosen"]
SentId = Name | Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
SentRating = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)] | None
SentTime = (
    Annotated[float, Field(ge=FIRST_SECOND, le=LAST_SECOND)] | Annotated[str, Field(max_length=100)] | None
)
EventId = Annotated[Name, BeforeValidator(event_id, json_schema_input_type=SentId)]
EventRating = Annotated[SentRating, BeforeValidator(event_rating, json_schema_input_type=SentRating)]
EventTime = Annotated[float | None, BeforeValidator(event_time, json_schema_input_type=SentTime)]


class InteractionInput(Interaction):
    """An event, validated as an imported one is."""

    user_id: EventId
    item_id: EventId
    rating: EventRating = None
    timestamp: EventTime = Field(None, description="seconds since 1970, or ISO 8601; UTC")
    context: dict[Name, Text] = Field(default={}, max_length=20)


class UserEvent(InteractionInput):
    """An event that happens now unless `timestamp` says when.

    With a `recommendation_id` it is also feedback on that list. "shown", "clicked" and "dismissed"
    are feedback only and do not enter the history. "liked" and "disliked" stand for the domain's
    rating thresholds if no rating is given.
    """

    event: FeedbackKind | None = None
    recommendation_id: Name | None = None

    @model_validator(mode="after")
    def _feedback_names_its_list(self) -> UserEvent:
        if self.event in FEEDBACK_ONLY and self.recommendation_id is None:
            raise ValueError(f"'{self.event}' is feedback on a list: give its recommendation_id")
        return self


class Events(StrictModel):
    """Events that are stored all together or not at all."""

    events: list[UserEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class EventsStored(StrictModel):
    """Numbers of events added, events replaced (same user, item, time) and feedback."""

    added: int
    updated: int
    feedback: int


class UserInput(User):
    """A user whose texts are short and can be stored."""

    id: EventId
    profile: Annotated[dict[Name, Text], Field(max_length=MAX_FACTS)] = _as_in(User, "profile")
    _storable = model_validator(mode="after")(require_storable)


class SiteInput(Site):
    """A site whose texts are short."""

    hours: Text = _as_in(Site, "hours")


class ItemInput(Item):
    """An item whose texts are no longer than an item's should be."""

    id: Annotated[Name, BeforeValidator(number_as_id)] = Field(
        description="text; a whole number is taken as its digits"
    )
    title: Text
    year: Year | None = _as_in(Item, "year")
    attributes: ValuesByAttribute = _as_in(Item, "attributes")
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    site: SiteInput | None = _as_in(Item, "site")
    sources: Annotated[dict[Name, Name], Field(max_length=MAX_FACTS)] | None = _as_in(Item, "sources")


class Items(StrictModel):
    """Items to add or replace, all together or not at all."""

    items: list[ItemInput] = Field(min_length=1, max_length=MAX_EVENTS)


class Preferences(StrictModel):
    """Items that an anonymous person likes and dislikes, by title or id."""

    liked: Names = Field(default_factory=list)
    disliked: Names = Field(default_factory=list)


class Session(StrictModel):
    """The preferences of an anonymous person, as item ids."""

    id: str
    liked: list[str]
    disliked: list[str]
    expires: float = Field(description="seconds since 1970")


class ChangeCounts(StrictModel):
    """Numbers of rows that a request added, updated, left unchanged and removed."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0


class ImportResponse(StrictModel):
    """What a bulk import changed, by kind of row."""

    items: ChangeCounts
    users: ChangeCounts
    interactions: ChangeCounts


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    data: list[T]
    next_cursor: str | None = Field(None, description="requests the next page; null at the end")


class Trace(StrictModel):
    """A recommendation that was given, and its request, with personal data masked."""

    recommendation_id: str
    user: str | None
    time: float = Field(description="seconds since 1970")
    request_id: str
    request: dict[str, Any]
    answer: RecommendationResponse


class DomainInfo(StrictModel):
    """A domain that is served."""

    name: str
    title: str
    noun: str
    plural: str
    licence: str
    strategy: str
    language: str
    counts: dict[str, int] = Field(description="rows in the store")
    attributes: list[str] = Field(description="attributes that items have")


class TemplateInfo(StrictModel):
    """A template, as its metadata describes it."""

    name: str
    hash: str
    task: str
    version: int
    variables: list[str]
    labels: list[str]
    description: str


class PromptSource(TemplateInfo):
    """A template with its source."""

    source: str


class PromptDiff(StrictModel):
    """Lines of a unified diff; none if both templates are the same."""

    a: str
    b: str
    diff: list[str]


class RenderedPrompts(StrictModel):
    """The prompts of one request, as `recsys prompt render --json` prints them."""

    name: str
    version: int
    hash: str
    prompts: int
    tokens: list[int]
    shared_tokens: int
    dropped_history: int
    variables: dict[str, Any]
    text: list[str]
    answer: dict[str, Any] | None
    notes: list[str]


class AdapterInfo(StrictModel):
    """A fine-tuned adapter of the registry."""

    ref: str
    default: bool
    base_model: str
    template: str
    created: str
    metrics: dict[str, float] = Field(description="measured on validation data")


class AdapterChange(StrictModel):
    """What a domain is served with now."""

    domain: str
    adapter: str
    objections: list[str] = Field(default_factory=list, description="objections that were overridden")
