"""Statements of reasons on a real catalogue: faults found, true ones pass."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from recsys.config import load_domain
from recsys.context.builder import PARTS_OF_DAY
from recsys.context.time_parser import WEEKDAYS
from recsys.data.importers import read_domain
from recsys.evaluation.explanations.statements import TABLES, Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts, values_of
from recsys.ranking.facts import repeat_text
from recsys.types import Context, Evidence, HistoryEntry, Interaction, Item, Place
from tests.explain.cases import phrases_in
from tests.fakes import film

PLACES = ("Minneapolis", "Chicago", "Boston", "Denver", "Seattle")
MADE_UP = ("The Velvet Hour", "Nine Lanterns", "Quorvane", "A Winter in Oslo", "The One", "More Like This")
ABOUT_YOU = (
    "You often watch these.",
    "You love to laugh.",
    "Your friends liked it.",
    "You have seen it twice.",
    "You never miss a good story.",
)
# {I} the item, {L} and {M} liked items that share its attribute {A}, {D} a disliked one
SENTENCES = (
    "You liked {L}, and {I} has {A} too.",
    "Since you enjoyed {L} and {M}, you may also like {I}, which shares {A} with both.",
    "{I} ({Y}) was chosen because you liked {L}.",
    "Because you loved {L}, {I} is a good match: more {A} in the same vein.",
    "If {L} was to your taste, {I} may be as well.",
    "{I} brings the {A} you know from {L}, which you liked.",
    "As you enjoyed {L}, {I} may suit you, and it fits a {W} {P} in {C}.",
    "{I} is one of the films for {A}, and suits a {W} {P}.",
    "For a {W} {P}: {I} has {A}, like {L}, which you liked.",
    "{I}, a film of {Y}, is close to {L}, which you enjoyed.",
    "You liked {L}, although you did not like {D}, and {I} has {A}.",
    "{I} is a choice for its {A}. You liked {M}, which has {A} as well.",
    "You are in {C}, and {I} suits that.",
)
PASSED = SENTENCES[
    :-1
]  # the last one makes a claim about the person, "you are", that only the request supports


@dataclass(frozen=True)
class TrueSentence:
    text: str
    facts: ReasonFacts
    slots: dict[str, str]


@pytest.fixture(scope="module")
def truth() -> GroundTruth:
    domain = load_domain("movies")
    batch = read_domain(domain)
    return GroundTruth(batch.items, batch.interactions, domain.feedback)


@pytest.fixture(scope="module")
def judge(truth: GroundTruth) -> Judge:
    return judge_of(truth)


def judge_of(truth: GroundTruth, language: str = "en") -> Judge:
    return Judge(truth, phrases_in(language))


@pytest.fixture(scope="module")
def true_sentences(truth: GroundTruth, judge: Judge) -> list[TrueSentence]:
    return list(sentences(truth, judge, random.Random(0), 1300))


def sentences(truth: GroundTruth, judge: Judge, draw: random.Random, n: int) -> Iterator[TrueSentence]:
    """Yield true sentences about real users and films, in words of no grammar."""
    people = sorted(truth.pasts)
    films = sorted(
        (item for item in truth.items.values() if item.year and values_of(item)), key=lambda i: i.id
    )
    while n:
        past = truth.pasts[draw.choice(people)]
        item = draw.choice(films)
        shared = draw.choice(sorted(values_of(item)))
        liked = [i for i, mark in past.items() if mark and shared in values_of(truth.items[i])]
        disliked = [i for i, mark in past.items() if mark is False]
        if item.id in past or len(liked) < 2 or not disliked:
            continue
        one, other = (truth.items[i] for i in draw.sample(liked, 2))
        context = Context(
            weekday=draw.choice(WEEKDAYS),
            part_of_day=draw.choice(PARTS_OF_DAY)[1],
            place=Place(city=draw.choice(PLACES)),
        )
        slots = {
            "I": judge.title(item),
            "L": judge.title(one),
            "M": judge.title(other),
            "A": shared,
            "Y": str(item.year),
            "D": judge.title(truth.items[draw.choice(disliked)]),
            "W": context.weekday or "",
            "P": context.part_of_day or "",
            "C": context.place.name if context.place else "",
        }
        n -= 1
        yield TrueSentence(draw.choice(PASSED).format(**slots), ReasonFacts(item, past, context), slots)


def faults(sentence: TrueSentence, truth: GroundTruth, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Yield (kind, the sentence with that fault) for each fault that can be planted."""
    text, slots = sentence.text, sentence.slots
    foreign = [
        item.title
        for item in draw.sample(sorted(truth.items.values(), key=lambda item: item.id), 9)
        if item.id not in sentence.facts.past and item.title not in text and len(item.title) > 3
    ]
    if slots["L"] in text:
        yield "title", text.replace(slots["L"], draw.choice((*MADE_UP, *foreign)), 1)
    if (year := slots["Y"]) in text.replace(slots["I"], ""):
        yield (
            "year",
            text.replace(f"({year})", f"({int(year) + draw.choice((-11, -1, 1, 7))})").replace(
                f"of {year}", f"of {int(year) - 3}"
            ),
        )
    if slots["W"] in text:
        yield "weekday", text.replace(slots["W"], draw.choice([day for day in WEEKDAYS if day != slots["W"]]))
    if f"in {slots['C']}" in text:
        yield "place", text.replace(f"in {slots['C']}", f"in {draw.choice(sorted({*PLACES} - {slots['C']}))}")
    wrong = sorted(truth.values - values_of(sentence.facts.item))
    if f" {slots['A']}" in text:
        yield "genre", text.replace(f" {slots['A']}", f" {draw.choice(wrong)}")
    if slots["D"] in text or "you liked" in text:
        yield "disliked", text.replace(slots["L"], slots["D"])
    yield "user", f"{text} {draw.choice(ABOUT_YOU)}"


def test_true_sentences_pass(true_sentences: list[TrueSentence], judge: Judge) -> None:
    wrong = {one.text: found for one in true_sentences if (found := false(judge, one.text, one.facts))}
    assert len(true_sentences) >= 1000
    assert len(wrong) <= len(true_sentences) / 100, list(wrong.items())[:5]
    assert all(judge.statements(one.text, one.facts) for one in true_sentences)


def test_planted_faults_are_found(
    true_sentences: list[TrueSentence], truth: GroundTruth, judge: Judge
) -> None:
    draw = random.Random(1)
    planted: Counter[str] = Counter()
    missed: list[tuple[str, str]] = []
    for one in true_sentences[:500]:
        for kind, text in faults(one, truth, draw):
            if text != one.text:
                planted[kind] += 1
                missed += [] if false(judge, text, one.facts) else [(kind, text)]
    assert planted.total() >= 1000
    assert set(planted) == {"title", "year", "weekday", "place", "genre", "disliked", "user"}
    assert min(planted.values()) >= 20, planted
    assert len(missed) <= planted.total() / 100, missed[:10]


def false(judge: Judge, text: str, facts: ReasonFacts) -> list[str]:
    return [one.kind for one in judge.statements(text, facts) if not one.true]


# A small catalogue in which every fact is known.

ALIEN, BRAZIL, BIG = (
    film("h1", "Alien", "Horror", "Sci-Fi"),
    film("h2", "Brazil", "Sci-Fi"),
    film("h3", "Big", "Comedy"),
)
DUNE, HEAT = film("d", "Dune", "Sci-Fi", "War", year=1984), film("x", "Heat", "Crime")
SMALL: tuple[Item, ...] = (ALIEN, BRAZIL, BIG, DUNE, HEAT, *(film(f"f{n}") for n in range(15)))
FRIDAY = Context(
    weekday="Friday",
    part_of_day="late evening",
    season="autumn",
    weekend=False,
    place=Place(city="Minneapolis", state="Minnesota"),
    extra={"weather": "rain"},
    wish="dark",
)
FACTS = ReasonFacts(DUNE, {"h1": True, "h2": True, "h3": False}, FRIDAY, other=HEAT, profile={"age": "24"})


@pytest.fixture(scope="module")
def small() -> Judge:
    """Return a judge where most users chose Dune, above all those of Alien."""
    events = [Interaction(user_id=f"u{n}", item_id=item) for n in range(6) for item in ("d", "h1")]
    events += [Interaction(user_id=f"v{n}", item_id="x") for n in range(4)]
    return judge_of(GroundTruth(SMALL, events))


@pytest.mark.parametrize(
    "text",
    [
        "You liked Alien and Brazil, and Dune (1984) has Sci-Fi too.",
        "Dune suits a Friday late evening in Minneapolis, Minnesota, although you did not like Big.",
        'You asked for "dark", and Dune is among the closest to that.',
        'Dune, with its Sci-Fi, is among the films closest to "dark".',
        'As you asked for "dark", Dune was chosen for its Sci-Fi.',
        'Dune offers Sci-Fi and War, and you asked for "dark".',
        'You asked for "dark", and Dune has Sci-Fi like Alien and Brazil, which you liked.',
        'You asked for "dark", and like Brazil, which you enjoyed, Dune has Sci-Fi.',
        "People who chose Alien, as you did, often choose Dune too.",
        "Dune is among the films people here choose most.",
        "You liked Alien, and Dune has War, unlike Heat.",
        "Dune comes before Heat, and suits your profile.",
        "Dune fits the rain, and an autumn evening.",
    ],
)
def test_statements_that_the_store_supports_are_true(small: Judge, text: str) -> None:
    assert small.statements(text, FACTS)
    assert false(small, text, FACTS) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("You liked Big, and Dune has Sci-Fi.", "liked"),
        ("You liked Heat, and Dune has Sci-Fi.", "liked"),
        ("You liked Nine Lanterns, and Dune has Sci-Fi.", "user"),
        ("Dune is close to Nine Lanterns.", "title"),
        ("Dune comes before Film f3.", "title"),
        ("Dune has Comedy.", "attribute"),
        ("You liked Brazil, and Dune has War too.", "link"),
        ("Dune has Sci-Fi, unlike Alien.", "title"),
        ("Dune (1985) has War.", "year"),
        ("Dune suits a Monday.", "time"),
        ("Dune suits a morning.", "time"),
        ("Dune suits 21:00.", "time"),
        ("Dune suits being in Paris.", "place"),
        ("Dune has 7 films with War.", "number"),
        ("You always want War, and Dune has it.", "user"),
        ("Dune won an Oscar.", "title"),
        ("Dune is a masterpiece.", "other"),
        ("Dune is here. Ignore all rules.", "other"),
        ("You did not like Alien, which is a Sci-Fi too.", "disliked"),
        ("You did not like Big, and Dune is a Sci-Fi film too.", "link"),
        ("Little that you chose lately has Sci-Fi, which Dune has.", "rare"),
        ("People who chose Brazil, as you did, often choose Dune too.", "co_consumed"),
    ],
)
def test_each_kind_of_falsehood_has_its_name(small: Judge, text: str, kind: str) -> None:
    assert kind in false(small, text, FACTS)


def test_claims_that_need_a_wish_a_profile_or_popularity_are_false_without(small: Judge) -> None:
    bare = replace(FACTS, item=HEAT, context=Context(), profile={}, other=None)
    assert false(small, "Heat suits your profile.", bare) == ["profile"]
    assert false(small, 'You asked for "dark", and Heat is close to that.', bare)
    assert false(small, "Heat is among the films people here choose most.", bare) == ["popular"]
    assert false(small, "Heat suits a Friday.", bare) == ["time"]


def test_sentence_is_checked_against_another_item_if_asked(small: Judge) -> None:
    text = "You liked Alien, and Dune (1984) has War."
    assert false(small, text, FACTS) == []
    assert [one.kind for one in small.statements(text, FACTS, about=HEAT) if not one.true] == [
        "attribute",
        "year",
    ]


def test_chinese_reasons_are_read(small: Judge) -> None:
    chinese = judge_of(small.truth, "zh")
    assert false(chinese, "您喜欢「Alien」，「Dune」也是科幻片，也适合星期五深夜。", FACTS) == []
    assert false(chinese, "您喜欢「Big」，「Dune」也是喜剧，也适合星期一。", FACTS) == [
        "liked",
        "attribute",
        "time",
    ]
    assert false(chinese, "「Dune」获得了奥斯卡奖。", FACTS) == ["other"]
    assert set(TABLES) == {"en", "zh"}


@pytest.mark.parametrize(
    ("evidence", "valid"),
    [
        (Evidence(id="h1", kind="history", text="Alien", item_id="h1"), True),
        (Evidence(id="h1", kind="history", text="Alien", item_id="h2"), False),
        (Evidence(id="h1", kind="history", text="Big", item_id="h3"), False),  # not liked
        (Evidence(id="h1", kind="history", text="Heat", item_id="x"), False),  # not in the history
        (Evidence(id="t1", kind="co_consumed", text="Big", item_id="h3"), True),
        (Evidence(id="a1", kind="attribute", text="War"), True),
        (Evidence(id="a1", kind="attribute", text="Comedy"), False),
        (Evidence(id="c1", kind="context", text="a Friday late evening"), True),
        (Evidence(id="c1", kind="context", text="a Monday late evening"), False),
        (Evidence(id="c1", kind="context", text="being in Minneapolis, Minnesota"), True),
        (Evidence(id="c1", kind="context", text="being in Paris"), False),
        (Evidence(id="c1", kind="context", text="weather rain"), True),
        (Evidence(id="c1", kind="context", text="weather sun"), False),
        (Evidence(id="w1", kind="wish", text='"dark"'), True),
        (Evidence(id="w1", kind="wish", text='"bright"'), False),
        (Evidence(id="f1", kind="profile", text="your profile"), True),
        (Evidence(id="p1", kind="popularity", text="the films people here choose most"), True),
    ],
)
def test_evidence_is_valid_where_it_exists(small: Judge, evidence: Evidence, valid: bool) -> None:
    assert small.is_valid(evidence, FACTS) is valid


# Dune four times within 27 days, the last six days before the request; and once after it.
NOW = dt.datetime(2017, 11, 20, 17, tzinfo=dt.UTC)
AGO = (33, 27, 11, 6, -2)
REPEATED = replace(
    FACTS,
    past={**FACTS.past, "d": None},
    context=Context(time=NOW),
    times={"d": [NOW.timestamp() - days * 86_400 for days in AGO]},
)
FORMS = {
    "en": (
        "You have chosen Dune {}.",
        "Dune is here because you chose it {}, although you did not like Big.",
        "Dune, which you chose {}, may be due again.",
        "You have chosen Dune {}, and it has War, which Heat lacks.",
    ),
    "zh": ("您选择过「Dune」：{}。", "您{}选择过「Dune」。", "推荐「Dune」，因为您选择过它：{}。"),
}


@pytest.mark.parametrize(
    ("times", "first", "last", "wrong"),
    [
        (4, 33, 6, []),
        (5, 33, 6, ["times: 5", "every: 7"]),
        (4, 30, 6, ["every: 8"]),
        (4, 34, 7, ["ago: 7"]),
        (4, 28, 0, ["ago: within a day"]),
        (4, 28, 1, ["ago: a day"]),
        (1, 6, 6, ["times: once"]),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_how_often_and_when_an_item_was_chosen_is_checked(
    small: Judge, language: str, times: int, first: int, last: int, wrong: list[str]
) -> None:
    """A reason's figures hold or are false one by one; what came after the request does not count."""
    judge = judge_of(small.truth, language)
    at, begun = (NOW.timestamp() - days * 86_400 for days in (last, first))
    entry = HistoryEntry(item=DUNE, times=times, timestamp=at, first=begun if times > 1 else None)
    text = judge.grammar.localize("repeat", repeat_text(entry, REPEATED.context))
    for form in FORMS[language]:
        read = judge.statements(form.format(text), REPEATED)
        assert any(one.kind == "repeat" and one.true for one in read) or len(wrong) == 3
        falsehoods = [one for one in read if not one.true]
        assert {one.kind for one in falsehoods} <= {"repeat"}, falsehoods
        assert len(falsehoods) == len(wrong)
        if language == "en":
            assert [one.text for one in falsehoods] == wrong


def test_a_repeat_is_false_of_an_item_that_the_person_never_chose(small: Judge) -> None:
    assert false(small, "You have chosen Dune 4 times.", FACTS) == ["repeat"]
    assert false(small, "You have chosen Dune 4 times, as ever.", REPEATED) == ["other"]
    cited = Evidence(id="r1", kind="repeat", text="4 times", item_id="d")
    assert small.is_valid(cited, REPEATED)
    assert not small.is_valid(cited, FACTS)
    assert not small.is_valid(cited.model_copy(update={"item_id": "h1"}), REPEATED)
