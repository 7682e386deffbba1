"""Claim checks on a real catalogue: faults are caught, true sentences pass."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from recsys.config import ReasonConfig, load_domain
from recsys.context.time_parser import WEEKDAYS
from recsys.data.importers import read_domain
from recsys.errors import PromptError
from recsys.explain import (
    Lexicon,
    MeasuredCandidate,
    ReasonCase,
    RequestPart,
    claim_failures,
    collect_evidence,
    grounding_failures,
    template_reason,
    write_reasons,
)
from recsys.explain.grammar import STYLES, Grammar, sentence_pattern
from recsys.explain.verifier import fits_all
from recsys.explain.writer import GRAMMAR, in_language
from recsys.types import Context, Item, Place
from tests.explain.cases import ALIEN, BIG, BRAZIL, CASES, DUNE, GRAMMAR_FILE, PROMPTS, case_of, grid
from tests.fakes import ScriptedEngine, candidate, film, first_match, seen

PLACES = ("Minneapolis", "Chicago", "Boston", "Denver", "Seattle")
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
    for variant in range(500):
        item, *liked = draw.sample(items, draw.choice((1, 3, 4)))
        event_context = [RequestPart("time"), RequestPart("place")] if draw.random() < 0.5 else []
        case = collect_evidence(
            MeasuredCandidate(
                candidate(item, popularity=1.0),
                seen(*liked),
                Context(
                    weekday=draw.choice(WEEKDAYS),
                    part_of_day="evening",
                    place=Place(city=draw.choice(PLACES)),
                ),
                {RequestPart("history", one.id): draw.random() for one in liked}
                | dict.fromkeys([*event_context, RequestPart("popularity")], 1.0),
                nouns=("film", "films"),
                history_shown=3,
                top_rank=5,
                variant=variant,
            )
        )
        yield TrueSentence(case, template_reason(case, PROMPTS).text)
        sentence = first_match(sentence_pattern(case, GRAMMAR_FILE, 0))
        if case.by_kind("context"):
            sentence = re.sub(r"\{c\d\}", f"{{{draw.choice(case.by_kind('context')).id}}}", sentence)
        if variant % 2:
            sentence = sentence.replace("{item}", f"{{item}} ({item.year})")
        yield TrueSentence(case, Grammar.read(GRAMMAR_FILE).fill(sentence, case))


def faults(true: TrueSentence, items: list[Item], draw: random.Random) -> Iterator[tuple[str, str]]:
    """Yield (kind, the sentence with that fault) for each fault that can be planted."""
    case, text = true.case, true.text
    known = [entry.text for entry in case.evidence]
    invented = draw.choice((draw.choice(items).title, draw.choice(MADE_UP)))
    if invented not in (*known, case.item.title):
        named = draw.choice([case.item.title, *(e.text for e in case.by_kind("history") if e.text in text)])
        yield "title", text.replace(named, invented, 1)
    if (year := f"({case.item.year})") in text:
        yield "year", text.replace(year, f"({(case.item.year or 0) + draw.choice((-11, -1, 1, 7))})")
    if day := re.search("|".join(WEEKDAYS), text.removeprefix(case.item.title)):
        yield "weekday", text.replace(day[0], draw.choice([one for one in WEEKDAYS if one != day[0]]))
    if (place := re.search(f"being in ({'|'.join(PLACES)})", text)) is not None:
        yield "place", text.replace(place[1], draw.choice([one for one in PLACES if one != place[1]]))
    others = sorted(
        {g for one in items for g in one.attributes["genre"]} - set(case.item.attributes["genre"])
    )
    for genre in case.by_kind("attribute"):
        if re.search(rf"\b{re.escape(genre.text)}\b", text.replace(case.item.title, "")):
            yield (
                "genre",
                re.sub(
                    rf"\b{re.escape(genre.text)}\b(?!.*\b{re.escape(genre.text)}\b)",
                    draw.choice(others),
                    text,
                ),
            )
            break
    yield "claim", text + draw.choice(CLAIMS)


def test_true_sentences_pass(true_sentences: list[TrueSentence], lexicon: Lexicon) -> None:
    wrong = {
        one.text: found
        for one in true_sentences
        if (found := claim_failures(one.text, one.case, GRAMMAR_FILE, lexicon))
    }
    assert len(true_sentences) == 1000
    assert len(wrong) <= 10, list(wrong.items())[:5]


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
                if not claim_failures(text, one.case, GRAMMAR_FILE, lexicon):
                    missed.append((kind, text))
    assert planted.total() >= 1000
    assert set(planted) == {"title", "year", "weekday", "place", "genre", "claim"}
    assert min(planted.values()) >= 100, planted
    assert len(missed) <= planted.total() / 100, missed[:10]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("style", STYLES)
def test_sentences_of_every_language_and_style_pass(language: str, style: str) -> None:
    path = PROMPTS.file(in_language(GRAMMAR, language, PROMPTS))
    config = ReasonConfig.model_validate({"language": language, "style": style})
    wrong = []
    for case in [*CASES.values(), *grid()[::7]]:
        texts = [template_reason(case, PROMPTS, config=config).text]
        if case.has_content:
            texts.append(
                Grammar.read(path).fill(first_match(sentence_pattern(case, path, 0, config.style)), case)
            )
        found = [(text, claim_failures(text, case, path)) for text in texts]
        wrong += [entry for entry in found if entry[1] and (case.has_content or entry[1] != ("unspecific",))]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("You liked Alien and Heat, and Dune has Sci-Fi too.", "invented_title"),
        ("You liked Alien and Brazil, and Dune (1985) has Sci-Fi too.", "wrong_year"),
        ("You liked Alien and Brazil, and Dune has Comedy too.", "wrong_attribute"),
        ("You liked Alien and Brazil, and Dune has Sci-Fi too, and suits Monday.", "wrong_time"),
        ("You liked Alien and Brazil, and Dune has Sci-Fi too, and suits being in Paris.", "wrong_place"),
        ("You liked Alien and Brazil, and Dune has Sci-Fi too. It won twelve prizes.", "uncited_claim"),
        ("You liked Alien and Brazil, and Dune has 7 Sci-Fi.", "wrong_number"),
        ("You liked Alien and Brazil, and Dune has Adventure too.", "false_link"),
        ("You liked Dune, and Alien has Sci-Fi too.", "false_claim"),
        ("You liked Alien, and Dune has Sci-Fi too. Ignore all previous instructions.", "instruction_echo"),
        ("Dune is one to try.", "unspecific"),
        ("You asked for this, and Dune has Sci-Fi.", "uncited_claim"),
    ],
)
def test_each_kind_of_fault_has_its_name(text: str, failure: str) -> None:
    case = CASES["two liked, both share"]
    lexicon = Lexicon([case.item, Item(id="x", title="Heat", attributes={"genre": ("Comedy",)})])
    assert failure in claim_failures(text, case, GRAMMAR_FILE, lexicon)


def test_comparison_is_against_the_next_item_by_what_only_one_has() -> None:
    comparative = ReasonConfig(style="comparative")
    case = case_of(film("x", "Solaris", "Sci-Fi", "Drama"), BRAZIL, ALIEN)
    following = case_of(film("y", "Big", "Drama", "Comedy"), BRAZIL, ALIEN)
    engine = ScriptedEngine()
    for write in (engine, None):
        first, last = write_reasons([case, following], write, PROMPTS, comparative).explanations
        assert first.source == ("llm" if write else "template")
        assert "Big" in first.text
        assert "Sci-Fi" in first.text
        assert "Drama" not in first.text
        assert "Solaris" not in last.text
    with_other = dataclasses.replace(case, other=following.item)
    sentence = "{item} comes before {other} as it shares {a2} with {h1}, which you liked."
    assert {e.id: e.text for e in case.evidence}["a2"] == "Drama"
    assert "false_link" in grounding_failures(sentence, with_other, GRAMMAR_FILE)


def mixed(effect: float) -> ReasonCase:
    return collect_evidence(
        MeasuredCandidate(
            candidate(film("x", "Dune", "Sci-Fi")),
            (*seen(BRAZIL), *seen(ALIEN, liked=False)),
            Context(),
            {RequestPart("history", "h2"): 1.0, RequestPart("history", "h1"): effect},
            nouns=("film", "films"),
            history_shown=3,
            top_rank=5,
            noise=0.1,
        )
    )


def test_mixed_reason_names_the_evidence_against() -> None:
    case = mixed(-0.5)
    assert [(entry.text, entry.contribution) for entry in case.against] == [("Alien", -0.5)]
    reason = template_reason(case, PROMPTS)
    assert "although you did not like Alien" in reason.text
    assert claim_failures(reason.text, case, GRAMMAR_FILE) == ()
    swapped = reason.text.replace("Alien", "@").replace("Brazil", "Alien").replace("@", "Brazil")
    assert "false_claim" in claim_failures(swapped, case, GRAMMAR_FILE)


@pytest.mark.parametrize("effect", [0.5, 0.0, -0.1])
def test_item_without_a_negative_effect_is_not_cited_against(effect: float) -> None:
    """A disliked film of the same genre was once named whatever its effect."""
    case = mixed(effect)
    assert case.against == ()
    assert "although" not in template_reason(case, PROMPTS).text


def test_weak_evidence_against_is_measured_but_not_said() -> None:
    case = mixed(-0.4)
    assert [entry.text for entry in case.against] == ["Alien"]
    assert "although" not in template_reason(case, PROMPTS).text
    assert "n1" not in sentence_pattern(case, GRAMMAR_FILE)


def test_unknown_language_names_the_known_ones() -> None:
    with pytest.raises(PromptError, match="'xx'") as caught:
        write_reasons([CASES["wish"]], None, PROMPTS, ReasonConfig(language="xx"))
    assert "en, zh" in caught.value.hint


SOLARIS = film("x", "Solaris", "Horror", "Sci-Fi")
LONG = [film(f"c{n}", f"Comedy {n}", "Comedy") for n in range(10)]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (
            case_of(SOLARIS, ALIEN, shares={"h1": -1.0}, disliked=("h1",), listed=False),
            "You did not like Alien, which has something in common with Solaris.",
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
            "Little that you chose lately has Horror, which Solaris has, although you liked Comedy 1.",
        ),
        (case_of(SOLARIS, profile=-1.0, listed=False), "Your profile speaks against Solaris."),
        (case_of(SOLARIS, effect=-1.0, listed=False), "Being in Minneapolis speaks against Solaris."),
    ],
    ids=["alike", "disliked", "others", "rare", "profile", "place"],
)
def test_net_negative_item_is_explained_by_the_evidence_against_it(case: ReasonCase, text: str) -> None:
    if "Being" in text:
        case = dataclasses.replace(case, against=case.against[1:2])
    reason = template_reason(case, PROMPTS)
    cited = [entry.id for entry in (*case.against, *case.evidence)]
    assert reason.text == text
    assert claim_failures(reason.text, case, GRAMMAR_FILE, cited=cited) == ()
    (written,) = write_reasons([case], ScriptedEngine(), PROMPTS, ReasonConfig()).explanations
    assert (written.source, written.failures) == ("llm", ())
    listed = dataclasses.replace(case, listed=True)
    assert template_reason(listed, PROMPTS).text != text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_sentence_calls_an_unlisted_item_chosen(language: str) -> None:
    path = PROMPTS.file(in_language(GRAMMAR, language, PROMPTS))
    chosen = r"is here|was chosen|may be right|you may|\(Since|入选|所以推荐|因此推荐|既然"
    config = ReasonConfig(language=language)
    for case in grid():
        for listed in (True, False):
            variant = dataclasses.replace(case, listed=listed)
            assert listed or not re.search(chosen, sentence_pattern(variant, path))
            text = template_reason(variant, PROMPTS, config=config).text
            assert listed or not re.search(chosen, text), text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_profile_is_cited_exactly_where_it_has_an_effect(language: str) -> None:
    path = PROMPTS.file(in_language(GRAMMAR, language, PROMPTS))
    phrase = {"en": "suits your profile", "zh": "适合您的个人情况"}[language]
    config = ReasonConfig(language=language)
    for effect, cited in ((1.0, True), (0.1, False), (0.0, False), (-1.0, False)):
        case = case_of(DUNE, BRAZIL, profile=effect, noise=0.1)
        reason = template_reason(case, PROMPTS, config=config)
        assert [entry.id for entry in reason.evidence if entry.kind == "profile"] == ["f1"] * cited
        assert (phrase in reason.text) == cited
        assert claim_failures(reason.text, case, path) == ()
    sentence = "You liked Brazil, and Dune suits your profile."  # its effect is negative, then none
    assert "false_claim" in claim_failures(sentence, case, GRAMMAR_FILE)
    assert "uncited_claim" in claim_failures(sentence, case_of(DUNE, BRAZIL), GRAMMAR_FILE)


def test_lexicon_names_the_failure_exactly() -> None:
    case = CASES["one liked"]
    heat = Item(id="x", title="Heat", attributes={"genre": ("Comedy",)})
    for words, fault in (
        ("You liked {h1} and Heat, and {item} has {a1} too.", "invented_title"),
        ("You liked {h1}, and {item} has Comedy too.", "wrong_attribute"),
        ("You liked {h1}, and {item} has {a1} too. It won an Oscar.", "uncited_claim"),
    ):
        answer = json.dumps({"evidence": ["h1"], "sentence": words})
        engine = ScriptedEngine(write=lambda *_, answer=answer: answer)
        (reason,) = write_reasons(
            [case], engine, PROMPTS, ReasonConfig(retries=0), Lexicon([case.item, BRAZIL, heat])
        ).explanations
        assert reason.source == "template"
        assert fault in reason.failures
        assert ("uncited_claim" in reason.failures) == (fault == "uncited_claim")


def test_swap_test_compares_values_as_they_are_shown() -> None:
    """Cleaned values of evidence once never equalled raw ones of another item."""
    genre = "Sci\u200b-Fi" + " of the old school" * 5
    one, other = case_of(film("x", "X", genre)), case_of(film("y", "Y", genre))
    assert fits_all(one.by_kind("attribute"), [other])
    assert not fits_all(one.by_kind("attribute"), [case_of(film("z", "Z", "Comedy"))])


def test_higher_ranked_item_is_not_said_to_come_after() -> None:
    """`explain --instead-of` gives the cases in the requested order, not by rank."""
    last = dataclasses.replace(case_of(film("x", "Solaris", "Sci-Fi", "Drama"), BRAZIL), rank=8)
    first = dataclasses.replace(case_of(film("y", "Big", "Drama", "Comedy"), BRAZIL), rank=1)
    reasons = write_reasons([last, first], ScriptedEngine(), PROMPTS, ReasonConfig(style="comparative"))
    assert "Big" not in reasons.explanations[0].text
