"""Amounts in a wish: numbers, durations, money, years and decades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.wishes.language import language
from recsys.wishes.tokens import Token

AmountKind = Literal["number", "year", "duration", "money"]
FIRST_YEAR, LAST_YEAR = 1800, 2100
_MONEY_SIGNS = "$€£¥"
_QUARTERS = {"early": (0, 4), "middle": (3, 6), "late": (5, 9)}


@dataclass(frozen=True)
class Amount:
    """An amount, or a range of years; a duration is in seconds."""

    kind: AmountKind
    low: float
    high: float
    length: int  # tokens

    @property
    def is_range(self) -> bool:
        """Whether it has two ends, as a decade."""
        return self.low < self.high


def amount_at(tokens: Sequence[Token], begin: int, raw: str) -> Amount | None:
    """Return the amount that begins at a token.

    Args:
        tokens: All tokens.
        begin: Position of the first.
        raw: The cleaned text, which tells "eighties" from "eighty".
    """
    token = tokens[begin]
    if token.text in _MONEY_SIGNS and begin + 1 < len(tokens):
        number = _number(tokens, begin + 1)
        return Amount("money", number[0], number[0], number[1] + 1) if number else None
    if (decade := _decade(tokens, begin, raw)) is not None:
        return decade
    if token.text in ("a", "an", "half"):
        return _spoken_duration(tokens, begin)
    if (number := _number(tokens, begin)) is None:
        return None
    return _with_unit(tokens, begin, *number)


def part_of_decade(amount: Amount, part: str) -> Amount:
    """Return the early, middle or late years of a decade."""
    first, last = _QUARTERS[part]
    return Amount(amount.kind, amount.low + first, amount.low + last, amount.length)


def _number(tokens: Sequence[Token], begin: int) -> tuple[float, int] | None:
    """Return a number and how many tokens it has."""
    words, chinese = language().numbers, language().chinese_numbers
    text = tokens[begin].text
    if text[0].isdigit():
        return float(text), 1
    if text in chinese:
        return _chinese_number(tokens, begin)
    if text not in words or text in ("hundred",):
        return None
    value, length = float(words[text]), 1
    while begin + length < len(tokens):
        skipped = (
            1
            if tokens[begin + length].text == "-" or (tokens[begin + length].text == "and" and value >= 100)
            else 0
        )
        if not _is_word(tokens, begin + length + skipped):
            break
        joined = _joined(value, tokens[begin + length + skipped].text)
        if joined is None:
            break
        value, length = joined, length + skipped + 1
    return value, length


def _joined(value: float, word: str) -> float | None:
    """Return a number with the next of its words: "forty two", "nineteen eighty"."""
    more = language().numbers[word]
    if word == "hundred":
        return value * 100 if value < 10 else None
    if (0 < more < 10 and value % 100 >= 20 and value % 10 == 0) or (
        value >= 100 and value % 100 == 0 and more < 100
    ):
        return value + more
    return value * 100 + more if value in (19, 20) and more >= 20 else None


def _is_word(tokens: Sequence[Token], position: int) -> bool:
    return position < len(tokens) and tokens[position].text in language().numbers


def _chinese_number(tokens: Sequence[Token], begin: int) -> tuple[float, int] | None:
    digits = language().chinese_numbers
    length = 0
    while begin + length < len(tokens) and tokens[begin + length].text in digits:
        length += 1
    values = [digits[token.text] for token in tokens[begin : begin + length]]
    if all(value < 10 and value == int(value) for value in values) and length > 1:
        return float("".join(str(int(value)) for value in values)), length  # 一九九四
    total, current = 0.0, 0.0
    for value in values:
        if value >= 10:
            total, current = total + (current or 1) * value, 0.0
        else:
            current += value
    return total + current, length


def _decade(tokens: Sequence[Token], begin: int, raw: str) -> Amount | None:
    """Read "1980s", "80s", "'80s", "eighties", "nineteen eighties", "80年代", "八十年代"."""
    extra = 1 if tokens[begin].text == "'" else 0
    if tokens[begin].text in ("nineteen",) and begin + 1 < len(tokens):
        extra = 1
    if begin + extra >= len(tokens):
        return None
    token = tokens[begin + extra]
    written = raw[token.start : token.end].casefold()
    if written.endswith("ies") and token.text in language().decades:
        first = 1900 + language().decades[token.text]
        return Amount("year", first, first + 9, extra + 1)
    number = _number(tokens, begin + extra)
    if number is None or number[0] % 10 or not (10 <= number[0] < 100 or 1800 <= number[0] <= 2090):
        return None
    end = begin + extra + number[1]
    following = [one.text for one in tokens[end : end + 3]]
    if following[:2] == ["年", "代"]:
        length = extra + number[1] + 2
    elif following[:1] == ["s"] and tokens[end].start == tokens[end - 1].end:
        length = extra + number[1] + 1
    elif following[:2] == ["'", "s"]:
        length = extra + number[1] + 2
    else:
        return None
    first = int(number[0]) + (0 if number[0] > 100 else 2000 if number[0] < 20 else 1900)
    return Amount("year", first, first + 9, length)


def _with_unit(tokens: Sequence[Token], begin: int, value: float, length: int) -> Amount:
    end = begin + length
    if tokens[end : end + 1] and tokens[end].text == ":" and end + 1 < len(tokens):
        minutes = tokens[end + 1].text
        if minutes.isdigit() and len(minutes) == 2:
            seconds = value * 3600 + float(minutes) * 60
            return Amount("duration", seconds, seconds, length + 2)
    half = 0.0
    if [token.text for token in tokens[end : end + 3]] == ["and", "a", "half"]:
        half, end = 0.5, end + 3
    elif [token.text for token in tokens[end : end + 2]] == ["个", "半"]:
        half, end = 0.5, end + 2
    if tokens[end : end + 1] and tokens[end].text == "-":
        end += 1
    if unit := _unit(tokens, end):
        return _duration(tokens, begin, end + unit[1], (value + half) * unit[0], unit[0])
    if money := _money_unit(tokens, end):
        return _money(tokens, begin, end + money[1], value * money[0])
    if FIRST_YEAR <= value <= LAST_YEAR and value == int(value) and not half:
        more = 1 if tokens[begin + length : begin + length + 1] and tokens[begin + length].text == "年" else 0
        return Amount("year", value, value, length + more)
    return Amount("number", value, value, length)


def _money(tokens: Sequence[Token], begin: int, end: int, amount: float) -> Amount:
    """Read what follows dollars: "fifty", "and fifty cents"."""
    skip = 1 if end < len(tokens) and tokens[end].text == "and" else 0
    number = _number(tokens, end + skip) if end + skip < len(tokens) else None
    if number and 10 <= number[0] < 100 and not _unit(tokens, end + skip + number[1]):
        cents = _money_unit(tokens, end + skip + number[1])
        if cents is None or cents[0] < 1:
            amount, end = amount + number[0] / 100, end + skip + number[1] + (cents[1] if cents else 0)
    return Amount("money", amount, amount, end - begin)


def _duration(tokens: Sequence[Token], begin: int, end: int, seconds: float, unit: float) -> Amount:
    """Read what follows hours: "and a half", "30", "30 minutes", "半"."""
    following = [token.text for token in tokens[end : end + 3]]
    if following[:2] == ["and", "a"] and following[2:] in (["half"], ["quarter"]):
        seconds, end = seconds + unit / (2 if following[2] == "half" else 4), end + 3
    elif following[:1] == ["半"]:
        seconds, end = seconds + unit / 2, end + 1
    elif unit == 3600:
        skip = 1 if following[:1] in (["and"], ["零"]) else 0
        if end + skip < len(tokens) and (number := _number(tokens, end + skip)):
            small = _unit(tokens, end + skip + number[1])
            if small and small[0] == 60:
                seconds, end = seconds + number[0] * 60, end + skip + number[1] + small[1]
            elif not skip and tokens[end].start == tokens[end - 1].end and 0 < number[0] < 60:
                seconds, end = seconds + number[0] * 60, end + number[1]
    return Amount("duration", seconds, seconds, end - begin)


def _spoken_duration(tokens: Sequence[Token], begin: int) -> Amount | None:
    """Read "an hour", "half an hour", "an hour and a half", "a dollar"."""
    texts = [token.text for token in tokens[begin : begin + 3]]
    half = texts[0] == "half"
    start = begin + (2 if half and texts[1:2] in (["a"], ["an"]) else 1)
    if texts[:2] == ["a", "half"]:
        return None
    factor = 0.5 if half else 1.0
    if unit := _unit(tokens, start):
        return _duration(tokens, begin, start + unit[1], factor * unit[0], unit[0])
    if money := _money_unit(tokens, start):
        return _money(tokens, begin, start + money[1], factor * money[0])
    if texts[1:2] == ["dozen"]:
        return Amount("number", 12, 12, 2)
    return None


def _unit(tokens: Sequence[Token], begin: int) -> tuple[float, int] | None:
    for length in (3, 2, 1):
        phrase = tuple(token.text for token in tokens[begin : begin + length])
        if len(phrase) == length and (seconds := language().seconds.get(phrase)):
            return seconds, length
    return None


def _money_unit(tokens: Sequence[Token], begin: int) -> tuple[float, int] | None:
    for length in (2, 1):
        phrase = tuple(token.text for token in tokens[begin : begin + length])
        if len(phrase) == length and (size := language().money.get(phrase)):
            return size, length
        if length == 1 and phrase and phrase[0] in _MONEY_SIGNS:
            return 1.0, 1
    return None
