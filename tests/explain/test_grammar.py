"""Every sentence of the grammar is grounded, and no other passes."""

from __future__ import annotations

import random
import re

import pytest

from recsys.config import Style
from recsys.explain import claim_failures, grounding_failures
from recsys.explain.grammar import form_patterns, sample_sentence, sentence_pattern
from tests.explain.cases import (
    BIG,
    BRAZIL,
    CASES,
    DUNE,
    MEASURED,
    PHRASES,
    case_of,
    phrases_in,
    planned,
)

GRAMMAR = PHRASES.grammar
STYLES: tuple[Style, ...] = ("short", "comparative")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", MEASURED)
def test_every_sentence_is_grounded_and_passes_the_check_of_free_text(
    name: str, style: Style, language: str
) -> None:
    phrases, draw = phrases_in(language), random.Random(name)
    following = MEASURED["two liked, none shares"]
    case = planned(MEASURED[name], following, style=style, phrases=phrases)[0]
    for pattern in form_patterns(case, phrases.grammar):
        for _ in range(6):
            sentence = sample_sentence(pattern, draw.choice)
            assert grounding_failures(sentence, case, phrases.grammar) == ()
            text = phrases.grammar.fill(sentence, case.texts)
            assert not re.search(r"[{}]|\s\s|\s[.,]|,[.,;]|\(\)|\||,$", text), text
            assert text[-1] in ".。"
            assert text[0] == text[0].upper()
            failures = claim_failures(text, case, phrases)
            assert failures == () or (failures == ("unspecific",) and not case.has_content), text


def test_neighbouring_reasons_and_second_attempts_have_other_forms() -> None:
    one = MEASURED["one liked"]
    cases = planned(one, one, one)
    pairs = zip(cases, (0, 0, 1), strict=True)
    assert len({sentence_pattern(case, GRAMMAR, attempt) for case, attempt in pairs}) > 1


def test_the_moment_is_named_exactly_where_it_matters() -> None:
    """The model once chose, and mostly left it out."""
    plain = "Like {liked}, which you liked, {item}{aside} is {shared}"
    effective = case_of(DUNE, BRAZIL, effect=1.0)
    assert not re.fullmatch(sentence_pattern(effective, GRAMMAR), f"{plain}.")
    assert re.fullmatch(sentence_pattern(effective, GRAMMAR), f"{plain}, and suits {{now}}.")
    without_effect = case_of(DUNE, BRAZIL)
    assert re.fullmatch(sentence_pattern(without_effect, GRAMMAR), f"{plain}.")
    assert not re.fullmatch(sentence_pattern(without_effect, GRAMMAR), f"{plain}, and suits {{now}}.")


@pytest.mark.parametrize(
    ("sentence", "failure"),
    [
        ("You liked {past}: {item}{aside} is {shared} too.", "unknown_evidence"),
        (
            "Like {liked}, which you liked, {item}{aside} is {shared}, like {liked}, which you liked.",
            "repeated",
        ),
        ("Like {liked}, which you liked, it is {shared}.", "not_about_item"),
        ("{item}: like {liked}, which you liked, {item}{aside} is {shared}.", "not_about_item"),
        ("Like {liked}, which you liked, {item}{aside} is {shared}. It won an Oscar.", "uncited_claim"),
        ("Like {liked}, which you liked, {item}{aside} is {shared}, and suits a Friday.", "uncited_claim"),
        ("Like Star Wars, which you liked, {item}{aside} is {shared}.", "uncited_claim"),
        ("Like {liked}, which you liked, {item}{aside} is {shared}.\n", "uncited_claim"),
        ("", "not_about_item"),
    ],
)
def test_planted_fault_is_caught(sentence: str, failure: str) -> None:
    assert failure in grounding_failures(sentence, CASES["one liked"], GRAMMAR)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_sentence_calls_an_unlisted_item_chosen(language: str) -> None:
    grammar = phrases_in(language).grammar
    chosen = r"is here|comes up|you (may|might)|one to try|推荐|也会喜欢|可以一试"
    unlisted = [
        case_of(DUNE, BRAZIL, listed=False),
        case_of(DUNE, listed=False),
        case_of(BIG, BRAZIL, listed=False),
    ]
    for case in unlisted:
        assert not re.search(chosen, sentence_pattern(case, grammar))


def test_a_name_in_the_grammar_has_its_plural_and_article() -> None:
    assert PHRASES.one([]) == "a film"
    assert PHRASES.many(13, []) == "13 films"
    assert PHRASES.grammar.joined(["a", "b", "c"]) == "a, b and c"
