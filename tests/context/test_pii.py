"""Personal data under disguise: what is masked, and that ordinary texts stay."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.disguises import Part, disguises
from benchmarks.privacy import measure, titles_of
from recsys.config import Privacy, load_domain
from recsys.context.builder import build_context
from recsys.context.pii import mask, mask_moment
from recsys.context.pii_folding import fold, with_spelled_digits

EVERYTHING = Privacy(mask=("name", "mail", "phone", "card", "iban", "id", "address", "ip"))


def test_disguises_are_masked_and_ordinary_texts_stay() -> None:
    """One disguise in four used to be masked, and dates such as 08.11.2026."""
    titles = titles_of(load_domain("movies"))
    parts = [measure(part, titles) for part in get_args(Part)]
    cases, missed = (sum(len(getattr(part, name)) for part in parts) for name in ("cases", "missed"))
    ordinary, alarms = (
        sum(len(getattr(part, name)) for part in parts) for name in ("ordinary", "false_alarms")
    )
    assert (cases, ordinary) == (400, 2000)
    assert missed <= 0.02 * cases
    assert alarms <= 0.005 * ordinary


@pytest.mark.parametrize("part", get_args(Part))
def test_masking_a_disguise_twice_is_masking_it_once(part: Part) -> None:
    for case in disguises(part):
        once = mask(case.text, EVERYTHING, ["Ann Lee"])
        assert mask(once, EVERYTHING, ["Ann Lee"]) == once


@pytest.mark.parametrize(
    "text",
    [
        "08.11.2026",
        "02/03/2027 20:15:00",
        "2027 23:59:59",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "ISBN 0-306-40615-2",
        "1971, 1972, 1973, 1974",
        "2001 2003 2005 2007",
        "one two three four five six seven eight nine ten",
        "le 30/09/26 à 11.45",
        "look at example.com",
        "10 Cloverfield Lane, Heat and Alien",
        "My Name Is Joe",
        "my name is nobody",
        "in May a comedy",
        "👨\u200d👩\u200d👧 at 8½",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert mask(text, EVERYTHING, ["Maya", "Ann Lee"]) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call (020 7946 0958) now", "call ([phone]) now"),
        ("6\ufe0f\u20e31\ufe0f\u20e32\ufe0f\u20e3 555 0143", "[phone]"),
        ("A\u200bnn  L\u00e9e and bob", "[name] and bob"),
        ("4242.4242.4242.4242, 12/29", "[card], 12/29"),
        ("mail bob（at）example。com!", "mail [mail]!"),
        ("NO93 8601 1117 947", "[iban]"),
        ("I live at 12 Elm Street and like noir", "I live at [address] and like noir"),
    ],
)
def test_a_disguise_goes_whole_and_nothing_around_it(text: str, masked: str) -> None:
    assert mask(text, EVERYTHING, ["Ann Lee"]) == masked


@given(st.text(max_size=60))
@example("a\u0301\u200b b")
@example("\u200bone two three four five six seven")
def test_every_folded_character_knows_where_it_stood(text: str) -> None:
    for folded in (fold(text), with_spelled_digits(fold(text))):
        assert len(folded.text) == len(folded.starts) == len(folded.ends)
        assert list(folded.starts) == sorted(folded.starts)
        for index in range(len(folded.text)):
            start, end = folded.place(index, index + 1)
            assert 0 <= start < end <= len(text)


TIMES = (
    "%d/%m/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%m/%d/%y %I:%M %p",
    "%Y/%m/%d %H.%M",
    "%d-%m-%Y",
)


@settings(max_examples=300)
@given(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 12, 31)), st.sampled_from(TIMES))
@example(dt.datetime(2026, 12, 12, 21), "%d/%m/%Y %H:%M")
def test_a_time_stays_however_it_is_written(time: dt.datetime, form: str) -> None:
    """12/12/2026 21:00 was taken for a Finnish id."""
    for written in (time.strftime(form), time.isoformat(), time.isoformat() + "+01:00"):
        assert mask_moment(written, EVERYTHING) == written


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 8))
def test_coordinates_stay(latitude: float, longitude: float, places: int) -> None:
    written = f"{latitude:.{places}f}, {longitude:.{places}f}"
    assert mask_moment(written, EVERYTHING) == written


INSERTED = st.sampled_from(["", "", "\u200b", "\u2060", "\u00ad", "\u0336", "\u200e"])
BETWEEN = st.sampled_from([" ", "\u00a0", "\u2009", "-", "\u2013", ".", "/", "_", "|", "\u00b7", " - "])
ZEROS = st.sampled_from([0x30, 0xFF10, 0x0660, 0x0966, 0x1D7CE])


@given(st.data(), BETWEEN, ZEROS)
@settings(max_examples=150)
def test_no_disguise_of_a_number_is_left_in_a_context(data: st.DataObject, between: str, zero: int) -> None:
    groups = data.draw(st.sampled_from(["612 555 0143", "+44 20 7946 0958", "4111 1111 1111 1111"])).split()
    digits = between.join(groups)
    typed = "".join(
        (chr(zero + int(char)) if char.isdigit() else char) + data.draw(INSERTED) for char in digits
    )
    context = build_context(wish=f"a film, {typed}, please", extra={"note": typed})
    left = [unicodedata.digit(char, None) for char in f"{context.wish}{context.extra}"]
    assert [digit for digit in left if digit is not None] == []
    assert re.fullmatch(r"a film, \[(phone|card)\], please", context.wish)
