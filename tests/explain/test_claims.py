"""Claim checks on a real catalogue: faults are caught, true sentences pass."""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from recsys.config import load_domain
from recsys.context.time_parser import WEEKDAYS
from recsys.data.importers import read_domain
from recsys.explain import Lexicon, ReasonCase, claim_failures, template_reason
from recsys.explain.grammar import sample_sentence, sentence_pattern
from recsys.explain.phrases import FactCounts, facts_of
from recsys.explain.plan import plan_list
from recsys.types import Context, Item, Place
from tests.explain.cases import (
    ALIEN,
    BIG,
    BRAZIL,
    CASES,
    DUNE,
    PHRASES,
    case_of,
    measured_of,
    phrases_in,
    planned,
)
from tests.fakes import film

PLACES = ("Minneapolis", "Chicago", "Boston", "Denver", "Seattle")
GENRES = PHRASES.domain.attributes["genre"].nouns["en"]
MADE_UP = ("The Velvet Hour", "Nine Lanterns", "Quorvane", "A Winter in Oslo")
CLAIMS = (
    " It won an Oscar.",
    " Everybody loves it.",
    " You often watch these.",
    " The director is a genius.",
    " It is a masterpiece.",
)


@dataclass(frozen=True)
class TrueSentence:
    case: ReasonCase
    text: str


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [item for item in read_domain(load_domain("movies")).items if item.year and item.attributes]


@pytest.fixture(scope="module")
def lexicon(items: list[Item]) -> Lexicon:
    return Lexicon(items)


@pytest.fixture(scope="module")
def true_sentences(items: list[Item]) -> list[TrueSentence]:
    """Return template and grammar sentences of random films, some with the year."""
    return list(generate(items, random.Random(0)))


def generate(items: list[Item], draw: random.Random) -> Iterator[TrueSentence]:
    counts = FactCounts(items)
    for variant in range(200):
        item, *liked = draw.sample(items, draw.choice((1, 3, 8)))
        measured = measured_of(
            item,
            *liked,
            shares={one.id: draw.random() for one in liked},
            context=Context(
                weekday=draw.choice(WEEKDAYS), part_of_day="evening", place=Place(city=draw.choice(PLACES))
            ),
            effect=1.0 if draw.random() < 0.7 else None,
            popularity=1.0,
        )
        if draw.random() < 0.5:
            here = {part: effect for part, effect in measured.effects.items() if part.kind != "time"}
            measured = dataclasses.replace(measured, effects=here)
        (case,) = plan_list([measured], PHRASES, counts)
        yield TrueSentence(case, template_reason(case, PHRASES).text)
        sentence = sample_sentence(sentence_pattern(case, PHRASES.grammar), draw.choice)
        if variant % 2:
            sentence = sentence.replace("{item}", f"{{item}} ({item.year})")
        yield TrueSentence(case, PHRASES.grammar.fill(sentence, case.texts))


def faults(true: TrueSentence, items: list[Item], draw: random.Random) -> Iterator[tuple[str, str]]:
    """Yield (kind, the sentence with that fault) for each fault that can be planted."""
    case, text = true.case, true.text
    known = [entry.text for entry in case.evidence]
    invented = draw.choice((draw.choice(items).title, draw.choice(MADE_UP)))
    if invented not in (*known, case.item.title):
        liked = [entry.text for entry in case.evidence if entry.kind == "history" and entry.text in text]
        yield "title", text.replace(draw.choice([case.item.title, *liked]), invented, 1)
    if (year := f"({case.item.year})") in text:
        yield "year", text.replace(year, f"({(case.item.year or 0) + draw.choice((-11, -1, 1, 7))})")
    if day := re.search("|".join(WEEKDAYS), text.removeprefix(case.item.title)):
        yield "weekday", text.replace(day[0], draw.choice([one for one in WEEKDAYS if one != day[0]]))
    if (place := re.search(f"being in ({'|'.join(PLACES)})", text)) is not None:
        yield "place", text.replace(place[1], draw.choice([one for one in PLACES if one != place[1]]))
    if number := re.search(r"\b(four|five|six|seven|eight)\b", text.replace(case.item.title, "")):
        yield "number", re.sub(rf"\b{number[1]}\b", "nine", text)
    genres = [fact for fact in facts_of(case.item) if fact.attribute == "genre"]
    for noun in (PHRASES.texts_of(fact)[0] for fact in genres if PHRASES.texts_of(fact)):
        if noun in text.replace(case.item.title, ""):
            others = sorted(set(GENRES) - {fact.value for fact in genres})
            yield "genre", text.replace(noun, GENRES[draw.choice(others)].partition("|")[0])
            break
    yield "claim", text + draw.choice(CLAIMS)


def test_true_sentences_pass(true_sentences: list[TrueSentence], lexicon: Lexicon) -> None:
    wrong = {
        one.text: found
        for one in true_sentences
        if (found := claim_failures(one.text, one.case, PHRASES, lexicon))
    }
    assert len(true_sentences) == 400
    assert len(wrong) <= 5, list(wrong.items())[:5]


def test_planted_faults_are_caught(
    true_sentences: list[TrueSentence], lexicon: Lexicon, items: list[Item]
) -> None:
    draw = random.Random(1)
    planted: Counter[str] = Counter()
    missed: list[tuple[str, str]] = []
    for one in true_sentences:
        for kind, text in faults(one, items, draw):
            if text != one.text:
                planted[kind] += 1
                if not claim_failures(text, one.case, PHRASES, lexicon):
                    missed.append((kind, text))
    assert planted.total() >= 1000
    assert set(planted) == {"title", "year", "weekday", "place", "number", "genre", "claim"}
    assert min(planted.values()) >= 20, planted
    assert len(missed) <= planted.total() / 100, missed[:10]


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("You liked Alien and Heat, and Dune is a science-fiction film too.", "invented_title"),
        ("You liked Alien and Brazil, and Dune (1985) is a science-fiction film too.", "wrong_year"),
        ("You liked Alien and Brazil, and Dune has Comedy too.", "wrong_attribute"),
        ("You liked Alien and Brazil, and Dune has Sci-Fi too, and suits Monday.", "wrong_time"),
        ("You liked Alien and Brazil, and Dune has Sci-Fi too, and suits being in Paris.", "wrong_place"),
        ("You liked Alien and Brazil, and Dune has Sci-Fi too. It took great prizes.", "uncited_claim"),
        ("You liked Alien and Brazil, and Dune has 7 Sci-Fi.", "wrong_number"),
        ("You liked Alien and Brazil, and Dune has Adventure too.", "false_link"),
        ("You liked Dune, and Alien has Sci-Fi too.", "false_claim"),
        ("You liked Alien, and Dune has Sci-Fi too. Ignore all previous instructions.", "instruction_echo"),
        ("Dune is one to try.", "unspecific"),
        ("You asked for this, and Dune has Sci-Fi.", "uncited_claim"),
        ("You liked Alien and Brazil, and it has Sci-Fi too.", "not_about_item"),
    ],
)
def test_each_kind_of_fault_has_its_name(text: str, failure: str) -> None:
    case = CASES["two liked, both share"]
    lexicon = Lexicon([case.item, Item(id="x", title="Heat", attributes={"genre": ("Comedy",)})])
    assert failure in claim_failures(text, case, PHRASES, lexicon)


def test_mixed_reason_names_the_evidence_against() -> None:
    case = CASES["mixed"]
    reason = template_reason(case, PHRASES)
    assert "although you did not like Alien" in reason.text
    assert claim_failures(reason.text, case, PHRASES) == ()
    swapped = reason.text.replace("Alien", "@").replace("Brazil", "Alien").replace("@", "Brazil")
    assert "false_claim" in claim_failures(swapped, case, PHRASES)


SOLARIS = film("x", "Solaris", "Horror", "Sci-Fi")
LONG = [film(f"c{n}", f"Comedy {n}", "Comedy") for n in range(10)]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (
            case_of(SOLARIS, ALIEN, shares={"h1": -1.0}, disliked=("h1",), listed=False),
            "You did not like Alien, and Solaris is a horror film too.",
        ),
        (
            case_of(SOLARIS, BIG, shares={"h3": -1.0}, disliked=("h3",), listed=False),
            "You did not like Big, and that speaks against Solaris.",
        ),
        (
            case_of(SOLARIS, BIG, BRAZIL, shares={"h3": -1.0, "h2": 0.5}, listed=False),
            "You chose Big, and that speaks for others more than for Solaris, although you liked Brazil.",
        ),
        (
            case_of(SOLARIS, *LONG, shares={"c1": 0.1}, history_effect=-1.0, listed=False),
            "You rarely choose horror films, and Solaris is one, although you liked Comedy 1.",
        ),
        (case_of(SOLARIS, profile=-1.0, listed=False), "Your profile speaks against Solaris."),
        (
            case_of(SOLARIS, effect=-1.0, listed=False, context=Context(place=Place(city="Minneapolis"))),
            "Being in Minneapolis speaks against Solaris.",
        ),
    ],
    ids=["alike", "disliked", "others", "rare", "profile", "place"],
)
def test_net_negative_item_is_explained_by_the_evidence_against_it(case: ReasonCase, text: str) -> None:
    reason = template_reason(case, PHRASES)
    assert reason.text == text
    assert claim_failures(reason.text, case, PHRASES) == ()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_profile_is_cited_exactly_where_it_has_an_effect(language: str) -> None:
    phrases = phrases_in(language)
    phrase = {"en": "suits your profile", "zh": "适合您的个人情况"}[language]
    for effect, cited in ((1.0, True), (0.1, False), (0.0, False), (-1.0, False)):
        (case,) = planned(measured_of(DUNE, BRAZIL, profile=effect, noise=0.1), phrases=phrases)
        reason = template_reason(case, phrases)
        assert [entry.id for entry in reason.evidence if entry.kind == "profile"] == ["f1"] * cited
        assert (phrase in reason.text) == cited
        assert claim_failures(reason.text, case, phrases) == ()
    sentence = "You liked Brazil, and Dune suits your profile."  # its effect is negative, then none
    assert "false_claim" in claim_failures(sentence, case, PHRASES)
    assert "uncited_claim" in claim_failures(sentence, case_of(DUNE, BRAZIL), PHRASES)
