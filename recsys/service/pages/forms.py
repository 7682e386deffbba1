"""The request form: parsed from a query string, turned into a `/v1` request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, QueryParams

from recsys.config import Style
from recsys.config.ranking import Strategy
from recsys.errors import RequestError, UnknownItem
from recsys.explain import languages
from recsys.recommender.filter_text import parse_where, values_by_attribute
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import RecommendationRequest
from recsys.types import Conversation, Item

MAX_VALUES = 24  # of one attribute that the form offers; a permalink may hold any other
TEXT_FIELDS = ("user", "at", "place", "wish", "conversation", "strategy", "language", "style")
NUMBER_FIELDS = ("k", "n_candidates", "year_from", "year_to")
LIST_FIELDS = ("liked", "disliked", "where", "without")
RANGE_INPUTS = {"from.": ">=", "to.": "<="}  # prefix of an input's name, before that of the attribute
FOLDED_FIELDS = ("n_candidates", "year_from", "year_to", "strategy", "language", "style", "where", "without")


class RequestForm(BaseModel):
    """The fields of the form as text; "" or empty where a field is not filled in."""

    model_config = ConfigDict(frozen=True)

    domain: str = ""
    user: str = ""
    at: str = ""
    place: str = ""
    wish: str = ""
    conversation: str = ""  # JSON: what the chips of an answer lead to
    strategy: str = ""
    language: str = ""
    style: str = ""
    k: str = ""
    n_candidates: str = ""
    year_from: str = ""
    year_to: str = ""
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """All filled fields as a query string."""
        return query_string(**self.model_dump())

    @property
    def shared_query(self) -> str:
        """The filled fields that the other pages take too, as a query string."""
        return query_string(**self.model_dump(exclude={"domain", "k", "strategy"}))

    @property
    def is_filled(self) -> bool:
        """Whether any field besides the domain is filled in."""
        return any(value for name, value in self.model_dump().items() if name != "domain")

    def bound(self, attribute: str, operator: str) -> str:
        """Return the value that an attribute is compared with, "" if it is not."""
        start = f"{attribute}{operator}"
        return next((text.removeprefix(start) for text in self.where if text.startswith(start)), "")

    @property
    def has_folded_values(self) -> bool:
        """Whether a field is filled in that the page folds away."""
        return any(getattr(self, name) for name in FOLDED_FIELDS)

    def hidden_inputs(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return (name, value) of these fields where they are filled in."""
        return parse_qsl(query_string(**self.model_dump(include=set(names))))


def query_string(**values: Any) -> str:
    """Encode the values that are not empty; a list becomes a repeated name."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        entries = value if isinstance(value, tuple | list) else [value]
        pairs += [(name, str(entry)) for entry in entries if entry not in ("", None, False)]
    return urlencode(pairs)


def parse_form(sent: QueryParams | FormData) -> RequestForm:
    """Read the form, without white space at the ends of values."""

    def texts(name: str) -> list[str]:
        return [text for value in sent.getlist(name) if isinstance(value, str) and (text := value.strip())]

    single = {name: texts(name)[-1] for name in (*TEXT_FIELDS, *NUMBER_FIELDS, "domain") if texts(name)}
    lists = {name: texts(name) for name in LIST_FIELDS}
    for name in sent:  # the inputs of a range are conditions, as a permalink writes them
        for prefix, operator in RANGE_INPUTS.items():
            if name.startswith(prefix):
                lists["where"] += [f"{name.removeprefix(prefix)}{operator}{text}" for text in texts(name)]
    return RequestForm(**single, **{name: tuple(dict.fromkeys(values)) for name, values in lists.items()})


def _conversation(text: str) -> Conversation:
    try:
        return Conversation.model_validate_json(text)
    except ValidationError:
        raise RequestError(
            "conversation is not what a chip of an answer leads to", hint="ask again in words"
        ) from None


def to_request(form: RequestForm) -> RecommendationRequest:
    """Build the request of `/v1`. Raises RequestError that names the wrong field."""
    numbers = {name: _integer(name, getattr(form, name)) for name in NUMBER_FIELDS if getattr(form, name)}
    years = {name: numbers.pop(name) for name in ("year_from", "year_to") if name in numbers}
    conditions = parse_where(form.where)._asdict() | {"without": values_by_attribute(form.without)} | years
    rule = conditions if any(conditions.values()) else None
    texts: dict[str, Any] = {name: getattr(form, name) for name in TEXT_FIELDS if getattr(form, name)}
    if form.conversation:
        texts["conversation"] = _conversation(form.conversation)
    try:
        return RecommendationRequest.model_validate(
            {"liked": form.liked, "disliked": form.disliked, "rule": rule} | texts | numbers
        )
    except ValidationError as error:
        raise to_request_error(error, "correct this field and try again") from None


def to_request_error(error: ValidationError, hint: str) -> RequestError:
    """Name the first field that is not valid."""
    first = error.errors()[0]
    return RequestError(f"{first['loc'][0]}: {first['msg']}", hint=hint)


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(f"{name}: '{text[:20]}' is not a number", hint="give a whole number") from None


class Choices(BaseModel):
    """What the form offers for one domain."""

    strategies: tuple[str, ...] = get_args(Strategy)
    styles: tuple[str, ...] = get_args(Style)
    languages: tuple[str, ...]
    values: dict[str, tuple[str, ...]] = Field(description="of each attribute, the most frequent first")
    ranges: dict[str, str] = Field(description="attributes that are compared, each with a usual value")
    has_years: bool


_choices: dict[tuple[str, str, int], Choices] = {}


def choices_for(recommender: Recommender) -> Choices:
    """Collect what the form offers, once for each state of the catalog."""
    catalog = recommender.catalog
    key = (recommender.domain.name, str(recommender.domain.folder), id(catalog))
    if key not in _choices:
        counts: dict[str, Counter[str]] = {}
        for item in catalog:
            for name, values in item.attributes.items():
                counts.setdefault(name, Counter()).update(values)
        ordered = [name for name, kind in recommender.domain.attributes.items() if kind.ordered]
        for stale in [other for other in _choices if other[:2] == key[:2]]:
            del _choices[stale]
        _choices[key] = Choices(
            languages=tuple(languages(recommender.prompts)),
            values={
                name: tuple(value for value, _ in count.most_common(MAX_VALUES))
                for name, count in counts.items()
                if name not in ordered
            },
            ranges={name: counts[name].most_common(1)[0][0] for name in ordered if name in counts},
            has_years=any(item.year is not None for item in catalog),
        )
    return _choices[key]


def with_item_names(recommender: Recommender, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each id or title with the name of its item, or with itself if unknown."""
    pairs = []
    for text in texts:
        try:
            pairs.append((text, recommender.catalog.find_any(text).name))
        except (UnknownItem, RequestError):
            pairs.append((text, text))
    return pairs


def search_titles(recommender: Recommender, text: str, limit: int) -> list[Item]:
    """Find items whose title contains a text; titles that begin with it come first."""
    needle = text.casefold().strip()
    if not needle:
        return []
    with_prefix: list[Item] = []
    with_infix: list[Item] = []
    for item in recommender.catalog:
        title = item.title.casefold()
        if title.startswith(needle):
            with_prefix.append(item)
            if len(with_prefix) == limit:
                return with_prefix
        elif needle in title and len(with_infix) < limit:
            with_infix.append(item)
    return [*with_prefix, *with_infix][:limit]
