"""Options that several commands share, and how their texts are parsed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.recommender import request
    from recsys.types import Filter

    RequestOptions = request.RequestOptions
else:
    RequestOptions = dict  # Typer evaluates annotations, and that module takes seconds to import

DomainOption = Annotated[str, typer.Option("--domain", "-d", help="Name or folder of the domain.")]
UserOption = Annotated[str | None, typer.Option("--user", "-u", help="Id of a user in the store.")]
LikedOption = Annotated[
    list[str] | None, typer.Option("--liked", help="Title or id of an item that the user likes; repeatable.")
]
DislikedOption = Annotated[
    list[str] | None,
    typer.Option("--disliked", help="Title or id of an item that the user dislikes; repeatable."),
]
AtOption = Annotated[
    str | None, typer.Option("--at", help="Time: ISO 8601, or a phrase such as 'Friday 21:00' or 'tonight'.")
]
PlaceOption = Annotated[
    str | None, typer.Option("--place", help="Place: zip code, 'city, state', or 'latitude, longitude'.")
]
CountryOption = Annotated[
    str | None,
    typer.Option("--country", help="Country of the place, by name or ISO code; by default the domain's."),
]
WishOption = Annotated[str, typer.Option("--wish", help="What the user wants now, in plain words.")]
FactOption = Annotated[
    list[str] | None,
    typer.Option("--fact", help="Another fact of the context, such as weather=rain; repeatable."),
]
CandidatesOption = Annotated[
    int | None, typer.Option("--n-candidates", help="Number of candidates that the model ranks.")
]
StrategyOption = Annotated[
    str | None,
    typer.Option(
        "--strategy", help="How to rank: pointwise, listwise, title, generated or generated-scores."
    ),
]
LanguageOption = Annotated[str | None, typer.Option("--lang", help="Language of the reasons: en or zh.")]
StyleOption = Annotated[
    Literal["short", "detailed", "comparative"] | None,
    typer.Option("--style", help="Style of the reasons; detailed: two sentences."),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only items with this attribute, such as genre=Comedy, 'price<=5' or price=2..5, or of which "
        "an expression (CEL) is true: 'item.price < 5 || \"Comedy\" in item.genre'; repeatable.",
    ),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option("--without", help="No items with this attribute, such as genre=Horror; repeatable."),
]
AtLeastOption = Annotated[
    list[str] | None,
    typer.Option(
        "--at-least", help="Retrieve at least so many candidates with this: 'genre=Drama:3'; repeatable."
    ),
]
YearsOption = Annotated[
    str, typer.Option("--years", help="Only items of these years: '1990-1999', '1990-' or '-1970'.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def takes_request(*, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a request in place of its argument `request`.

    Args:
        without: Options that the command does not have.
    """
    shared = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(_request, eval_str=True).parameters.items()
        if name not in without
    ]

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**arguments: Any) -> None:
            said = _request(**{option.name: arguments.pop(option.name, option.default) for option in shared})
            asked = {name: value for name, value in said.items() if name not in without}
            command(**arguments, request=asked)

        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
            own = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += shared if name == "request" else [own]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorated


def _request(
    liked: LikedOption = None,
    disliked: DislikedOption = None,
    at: AtOption = None,
    place: PlaceOption = None,
    country: CountryOption = None,
    wish: WishOption = "",
    fact: FactOption = None,
    n_candidates: CandidatesOption = None,
) -> RequestOptions:
    """Return what a request says; all but the user."""
    return {
        "liked": liked or (),
        "disliked": disliked or (),
        "at": at,
        "place": place,
        "country": country,
        "wish": wish,
        "extra": parse_facts(fact),
        "n_candidates": n_candidates,
    }


def check_strategy(strategy: str | None) -> None:
    """Raise RequestError for the name of an unknown ranking strategy."""
    from recsys.ranking import STRATEGIES

    if strategy is not None and strategy not in STRATEGIES:
        raise RequestError(
            f"there is no strategy '{strategy}'", hint=f"choose one of: {', '.join(STRATEGIES)}"
        )


def parse_filter(
    where: Sequence[str] | None, without: Sequence[str] | None, at_least: Sequence[str] | None, years: str
) -> Filter:
    """Build a filter from options; values of one attribute are alternatives.

    Args:
        where: texts such as "genre=Drama", "price<=5", "price=2..5" or "item.price < 5".
        without: texts such as "genre=Horror".
        at_least: texts such as "genre=Drama:3".
        years: "1990-1999", "1990-", "-1970", "1994" or "".

    Raises:
        RequestError: a text is not of this form.
    """
    from recsys.recommender.filter_text import parse_where, values_by_attribute
    from recsys.types import AtLeast, Filter

    conditions = parse_where(where or [])
    first, dash, last = years.partition("-")
    if not all(part.strip().isdigit() or not part.strip() for part in (first, last)):
        raise RequestError(f"'{years[:40]}' is not a range of years", hint="write --years 1990-1999")
    quotas = []
    for text in at_least or []:
        pair, _, number = text.rpartition(":")
        if not number.isdigit() or int(number) < 1:
            raise RequestError(f"'{text[:80]}' does not say how many", hint="write --at-least genre=Drama:3")
        quotas += [
            AtLeast(attribute=attribute, values=values, n=int(number))
            for attribute, values in values_by_attribute([pair]).items()
        ]
    return Filter(
        **conditions._asdict(),
        without=values_by_attribute(without or []),
        year_from=int(first) if first.strip() else None,
        year_to=int(last) if last.strip() else int(first) if first.strip() and not dash else None,
        at_least=tuple(quotas),
    )


def parse_facts(pairs: Sequence[str] | None) -> dict[str, str]:
    """Parse ["weather=rain"] to {"weather": "rain"}. Raises RequestError."""
    facts = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise RequestError(f"'{pair[:80]}' is not a fact", hint="write --fact name=value")
        facts[name.strip()] = value.strip()
    return facts
