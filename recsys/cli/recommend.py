"""`recsys recommend` and `recsys score`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys.cli.output import ProgressBars, print_json, show
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.types import Filter

DomainOption = Annotated[str, typer.Option("--domain", "-d", help="Name or folder of a domain.")]
UserOption = Annotated[str | None, typer.Option("--user", "-u", help="Id of a known user.")]
LikedOption = Annotated[
    list[str] | None, typer.Option("--liked", help="A title or id that is liked; repeatable.")
]
DislikedOption = Annotated[
    list[str] | None, typer.Option("--disliked", help="A title or id that is not; repeatable.")
]
AtOption = Annotated[
    str | None, typer.Option("--at", help="ISO time, or a phrase: 'Friday 21:00', 'tonight'.")
]
PlaceOption = Annotated[
    str | None, typer.Option("--place", help="Zip code, 'city, state', or 'latitude, longitude'.")
]
WishOption = Annotated[str, typer.Option("--wish", help="What is wanted, in plain words.")]
FactOption = Annotated[
    list[str] | None, typer.Option("--fact", help="Another fact, such as weather=rain; repeatable.")
]
CandidatesOption = Annotated[int | None, typer.Option("--n-candidates", help="How many the model ranks.")]
StrategyOption = Annotated[
    str | None, typer.Option("--strategy", help="pointwise, listwise, title, generated or generated-scores.")
]
LanguageOption = Annotated[str | None, typer.Option("--lang", help="Language of the reasons: en, zh.")]
StyleOption = Annotated[
    Literal["short", "detailed", "comparative"] | None,
    typer.Option("--style", help="short, detailed (two sentences), or comparative."),
]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", help="Only items with this, such as genre=Comedy; repeatable.")
]
WithoutOption = Annotated[
    list[str] | None, typer.Option("--without", help="No items with this: genre=Horror; repeatable.")
]
AtLeastOption = Annotated[
    list[str] | None, typer.Option("--at-least", help="Candidates with this: 'genre=Drama:3'; repeatable.")
]
YearsOption = Annotated[str, typer.Option("--years", help="'1990-1999', '1990-' or '-1970'.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


def recommend(
    domain: DomainOption = "movies",
    user: UserOption = None,
    liked: LikedOption = None,
    disliked: DislikedOption = None,
    at: AtOption = None,
    place: PlaceOption = None,
    wish: WishOption = "",
    fact: FactOption = None,
    where: WhereOption = None,
    without: WithoutOption = None,
    at_least: AtLeastOption = None,
    years: YearsOption = "",
    k: Annotated[int, typer.Option("-k", help="How many to return.")] = 5,
    n_candidates: CandidatesOption = None,
    strategy: StrategyOption = None,
    no_reasons: Annotated[bool, typer.Option("--no-reasons", help="Scores only, faster.")] = False,
    lang: LanguageOption = None,
    style: StyleOption = None,
    as_json: JsonOption = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Print JSON lines as they come: the list, each reason, all of it."),
    ] = False,
) -> None:
    """Recommend items to a user, or to anybody described by what they like or wish for."""
    from recsys.recommender.recommender import Recommender
    from recsys.recommender.response import last_answer

    check_strategy(strategy)
    rule = filter_of(where, without, at_least, years)
    with ProgressBars() as progress:
        recommender = Recommender.load(domain, progress=progress)
        with recommender:
            events = recommender.stream(
                user,
                liked=liked or (),
                disliked=disliked or (),
                at=at,
                place=place,
                wish=wish,
                extra=facts(fact),
                rule=rule,
                k=k,
                n_candidates=n_candidates,
                strategy=strategy,
                reasons=not no_reasons,
                language=lang,
                style=style,
            )
            if stream:
                for event in events:
                    sys.stdout.write(json.dumps(event.to_json(), ensure_ascii=False) + "\n")
                    sys.stdout.flush()
                return
            result = last_answer(events)
    if as_json:
        print_json(result.to_json())
    else:
        show(result, recommender.domain.noun)


def score(
    domain: DomainOption = "movies",
    strategy: StrategyOption = None,
    source: Annotated[Path | None, typer.Argument(help="JSONL file; standard input if none.")] = None,
) -> None:
    """Score your own candidates: one JSON object a line in, one out, in order.

    {"history": ["Fargo", {"title": "Heat", "liked": false}], "wish": "...", "candidates": ["Alien", {"title": "New"}]}
    """
    from recsys.recommender.recommender import Recommender
    from recsys.recommender.scoring import score_line

    check_strategy(strategy)
    if source is not None and not source.is_file():
        raise RequestError(f"no file {source}", hint="give a JSONL file, or pipe lines in")
    lines = source.open(encoding="utf-8", errors="replace") if source else sys.stdin
    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            answer: dict[str, Any] = {"line": number} | score_line(recommender, line, strategy)
            sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            progress("scoring lines", number, 0)


def check_strategy(strategy: str | None) -> None:
    from recsys.ranking import STRATEGIES

    if strategy is not None and strategy not in STRATEGIES:
        raise RequestError(f"no strategy '{strategy}'", hint=f"there are: {', '.join(STRATEGIES)}")


def filter_of(
    where: list[str] | None, without: list[str] | None, at_least: list[str] | None, years: str
) -> Filter:
    """What the options say; values of one attribute are alternatives."""
    from recsys.types import AtLeast, Filter

    first, dash, last = years.partition("-")
    if not all(part.strip().isdigit() or not part.strip() for part in (first, last)):
        raise RequestError(f"'{years[:40]}' is no range of years", hint="write --years 1990-1999")
    rules = []
    for text in at_least or []:
        pair, _, number = text.rpartition(":")
        if not number.isdigit() or int(number) < 1:
            raise RequestError(f"'{text[:80]}' does not say how many", hint="write --at-least genre=Drama:3")
        rules += [AtLeast(attribute=k, values=v, n=int(number)) for k, v in _values([pair]).items()]
    return Filter(
        where=_values(where),
        without=_values(without),
        year_from=int(first) if first.strip() else None,
        year_to=int(last) if last.strip() else int(first) if first.strip() and not dash else None,
        at_least=tuple(rules),
    )


def _values(pairs: list[str] | None) -> dict[str, tuple[str, ...]]:
    """["genre=Drama", "genre=War"] -> {"genre": ("Drama", "War")}."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise RequestError(
                f"'{pair[:80]}' names no value", hint="write attribute=value, such as genre=Drama"
            )
        found[name.strip()] = (*found.get(name.strip(), ()), value.strip())
    return found


def facts(pairs: list[str] | None) -> dict[str, str]:
    """["weather=rain"] -> {"weather": "rain"}."""
    found = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise RequestError(f"'{pair[:80]}' is not a fact", hint="write --fact name=value")
        found[name.strip()] = value.strip()
    return found
