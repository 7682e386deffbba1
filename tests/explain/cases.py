"""Items to explain, with every kind of evidence for them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from recsys.explain import MeasuredCandidate, ReasonCase, RequestPart, collect_evidence
from recsys.explain.evidence import RelationPhrase
from recsys.explain.writer import GRAMMAR
from recsys.prompting.library import PromptLibrary
from recsys.types import Context, HistoryEntry, Item, Place
from tests.fakes import candidate, film

PROMPTS = PromptLibrary()
GRAMMAR_FILE = PROMPTS.file(GRAMMAR)
ALIEN = film("h1", "Alien", "Horror", "Sci-Fi")
BRAZIL = film("h2", "Brazil", "Sci-Fi")
BIG = film("h3", "Big", "Comedy")
DUNE = film("d", "Dune", "Adventure", "Sci-Fi", year=1984)
SHARES = {"h1": 0.3, "h2": 0.4, "h3": -0.1}
FRIDAY = Context(
    weekday="Friday", part_of_day="evening", place=Place(city="Minneapolis"), extra={"weather": "rain"}
)


def case_of(
    item: Item = DUNE,
    *liked: Item,
    shares: Mapping[str, float] = SHARES,
    channels: Mapping[str, int] | None = None,
    context: Context = FRIDAY,
    effect: float | None = None,
    variant: int = 0,
    shown: int = 3,
    noise: float = 0.0,
    profile: float = 0.0,
    disliked: Sequence[str] = (),
    listed: bool = True,
    history_effect: float = 0.0,
    popularity: float = 0.5,
    phrases: Mapping[str, RelationPhrase] | None = None,
    unrated: Sequence[Item] = (),
) -> ReasonCase:
    channels = channels or {"text": 1}
    event_context = (RequestPart("time"), RequestPart("place"), RequestPart("fact", "weather"))
    return collect_evidence(
        MeasuredCandidate(
            candidate(item, channels=channels, popularity=popularity),
            [HistoryEntry(item=one, liked=one.id not in disliked) for one in liked]
            + [HistoryEntry(item=one) for one in unrated],
            context,
            {RequestPart("history", name): share for name, share in shares.items()}
            | dict.fromkeys(event_context, effect or 0.0)
            | ({RequestPart("wish"): 1.0} if context.wish else {})
            | {RequestPart("popularity"): 1.0, RequestPart("profile"): profile},
            nouns=("film", "films"),
            history_shown=shown,
            top_rank=5,
            noise=noise,
            variant=variant,
            listed=listed,
            history_effect=history_effect,
            phrases=phrases or {},
        )
    )


def ids(case: ReasonCase, kind: str = "") -> list[str]:
    return [entry.id for entry in case.evidence if not kind or entry.kind == kind]


def texts(case: ReasonCase, kind: str) -> list[str]:
    return [entry.text for entry in case.by_kind(kind)]


CASES: dict[str, ReasonCase] = {
    "two liked, both share": case_of(DUNE, ALIEN, BRAZIL),
    "two liked, one shares": case_of(DUNE, ALIEN, film("h2", "Big", "Comedy")),
    "two liked, none shares": case_of(DUNE, film("h1", "Alice"), film("h2", "Big", "Comedy")),
    "three liked": case_of(DUNE, ALIEN, BRAZIL, BIG, shares={"h1": 1, "h2": 1, "h3": 1}),
    "one liked": case_of(DUNE, BRAZIL),
    "one liked, no attributes": case_of(film("x", "Untold"), BRAZIL),
    "liked in context": case_of(DUNE, ALIEN, BRAZIL, effect=1.0),
    "wish": case_of(context=Context(wish="dark")),
    "wish and liked": case_of(DUNE, ALIEN, context=Context(wish="dark")),
    "wish, no attributes": case_of(film("x", "Untold"), context=Context(wish="dark")),
    "wish in context": case_of(context=FRIDAY.model_copy(update={"wish": "dark"}), effect=1.0),
    "wish that names": case_of(context=Context(wish="sci-fi from the 1980s")),
    "wish that names all": case_of(DUNE, ALIEN, context=Context(wish="adventure and sci-fi")),
    "wish that names what was liked": case_of(DUNE, ALIEN, BRAZIL, context=Context(wish="sci-fi")),
    "a sequel of one liked": case_of(
        DUNE, ALIEN, BRAZIL, phrases={"h1": RelationPhrase(0, "is a sequel of Alien, which you liked")}
    ),
    "popular": case_of(popularity=1.0),
    "popular, no attributes": case_of(film("x", "Untold"), popularity=1.0),
    "attributes alone": case_of(),
    "attributes in context": case_of(effect=1.0),
    "liked, and suits the person": case_of(DUNE, BRAZIL, profile=1.0, effect=1.0),
    "liked, not recommended": case_of(DUNE, ALIEN, BRAZIL, listed=False),
    "more against it than for it": case_of(
        DUNE, ALIEN, BRAZIL, BIG, shares={"h1": -1.0, "h2": 0.4, "h3": -0.5}, disliked=("h1",), listed=False
    ),
}


def grid() -> list[ReasonCase]:
    """Return every combination of item, history, wish, popularity and context."""
    items = (
        film("x", "Untold"),
        film("y", "Solaris", "Sci-Fi"),
        film("z", "Them", "Horror", "Sci-Fi", "War"),
    )
    histories = ((), (BIG,), (BRAZIL,), (BRAZIL, BIG), (BIG, BRAZIL), (ALIEN, BRAZIL), (BIG, film("h4", "M")))
    found = itertools.product(items, histories, ("", "dark", "war or sci-fi"), (1, 99), (None, 1.0), range(6))
    return [
        case_of(
            item,
            *liked,
            shares={entry.id: 1 - 0.1 * n for n, entry in enumerate(liked)},
            channels={"text": 1, "popularity": popular},
            context=FRIDAY.model_copy(update={"wish": wish}),
            effect=effect,
            variant=variant,
        )
        for item, liked, wish, popular, effect, variant in found
    ]
