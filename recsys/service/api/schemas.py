"""Request and response bodies, as far as they are not types of the library.

Bounds are declared here, so that the OpenAPI document states them.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from recsys.config import Style
from recsys.config.ranking import Strategy
from recsys.data.event_validation import event_id, event_rating, event_time
from recsys.data.events import FEEDBACK_ONLY
from recsys.explain import REASON_TEMPLATE
from recsys.recommender.request import RequestOptions, candidates_wanted
from recsys.service.options import MAX_RANKED
from recsys.service.security.limits import Work
from recsys.service.transport.problems import Problem
from recsys.types import Filter, Interaction, Item, Place, Recommendations, StrictModel, User

MAX_K = 100
MAX_USERS = 20
MAX_LIST = 200
MAX_EVENTS = 1000
MAX_PAGE = 1000
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
K = Annotated[int, Field(ge=1, le=MAX_K, description="how many are returned")]


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
    extra: dict[Name, Text] = Field(default={}, max_length=20, description="further facts of the context")
    rule: Annotated[Filter, AfterValidator(require_storable)] | None = None
    n_candidates: int | None = Field(None, ge=1, le=MAX_RANKED, description="how many the model ranks")

    def recommender_options(self) -> RequestOptions:
        """Return the keyword arguments of `Recommender.prepare`."""
        return cast(RequestOptions, {name: getattr(self, name) for name in RequestOptions.__annotations__})

    def work(self, default: int) -> Work:
        """Return what it costs if `default` candidates are ranked where it names no number."""
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

    name: Name = Field("rank/pointwise", description="a rank/ template, or explain/reason")
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
EventId = Annotated[Name, BeforeValidator(event_id, json_schema_input_type=str | int)]
EventRating = Annotated[float | None, BeforeValidator(event_rating, json_schema_input_type=float | None)]
EventTime = Annotated[float | None, BeforeValidator(event_time, json_schema_input_type=float | str | None)]


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
    """A user whose id is short and whose texts can be stored."""

    id: EventId
    _storable = model_validator(mode="after")(require_storable)


class Items(StrictModel):
    """Items to add or replace, all together or not at all."""

    items: list[Item] = Field(min_length=1, max_length=MAX_EVENTS)


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
