"""Finds numbers of a person: cards, bank accounts, telephones, national ids.

A number counts only if it is valid: by its check digits, or by the numbering plan of its country. Each
function takes a folded text (`recsys.context.pii_folding`) and yields the places of what it found.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from recsys.context.pii_folding import PATTERNS

Places = Iterator[tuple[int, int]]

# What people write between the digits of a number. Quantifiers are bounded, so no text makes the search slow.
_MARK = r"(?:(?!\n)[\W_])"
_BETWEEN = rf"{_MARK}{{0,3}}"
_RUN = re.compile(rf"(?<![\w-])(?<!\d[.,])\+?\(?\d(?:{_BETWEEN}\d){{6,50}}(?![\w]|-\w)")
_GROUP = re.compile(r"\d+")
_IBAN = re.compile(
    rf"(?<!\w)[A-Z]{_BETWEEN}[A-Z]{_BETWEEN}\d{_BETWEEN}\d(?:{_BETWEEN}[A-Z0-9]){{11,30}}", re.IGNORECASE
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:])", re.IGNORECASE
)
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:(?:1[89]|2[01])?\d\d)"
_DATE = re.compile(
    rf"(?:{_DAY}([./ -]){_MONTH}\1{_YEAR}|{_MONTH}([./ -]){_DAY}\2{_YEAR}"
    rf"|(?:1[89]|2[01])\d\d([./ -]){_MONTH}\3{_DAY})"
    r"(?:[ ,]{1,2}\d{1,2}(?:[:. ]\d{1,2}){0,2})?"
)
_BOOK = re.compile(r"ISBN(?:-1[03])?[: -]{0,2}$", re.IGNORECASE)
_USUAL_MARKS = frozenset("-.()")  # which phonenumbers reads by itself
_MIN_PHONE = 7  # digits; shorter numbers are only valid locally

_IDS = PATTERNS["ids"]
_SHAPE_SIGNS = {"L": "[A-Z]", "D": r"\d", "S": rf"(?:A|{_MARK})", "X": "[A-Z0-9]"}
_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]")
_MARKED_ID = re.compile(
    rf"(?<!\w)(?:{_IDS['words']})(?: ?(?:number|nummer|num|no|nr|card))?[.:#]{{0,2}} ?(?:is|ist|:|=)? ?"
    rf"([A-Z0-9](?:{_BETWEEN}[A-Z0-9]){{5,18}})(?!\w)",
    re.IGNORECASE,
)
_MIN_ID = 5  # digits after a word such as "passport"


@dataclass(frozen=True, slots=True)
class _Number:
    """Neighbouring groups of digits that are written as one number."""

    start: int
    end: int
    groups: tuple[str, ...]
    marks: frozenset[str]  # what stands between the groups, without spaces
    is_whole: bool  # False if a further group stands before or after it in the same way

    @property
    def digits(self) -> str:
        return "".join(self.groups)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(map(len, self.groups))

    @property
    def is_digits_apart(self) -> bool:
        return len(self.groups) > 1 and set(self.lengths) == {1}


def cards(text: str) -> Places:
    """Find numbers of payment cards (ISO/IEC 7812)."""
    return _numbers(text, _is_card)


def ids(text: str) -> Places:
    """Find national ids: by their check digits, or after a word for one."""
    for match in _MARKED_ID.finditer(text):
        if sum(char.isdigit() for char in match[1]) >= _MIN_ID:
            yield match.span(1)
    for pattern, is_valid in _shapes():
        for match in pattern.finditer(text):
            if not _DATE.match(match[0]) and is_valid(_joined(match[0]).upper()):
                yield match.span()
    yield from _numbers(text, _is_id)


def ibans(text: str) -> Places:
    """Find bank accounts (ISO 13616), each only as far as its check digits are valid."""
    from stdnum import iban

    for match in _IBAN.finditer(text):
        ends = [end for end in range(len(match[0]), 14, -1) if match[0][end - 1].isalnum()]
        for end in ends:
            is_whole = not text[match.start() + end : match.start() + end + 1].isalnum()
            if is_whole and iban.is_valid(_joined(match[0][:end]), check_country=False):
                yield match.start(), match.start() + end
                break


def phones(text: str, regions: tuple[str, ...]) -> Places:
    """Find telephone numbers: any with +, and those valid in a region."""
    if sum(char.isdigit() for char in text) < _MIN_PHONE:
        return
    for region in regions or (None,):
        yield from _matches(text, region)
    yield from _numbers(
        text,
        lambda number: any(_is_phone(number, text, region) for region in regions or (None,)),
    )


def addresses_of_machines(text: str) -> Places:
    """Find IP addresses, except those that are the same on every machine."""
    for pattern in (_IPV4, _IPV6):
        yield from (match.span() for match in pattern.finditer(text) if _is_ip(match[0]))


def _numbers(text: str, is_valid: Callable[[_Number], bool]) -> Places:
    """Find valid numbers in runs of digits, the longest first from the left."""
    for run in _RUN.finditer(text):
        groups = [(run.start() + g.start(), run.start() + g.end()) for g in _GROUP.finditer(run[0])]
        first = 0
        while first < len(groups):
            number = next(filter(is_valid, _from_group(text, groups, first)), None)
            if number is not None:
                yield number.start - text.endswith("+", 0, number.start), number.end
            first += _single_digits(groups, first) or 1 if number is None else len(number.groups)


def _single_digits(groups: list[tuple[int, int]], first: int) -> int:
    """Return how many groups of one digit follow; a part of them is no number."""
    is_longer = (end - start > 1 for start, end in groups[first:])
    return next((count for count, longer in enumerate(is_longer) if longer), len(groups) - first)


def _from_group(text: str, groups: list[tuple[int, int]], first: int) -> Iterator[_Number]:
    """Yield the numbers that begin with a group, the longest first."""
    numbers: list[_Number] = []
    for last in range(first, len(groups)):
        part = groups[first : last + 1]
        between = {text[end:start].strip() for (_, end), (start, _) in pairwise(part)}
        marks = frozenset(between - {""})
        digits = tuple(text[start:end] for start, end in part)
        has_time = ":" in marks and "" in between
        if sum(map(len, digits)) > 19 or has_time or (len(marks) > 1 and not marks <= {".", "-", "/"}):
            break
        sides = (groups[max(0, first - 1) : first + 1], groups[last : last + 2])
        beside = [text[a[1] : b[0]].strip() for a, b in (side for side in sides if len(side) == 2)]
        is_whole = not any(mark in marks or not mark for mark in beside)
        number = _Number(part[0][0], part[-1][1], digits, marks, is_whole)
        is_cut = number.is_digits_apart and 1 in [end - start for start, end in groups[last + 1 : last + 2]]
        if len(number.digits) >= _MIN_PHONE and not is_cut and not _is_ordinary(number):
            numbers.append(number)
    return reversed(numbers)


def _is_ordinary(number: _Number) -> bool:
    """Whether a number is a date, a list of years, or somebody counts."""
    years = all(len(group) == 4 and group[:2] in ("18", "19", "20") for group in number.groups)
    return years or _is_counting(number.groups) or bool(_DATE.fullmatch(" ".join(number.groups)))


def _is_card(number: _Number) -> bool:
    from stdnum import luhn

    digits = number.digits
    # Payment cards begin with 2 to 6. By the check digit alone, 1 of 10 numbers is valid.
    if digits[0] not in "23456" or len(digits) not in (13, 14, 15, 16, 19) or len(number.marks) > 1:
        return False
    in_groups = number.is_digits_apart or min(number.lengths[:-1], default=4) >= 3
    return in_groups and luhn.is_valid(digits)


def _is_id(number: _Number) -> bool:
    digits = number.digits
    if len(digits) < 9 or not number.is_whole or digits.startswith(("978", "979")):  # books
        return False
    return any(
        _module(name).is_valid(digits)
        for name, lengths in _IDS["digits"].items()
        if not lengths or list(number.lengths) == lengths or (number.is_digits_apart and name != "us.ssn")
    )


def _is_phone(number: _Number, text: str, region: str | None) -> bool:
    """Whether a number would be a telephone number if it were written with spaces."""
    if (
        number.marks <= _USUAL_MARKS
        or not number.is_whole
        or _BOOK.search(text[max(0, number.start - 12) : number.start])
    ):
        return False
    plus = "+" if text[max(0, number.start - 3) : number.start].rstrip("( ").endswith("+") else ""
    written = f"{plus}{' '.join(number.groups)}"
    return any(end - start == len(written) for start, end in _matches(written, region))


def _matches(text: str, region: str | None) -> Places:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
        written = match.raw_string
        if _DATE.fullmatch(written) or _is_counting(_GROUP.findall(written)):
            continue
        if not _BOOK.search(text[max(0, match.start - 12) : match.start]):
            is_open = written.startswith("(") and ")" not in written  # the bracket is of the sentence
            yield match.start + is_open, match.end


def _is_counting(groups: Sequence[str]) -> bool:
    values = [int(group) for group in groups]
    return len(values) > 3 and values == list(range(values[0], values[0] + len(values)))


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    return address.version == 4 or text.count(":") > 2 or "::" in text


@cache
def _shapes() -> tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]:
    """Return the patterns of ids with letters: capitals if parts stand apart."""
    own = {"gb.nino": lambda text: bool(_NINO.fullmatch(text)), "fi.hetu": _is_hetu}
    shapes = []
    for shape, name in _IDS["shapes"].items():
        signs = [_SHAPE_SIGNS[sign] for sign in shape]
        pattern = rf"(?<!\w)(?:{rf'{_MARK}{{0,2}}'.join(signs)}|(?i:{''.join(signs)}))(?!\w)"
        shapes.append((re.compile(pattern), own.get(name) or _module(name).is_valid))
    return tuple(shapes)


def _is_hetu(text: str) -> bool:
    return bool(_module("fi.hetu").is_valid(f"{text[:6]}-{text[-4:]}"))


def _module(name: str) -> Any:
    return importlib.import_module(f"stdnum.{name}")


def _joined(text: str) -> str:
    return re.sub(_MARK, "", text)
