"""Parsing extracts what model text contains, and never raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.prompting.parsing import parse_json, parse_order, parse_reason
from recsys.types import ParseCategory

anything = st.text(st.characters(codec=None, exclude_categories=()))
like_json = st.text(alphabet='[]{}",:0123456789 .eE-truefalsn\\u', max_size=60)


@pytest.mark.parametrize(
    ("text", "order", "category"),
    [
        ("[3, 1, 2]", [2, 0, 1], "ok"),
        (" \n[3,1,2]\n", [2, 0, 1], "ok"),
        ('{"order": [2, 3, 1]}', [1, 2, 0], "ok"),
        ('["2", " 3 ", "1"]', [1, 2, 0], "ok"),
        ('[{"id": 2, "score": 0.5}, {"id": 3}, {"id": 1}]', [1, 2, 0], "ok"),
        ("[3, 1, 2", [2, 0, 1], "repaired"),
        ("```json\n[3, 1, 2]\n```", [2, 0, 1], "repaired"),
        ("[3, 1, 2,]", [2, 0, 1], "repaired"),
        ("3 > 1 > 2", [2, 0, 1], "repaired"),
        ("Best is 3, then 1 and 2.", [2, 0, 1], "repaired"),
        ("[3, 9, 1, 2]", [2, 0, 1], "unknown_id"),
        ("[3, 0, -1, 1, 2]", [2, 0, 1], "unknown_id"),
        ("[3, true, null, 1, 2]", [2, 0, 1], "unknown_id"),
        ("[3.5, 1, 2]", [0, 1, 2], "unknown_id"),
        ('["Heat", 3]', [2, 0, 1], "unknown_id"),
        ("[9, 3, 3, 1]", [2, 0, 1], "unknown_id"),
        ("[3, 3, 1, 2]", [2, 0, 1], "duplicate"),
        ("[3, 3]", [2, 0, 1], "duplicate"),
        ("[2]", [1, 0, 2], "missing"),
        ("[]", [0, 1, 2], "missing"),
        ("[2", [1, 0, 2], "missing"),
        ("", [0, 1, 2], "empty"),
        (" \n\t", [0, 1, 2], "empty"),
        ("I'm sorry, I can't rank 3 films.", [0, 1, 2], "refusal"),
        ("As an AI, I have no taste", [0, 1, 2], "refusal"),
        ("I cannot help", [0, 1, 2], "refusal"),
        ("no idea", [0, 1, 2], "wrong_format"),
        ("{}", [0, 1, 2], "wrong_format"),
        ("null", [0, 1, 2], "wrong_format"),
        ("12345678", [0, 1, 2], "wrong_format"),
        ("[" * 100_000, [0, 1, 2], "wrong_format"),
        ('{"a":' * 100_000, [0, 1, 2], "wrong_format"),
    ],
)
def test_order_is_parsed(text: str, order: list[int], category: ParseCategory) -> None:
    found, report = parse_order(text, 3)
    assert (found, report.category) == (order, category)
    assert report.repaired == (category == "repaired")


@pytest.mark.parametrize("text", ["[3, 1", "[3, 1, 2]", "3 > 1", "[3, 3"])
def test_order_that_was_cut_off_is_read_and_marked(text: str) -> None:
    order, report = parse_order(text, 3, truncated=True)
    assert order == [2, 0, 1]
    assert report.category == "truncated"


@given(anything | like_json, st.integers(0, 30), st.booleans())
def test_any_text_gives_a_permutation(text: str, n: int, truncated: bool) -> None:
    order, report = parse_order(text, n, truncated=truncated)
    assert sorted(order) == list(range(n))
    assert report.category


@given(st.permutations(range(1, 9)))
def test_well_formed_order_is_read_as_it_stands(numbers: list[int]) -> None:
    order, report = parse_order(json.dumps(numbers), 8)
    assert order == [number - 1 for number in numbers]
    assert report.category == "ok"


@pytest.mark.parametrize("depth", [50, 300, 600, 900, 5000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_nesting_of_any_depth_raises_nothing(depth: int, left: str, right: str) -> None:
    """An entry nested some 400 deep once exceeded Python's stack after parsing."""
    nested = left * depth + "1" + right * depth
    assert sorted(parse_order(f"[{nested}]", 3)[0]) == [0, 1, 2]
    assert parse_reason(f'{{"evidence": [{nested}], "sentence": "S"}}')[0] in ("S", "")


@pytest.mark.parametrize(
    ("text", "sentence", "category"),
    [
        ('{"sentence": "S {liked}."}', "S {liked}.", "ok"),
        ('{"sentence": " S. ", "evidence": ["h1"]}', "S.", "ok"),
        ('{"sentence": "S."', "S.", "repaired"),
        ('Sure: {"sentence": "S."}', "S.", "repaired"),
        ('{"evidence": ["h1"]}', "", "missing"),
        ('{"sentence": ""}', "", "missing"),
        ('{"sentence": 7}', "", "missing"),
        ("[1, 2]", "", "wrong_format"),
        ('"S."', "", "wrong_format"),
        ("Since you liked it.", "", "wrong_format"),
        ("", "", "empty"),
        ("I am unable to say", "", "refusal"),
    ],
)
def test_reason_is_parsed(text: str, sentence: str, category: ParseCategory) -> None:
    found, report = parse_reason(text)
    assert (found, report.category) == (sentence, category)


def test_reason_that_was_cut_off_is_marked() -> None:
    sentence, report = parse_reason('{"sentence": "Since you', truncated=True)
    assert sentence == "Since you"
    assert report.category == "truncated"


@given(anything | like_json, st.booleans())
def test_any_text_gives_a_reason_or_none(text: str, truncated: bool) -> None:
    sentence, report = parse_reason(text, truncated=truncated)
    assert sentence == sentence.strip()
    assert report.category


@pytest.mark.parametrize(
    "text", ["I'm sorry \ud800", "no \ud800 idea", "[\ud800", '{"evidence": ["\\ud800"], "sentence": "x"}']
)
def test_report_of_broken_unicode_can_be_sent_on(text: str) -> None:
    """A refusal was once quoted raw; half a surrogate pair cannot be encoded."""
    for report in (parse_json(text)[1], parse_order(text, 2)[1], parse_reason(text)[1]):
        report.model_dump_json().encode()
