"""What clients send that is no noun of the library, and the answers that hold more than one.

Bounds stand here, so that the OpenAPI document tells them.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from recsys.config import Style
from recsys.config.ranking import Strategy
from recsys.recommender.request import RequestOptions
from recsys.service.transport.problems import Problem
from recsys.types import Filter, Interaction, Item, Place, Recommendations, StrictModel, User

MAX_K = 100
MAX_RANKED = 200
MAX_USERS = 20
MAX_LIST = 200
MAX_EVENTS = 1000
MAX_PAGE = 1000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _storable(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("holds a NUL byte or half a character")
    return text


def require_plain(value: Any) -> Any:
    """The value, unless some text or number in it cannot be stored and sent again. Raises ValueError."""
    match value:
        case str():
            _storable(value)
        case float() if not math.isfinite(value):
            raise ValueError("holds a number that is not finite")
        case dict():
            require_plain([*value, *value.values()])
        case list() | tuple() | set() | frozenset():
            for entry in value:
                require_plain(entry)
        case BaseModel():
            require_plain(value.model_dump())
    return value


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
Names = Annotated[list[Name], Field(max_length=MAX_LIST)]
K = Annotated[int, Field(ge=1, le=MAX_K, description="how many are returned")]


class Described(StrictModel):
    """Who is asking, a known user, a session, or neither, and what may be said of them and the moment.

    The rest is `recsys.recommender.request.RequestOptions` with bounds.
    """

    user: Name | None = None
    session: Name | None = Field(None, description="its likes are added to those of the request")
    liked: Names = Field(default=[], description="titles or ids")
    disliked: Names = Field(default=[], description="titles or ids")
    at: Annotated[str, Field(max_length=100, description="ISO 8601, or 'Friday 21:00'")] | None = None
    place: Annotated[Text | Place, AfterValidator(require_plain)] | None = None
    wish: Text = ""
    extra: dict[Name, Text] = Field(default={}, max_length=20, description="further facts of the moment")
    rule: Annotated[Filter, AfterValidator(require_plain)] | None = None
    n_candidates: int | None = Field(None, ge=1, le=MAX_RANKED, description="how many the model ranks")

    def asked(self) -> RequestOptions:
        """As keyword arguments of `Recommender.prepare`."""
        return cast(RequestOptions, {name: getattr(self, name) for name in RequestOptions.__annotations__})


class Worded(Described):
    """How reasons are worded; the domain's own way by default."""

    language: str | None = Field(None, pattern=r"^[a-z]{2}(-[a-z]+)?$")
    style: Style | None = None


class RecommendationRequest(Worded):
    """One list, or one for each of `users` who are asked about alike."""

    users: list[Name] | None = Field(None, min_length=1, max_length=MAX_USERS)
    k: K = 5
    strategy: Strategy | None = None
    reasons: bool = True

    @model_validator(mode="after")
    def _one_way(self) -> RecommendationRequest:
        if self.users is not None and (self.user is not None or self.session is not None):
            raise ValueError("users comes alone: leave out user and session")
        return self


class ExplanationRequest(Worded):
    """Why this item, and why not that."""

    item: Name = Field(description="title or id")
    instead_of: Name | None = Field(None, description="another item, to compare with")


class SimilarRequest(Described):
    """What is like this item."""

    item: Name = Field(description="title or id")
    k: K = 10


class PromptRequest(Described):
    """A request whose prompts are looked at."""

    name: Name = Field("rank/pointwise", description="a rank/ template, or explain/reason")
    n_candidates: int | None = Field(5, ge=1, le=MAX_RANKED)


class RecommendationResponse(Recommendations):
    """The list, and the id that feedback refers to."""

    recommendation_id: str


class Failed(StrictModel):
    """What one of several users got instead of a list."""

    user: str
    problem: Problem


class BatchResponse(StrictModel):
    """A list for each user, in their order."""

    answers: list[RecommendationResponse | Failed]


FeedbackKind = Literal["shown", "clicked", "liked", "disliked", "dismissed", "chosen"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Event(Interaction):
    """Something a person did; `timestamp` in seconds since 1970."""

    user_id: Name
    item_id: Name
    rating: Finite | None = None
    timestamp: Finite | None = None
    context: dict[Name, Text] = Field(default={}, max_length=20)


class UserEvent(Event):
    """The same, now unless `timestamp` says when.

    With a `recommendation_id` it is also feedback on that list. "shown", "clicked" and "dismissed"
    are feedback alone: they do not enter the history. "liked" and "disliked" stand for a rating
    that the domain counts so, where none is given.
    """

    event: FeedbackKind | None = None
    recommendation_id: Name | None = None

    @model_validator(mode="after")
    def _says_to_what(self) -> UserEvent:
        if self.only_feedback and self.recommendation_id is None:
            raise ValueError(f"'{self.event}' is feedback on a list: give its recommendation_id")
        return self

    @property
    def only_feedback(self) -> bool:
        return self.event in ("shown", "clicked", "dismissed")


class Events(StrictModel):
    """Events that are kept all together or not at all."""

    events: list[UserEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class Stored(StrictModel):
    """What became of events: new, replaced (same user, item and time), and feedback."""

    added: int
    updated: int
    feedback: int


class NewUser(User):
    """A user whose id is none too long and whose texts can be stored."""

    id: Name
    _plain = model_validator(mode="after")(require_plain)


class Items(StrictModel):
    """Items that are added, or replace those of the same ids, all together or not at all."""

    items: list[Item] = Field(min_length=1, max_length=MAX_EVENTS)


class Taste(StrictModel):
    """What somebody without an account likes; added to what the session has."""

    liked: Names = Field(default_factory=list)
    disliked: Names = Field(default_factory=list)


class Session(StrictModel):
    """An anonymous person's likes so far, kept until `expires` (seconds since 1970)."""

    id: str
    liked: list[str]
    disliked: list[str]
    expires: float


class Changed(StrictModel):
    """Rows that a request added, updated, found as they were, and removed."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0


class ImportResponse(StrictModel):
    """What a bulk import did to each kind of rows."""

    items: Changed
    users: Changed
    interactions: Changed


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some of a list; `next_cursor` asks for those after it, None at the end."""

    data: list[T]
    next_cursor: str | None = None


class Trace(StrictModel):
    """A recommendation that was given, and what was asked. Texts of people are masked."""

    recommendation_id: str
    user: str | None
    time: float
    request_id: str
    request: dict[str, Any]
    answer: RecommendationResponse


class DomainInfo(StrictModel):
    """A domain that is served. `attributes` are those its items have, `counts` rows in the store."""

    name: str
    title: str
    noun: str
    plural: str
    licence: str
    strategy: str
    language: str
    counts: dict[str, int]
    attributes: list[str]


class TemplateInfo(StrictModel):
    """A template, by what it says of itself."""

    name: str
    hash: str
    task: str
    version: int
    variables: list[str]
    labels: list[str]
    description: str


class PromptSource(TemplateInfo):
    """A template with its words."""

    source: str


class PromptDiff(StrictModel):
    """Lines of a unified diff; none where both are alike."""

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
    """A tuned adapter of the registry, with its figures on validation."""

    ref: str
    default: bool
    base_model: str
    template: str
    created: str
    metrics: dict[str, float]


class AdapterChange(StrictModel):
    """What a domain is served with now; `objections` are those that were overridden."""

    domain: str
    adapter: str
    objections: list[str] = Field(default_factory=list)
