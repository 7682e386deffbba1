"""A form or a permalink read into the request that `/v1` takes, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import FormData, QueryParams

from recsys.config import Style
from recsys.config.ranking import Strategy
from recsys.errors import RequestError, UnknownItem
from recsys.explain import languages
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import RecommendationRequest
from recsys.types import Filter, Item

SHOWN_VALUES = 24  # of one attribute, the commonest: the rest can be typed into a permalink
SINGLE = ("user", "at", "place", "wish", "strategy", "language", "style")
NUMBERS = ("k", "n_candidates", "year_from", "year_to")
SEVERAL = ("liked", "disliked", "where", "without")
FIELDS = {"domain", *SINGLE, *NUMBERS, *SEVERAL}


class Form(BaseModel):
    """What stands in the form, as text: to fill it again, and for a permalink."""

    model_config = ConfigDict(frozen=True)

    domain: str = ""
    user: str = ""
    at: str = ""
    place: str = ""
    wish: str = ""
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
    def link(self) -> str:
        """The same as a query string, without what is empty."""
        return link(**self.model_dump())

    @property
    def about(self) -> str:
        """Who asks, when and among what, as a query string: what other questions about the same request need."""
        return link(**self.model_dump(exclude={"domain", "k", "strategy"}))

    def pairs(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """What is set of these fields, as hidden inputs hold it."""
        return parse_qsl(link(**self.model_dump(include=set(names))))

    @property
    def said(self) -> bool:
        """Whether anything is asked at all."""
        return any(value for name, value in self.model_dump().items() if name != "domain")

    @property
    def more(self) -> bool:
        """Whether something is set that the form folds away."""
        folded = (*NUMBERS, "strategy", "language", "style", "where", "without")
        return any(getattr(self, name) for name in folded if name != "k")


def link(**values: Any) -> str:
    """A query string of what is not empty, lists as repeated names."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        several = value if isinstance(value, tuple | list) else [value]
        pairs += [(name, str(one)) for one in several if one not in ("", None, False)]
    return urlencode(pairs)


def form_of(sent: QueryParams | FormData) -> Form:
    """What was sent, white space at the ends left out."""

    def texts(name: str) -> list[str]:
        return [text for value in sent.getlist(name) if isinstance(value, str) and (text := value.strip())]

    single = {name: texts(name)[-1] for name in (*SINGLE, *NUMBERS, "domain") if texts(name)}
    return Form(**single, **{name: tuple(dict.fromkeys(texts(name))) for name in SEVERAL})


def request_of(form: Form) -> RecommendationRequest:
    """The request that a form means. Raises RequestError naming the field that cannot be meant."""
    numbers = {name: _number(name, getattr(form, name)) for name in NUMBERS if getattr(form, name)}
    years = {name: numbers.pop(name) for name in ("year_from", "year_to") if name in numbers}
    where, without = _pairs(form.where), _pairs(form.without)
    rule = Filter(where=where, without=without, **years) if where or without or years else None
    texts = {name: getattr(form, name) for name in SINGLE if getattr(form, name)}
    try:
        return RecommendationRequest(
            liked=list(form.liked), disliked=list(form.disliked), rule=rule, **texts, **numbers
        )
    except ValidationError as error:
        raise fault_of(error, "correct it and ask again") from None


def fault_of(error: ValidationError, hint: str) -> RequestError:
    """The first thing that is wrong with a request."""
    fault = error.errors()[0]
    return RequestError(f"{fault['loc'][0]}: {fault['msg']}", hint=hint)


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(f"{name} is '{text[:20]}'", hint="give a whole number") from None


def _pairs(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """["genre=Comedy", "genre=Drama"] -> {"genre": ("Comedy", "Drama")}."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name, sign, value = entry.partition("=")
        if not sign or not value:
            raise RequestError(f"'{entry[:40]}' is no filter", hint="write attribute=value")
        found[name] = (*found.get(name, ()), value)
    return found


class Choices(BaseModel):
    """What a form offers for one domain. `values` are those of each attribute, the commonest first."""

    strategies: tuple[str, ...] = get_args(Strategy)
    styles: tuple[str, ...] = get_args(Style)
    languages: tuple[str, ...]
    values: dict[str, tuple[str, ...]]
    years: bool


_choices: dict[tuple[str, str, int], Choices] = {}


def choices(recommender: Recommender) -> Choices:
    """Counted once for each state of the catalogue."""
    catalog = recommender.catalog
    key = (recommender.domain.name, str(recommender.domain.folder), id(catalog))
    if key not in _choices:
        counts: dict[str, Counter[str]] = {}
        for item in catalog:
            for name, values in item.attributes.items():
                counts.setdefault(name, Counter()).update(values)
        for stale in [one for one in _choices if one[:2] == key[:2]]:
            del _choices[stale]
        _choices[key] = Choices(
            languages=tuple(languages(recommender.prompts)),
            values={
                name: tuple(value for value, _ in count.most_common(SHOWN_VALUES))
                for name, count in counts.items()
            },
            years=any(item.year is not None for item in catalog),
        )
    return _choices[key]


def named(recommender: Recommender, names: Sequence[str]) -> list[tuple[str, str]]:
    """(what was sent, how it is called) of items named by id or title; a wrong one keeps its words."""
    found = []
    for name in names:
        try:
            found.append((name, recommender.catalog.find_any(name).name))
        except (UnknownItem, RequestError):
            found.append((name, name))
    return found


def matching(recommender: Recommender, text: str, limit: int) -> list[Item]:
    """Items whose title has these letters, those that begin so first."""
    wanted = text.casefold().strip()
    if not wanted:
        return []
    begins: list[Item] = []
    holds: list[Item] = []
    for item in recommender.catalog:
        title = item.title.casefold()
        if title.startswith(wanted):
            begins.append(item)
            if len(begins) == limit:
                return begins
        elif wanted in title and len(holds) < limit:
            holds.append(item)
    return [*begins, *holds][:limit]
