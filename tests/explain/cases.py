"""Items to explain, with every kind of evidence for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from recsys.config import Domain, ReasonConfig, Style, load_domain
from recsys.explain import MeasuredCandidate, ReasonCase, Reasons, RequestPart, drained, plan_list, write_each
from recsys.explain.causes import Proposer
from recsys.explain.claims import Lexicon
from recsys.explain.item_parts import ItemPart
from recsys.explain.past import Past
from recsys.explain.phrases import FactCounts, Phrases, facts_of
from recsys.explain.writer import phrases_of
from recsys.prompting.library import PromptLibrary
from recsys.types import Context, HistoryEntry, Item, Place
from tests.fakes import ScriptedEngine, candidate, film

PROMPTS = PromptLibrary()
ALIEN = film("h1", "Alien", "Horror", "Sci-Fi")
BRAZIL = film("h2", "Brazil", "Sci-Fi")
BIG = film("h3", "Big", "Comedy")
DUNE = film("d", "Dune", "Adventure", "Sci-Fi", year=1984)
OTHERS = [film(f"o{n}", f"Other {n}", "Drama", year=2001) for n in range(30)]
SHARES = {"h1": 0.3, "h2": 0.4, "h3": -0.1}
FRIDAY = Context(
    weekday="Friday", part_of_day="evening", place=Place(city="Minneapolis"), extra={"weather": "rain"}
)
COUNTS = FactCounts([ALIEN, BRAZIL, BIG, DUNE, *OTHERS])


def phrases_in(language: str = "en", **reasons: object) -> Phrases:
    """Return the phrases of the film domain in a language."""
    config = ReasonConfig.model_validate({"language": language, "noun": {"zh": "影片|影片"}, **reasons})
    return phrases_of(films().model_copy(update={"reasons": config}), PROMPTS)


def films() -> Domain:
    return load_domain("movies")


PHRASES = phrases_in()


def measured_of(
    item: Item = DUNE,
    *liked: Item,
    shares: Mapping[str, float] = SHARES,
    channels: Mapping[str, int] | None = None,
    context: Context = FRIDAY,
    effect: float | None = None,
    noise: float = 0.0,
    profile: float = 0.0,
    wish: float = 1.0,
    disliked: Collection[str] = (),
    unrated: Sequence[Item] = (),
    listed: bool = True,
    history_effect: float = 0.0,
    popularity: float = 0.5,
    related: Mapping[str, str] | None = None,
    asked: Sequence[str] = (),
    examples: Collection[str] = (),
    together: Sequence[str] = (),
    retrieval_dependent: bool = False,
    own: Sequence[str] = (),
    own_effects: Mapping[ItemPart, float] | None = None,
    rated: bool = True,
    rank: int = 1,
) -> MeasuredCandidate:
    """Return a candidate whose causes have the sums of the effects of their parts."""
    entries = [HistoryEntry(item=one, liked=one.id not in disliked) for one in liked]
    entries += [HistoryEntry(item=one) for one in unrated]
    effects = {RequestPart("history", name): share for name, share in shares.items()}
    one = candidate(
        item,
        channels=channels or {"text": 1},
        popularity=popularity,
        co_consumed=dict.fromkeys(together, 1.0),
    )
    past = Past(entries)
    proposer = Proposer(past, COUNTS, PHRASES.is_noun, rated, frozenset(examples))
    causes = proposer.causes(one, effects, related or {}, lambda fact: True)
    moment = (RequestPart("time"), RequestPart("place"), RequestPart("fact", "weather"))
    facts = facts_of(item)
    return MeasuredCandidate(
        one,
        facts,
        past,
        context,
        effects
        | dict.fromkeys(moment, effect or 0.0)
        | ({RequestPart("wish"): wish} if context.wish else {})
        | {RequestPart("popularity"): 0.05, RequestPart("profile"): profile},
        [(cause, sum(effects.get(part, 0.0) for part in cause.parts)) for cause in causes],
        own_effects or {},
        noise=noise,
        listed=listed,
        rank=rank,
        history_effect=history_effect,
        retrieval_dependent=retrieval_dependent,
        asked=[fact for fact in facts if fact.value in asked],
        examples=frozenset(examples),
        close=(channels or {"text": 1}).get("text", 99) <= 5,
        own=[fact for fact in facts if fact.value in own],
    )


def planned(
    *measured: MeasuredCandidate, style: Style = "short", phrases: Phrases = PHRASES
) -> list[ReasonCase]:
    return plan_list(measured, phrases, COUNTS, style)


def case_of(item: Item = DUNE, *liked: Item, **options: object) -> ReasonCase:
    return planned(measured_of(item, *liked, **options))[0]  # type: ignore[arg-type]


def write(
    cases: Sequence[ReasonCase],
    engine: ScriptedEngine | None = None,
    phrases: Phrases = PHRASES,
    lexicon: Lexicon | None = None,
) -> Reasons:
    """Write the reasons of all cases."""
    return drained(write_each(cases, engine, PROMPTS, phrases, lexicon))


def texts(case: ReasonCase, kind: str) -> list[str]:
    return [entry.text for entry in case.evidence if entry.kind == kind]


SPACE = [film(f"s{n}", f"Space {n}", "Sci-Fi", year=1979 + n) for n in range(6)]
SPACE_SHARES = {one.id: 0.5 - 0.05 * n for n, one in enumerate(SPACE)}
WISH = Context(wish="dark")

MEASURED: dict[str, MeasuredCandidate] = {
    "several liked": measured_of(DUNE, *SPACE, shares=SPACE_SHARES),
    "two liked, both share": measured_of(DUNE, ALIEN, BRAZIL),
    "two liked, none shares": measured_of(
        film("x", "Untold", "War"), ALIEN, BIG, shares={"h1": 1, "h3": 0.9}
    ),
    "one liked": measured_of(DUNE, BRAZIL),
    "one liked, no attributes": measured_of(film("x", "Untold"), BRAZIL),
    "chosen by the same people": measured_of(DUNE, ALIEN, BRAZIL, together=["h1", "h2"]),
    "liked in context": measured_of(DUNE, ALIEN, BRAZIL, effect=1.0),
    "wish": measured_of(context=WISH),
    "wish and liked": measured_of(DUNE, ALIEN, context=WISH),
    "wish, no attributes": measured_of(film("x", "Untold"), context=WISH),
    "wish in context": measured_of(context=FRIDAY.model_copy(update={"wish": "dark"}), effect=1.0),
    "wish that names": measured_of(context=Context(wish="sci-fi from the 1980s"), asked=["Sci-Fi", "1980s"]),
    "wish that names what was liked": measured_of(
        DUNE, ALIEN, BRAZIL, context=Context(wish="sci-fi"), asked=["Sci-Fi"]
    ),
    "wish like one": measured_of(
        DUNE,
        ALIEN,
        context=Context(wish="sci-fi like Alien"),
        shares={"h1": 1.0},
        asked=["Sci-Fi"],
        examples=["h1"],
    ),
    "a sequel of one liked": measured_of(
        DUNE, ALIEN, shares={"h1": 0.3}, related={"h1": "is a sequel of Alien, which you liked"}
    ),
    "bought": measured_of(DUNE, unrated=SPACE, shares=SPACE_SHARES, rated=False),
    "fits the profile": measured_of(profile=1.0, own=["Sci-Fi"]),
    "popular": measured_of(popularity=1.0),
    "outsider": measured_of(DUNE, *OTHERS[:12], shares={}, popularity=1.0, noise=0.1),
    "attributes alone": measured_of(),
    "attributes in context": measured_of(effect=1.0),
    "liked, and suits the person": measured_of(DUNE, BRAZIL, profile=1.0, effect=1.0),
    "liked, not recommended": measured_of(DUNE, ALIEN, BRAZIL, listed=False),
    "mixed": measured_of(DUNE, ALIEN, BRAZIL, shares={"h1": -0.5, "h2": 0.4}, disliked=["h1"]),
    "more against it than for it": measured_of(
        DUNE, ALIEN, BRAZIL, BIG, shares={"h1": -1.0, "h2": 0.4, "h3": -0.5}, disliked=["h1"], listed=False
    ),
    "lifted by what it is": measured_of(own_effects={ItemPart(attribute="genre"): 0.5}),
    "liked, and lifted by what it is": measured_of(
        DUNE, ALIEN, together=["h1"], own_effects={ItemPart(attribute="genre"): 0.3}
    ),
    "nothing": measured_of(film("x", "Untold")),
}
CASES: dict[str, ReasonCase] = {name: planned(one)[0] for name, one in MEASURED.items()}
