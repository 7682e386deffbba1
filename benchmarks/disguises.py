"""Disguises of personal data, and ordinary texts that must not be masked.

Rules and sentences are in `disguises.toml` and `ordinary_wishes.toml`; what is made of them is the same
every time. A case is a text in which one secret stands, its place, and the kind of the secret.
"""

from __future__ import annotations

import itertools
import random
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Part = Literal["tuned", "held_out"]
FOLDER = Path(__file__).resolve().parent
NAMES = (
    "Ann Lee",
    "Zoë Müller-Ortega",
    "Siobhán O'Neill",
    "María García López",
    "Jürgen Weiß",
    "Nguyễn Văn An",
    "Łukasz Wiśniewski",
)
COUNTS: Mapping[Part, Mapping[str, int]] = {
    "tuned": {"phone": 70, "mail": 57, "card": 33, "iban": 28, "id": 28, "address": 21, "name": 18},
    "held_out": {"phone": 18, "mail": 15, "card": 9, "iban": 7, "id": 7, "address": 5, "name": 4},
}
WISHES: Mapping[Part, int] = {"tuned": 800, "held_out": 200}
TITLES: Mapping[Part, int] = {"tuned": 800, "held_out": 200}
MAX_LEFT = 3  # letters and digits of a secret that may be left
_MARKED = re.compile(r"\{(\w+):(.*)\}")
_MASK = re.compile(r"\[(?:name|mail|phone|card|iban|ip|id|address)\]")


@dataclass(frozen=True, slots=True)
class Disguise:
    """A text with a secret in it."""

    kind: str
    rule: str  # how the secret is disguised
    before: str
    secret: str
    after: str

    @property
    def text(self) -> str:
        """The whole text."""
        return f"{self.before}{self.secret}{self.after}"

    def is_masked_in(self, masked: str) -> bool:
        """Whether a masked text lacks the secret, and has all that is around it."""
        before, after = (" ".join(part.split()) for part in (self.before, self.after))
        if "[" not in masked or not masked.startswith(before) or not masked.endswith(after):
            return False
        left = _MASK.sub("", masked[len(before) : len(masked) - len(after)])
        return sum(char.isalnum() for char in left) <= MAX_LEFT


def disguises(part: Part) -> list[Disguise]:
    """Return the disguises of a part: by hand, then a sample of those by rules."""
    rules = _read("disguises.toml")[part]
    made = [_by_hand(line) for line in rules["hand"]]
    for kind, count in COUNTS[part].items():
        made += _sample(_by_rules(kind, rules), count, f"{part} {kind}")
    return made


def ordinary_texts(part: Part, titles: Sequence[str]) -> list[str]:
    """Return ordinary wishes of a part, and its share of `titles`."""
    wishes = _read("ordinary_wishes.toml")
    own: dict[str, Any] = wishes[part]
    made = sorted({text for template in own["templates"] for text in _filled(template, own["slots"])})
    hand: list[str] = own["hand"]
    sample = random.Random(part).sample(made, WISHES[part] - len(hand))
    shuffled = random.Random("titles").sample(sorted(set(titles)), sum(TITLES.values()))
    share = shuffled[: TITLES["tuned"]] if part == "tuned" else shuffled[TITLES["tuned"] :]
    return [*hand, *sample, *share]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


def _by_hand(line: str) -> Disguise:
    match = _MARKED.search(line)
    assert match, line
    return Disguise(match[1], "by hand", line[: match.start()], match[2], line[match.end() :])


def _by_rules(kind: str, rules: Mapping[str, Any]) -> Iterator[Disguise]:
    carriers = rules["carriers"].get(kind, rules["carriers"]["any"])
    make = {"mail": _mails, "name": _words, "address": _words}.get(kind, _numbers)
    for secret in rules["secrets"][kind]:
        for rule, disguised in make(secret, rules):
            for carrier in carriers:
                before, after = carrier.split("{}")
                yield Disguise(kind, rule, before, disguised, after)


def _sample(cases: Iterable[Disguise], count: int, seed: str) -> list[Disguise]:
    """Draw cases from every rule in turn, however many each has."""
    by_rule: dict[str, list[Disguise]] = {}
    for case in sorted(set(cases), key=lambda case: (case.rule, case.text)):
        by_rule.setdefault(case.rule, []).append(case)
    chance = random.Random(seed)
    shuffled = [chance.sample(of_rule, len(of_rule)) for of_rule in by_rule.values()]
    in_turn = (case for turn in itertools.zip_longest(*shuffled) for case in turn if case)
    return list(itertools.islice(in_turn, count))


def _numbers(secret: str, rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    grouped = re.sub(r"[ .-]", " ", secret)
    if " " in grouped:
        yield from (("separator", grouped.replace(" ", mark)) for mark in rules["separators"])
    yield "digits apart", " ".join(grouped.replace(" ", ""))
    for zero in rules["zeros"]:
        yield "digits", (digits := _with_zero(secret, ord(zero)))
        yield from (("digits and space", digits.replace(" ", space)) for space in rules["spaces"][:3])
    compact = grouped.replace(" ", "").removeprefix("+")
    if compact.isdigit() and len(compact) <= 13:
        for words in rules["words"]:
            yield "words", " ".join(words.split()[int(digit)] for digit in compact)
    yield from _hidden(secret, rules)


def _mails(secret: str, rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    local, domain = secret.split("@")
    for at in rules["at"]:
        yield "at", f"{local}{at}{domain}"
        yield from (("at and dot", f"{local}{at}{domain.replace('.', dot)}") for dot in rules["dot"])
    yield "fullwidth", _fullwidth(secret)
    yield from (("space at", f"{local}{space}@{space}{domain}") for space in rules["spaces"][:2])
    yield from _hidden(secret, rules)


def _words(secret: str, rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from (("case", changed) for changed in (secret.upper(), secret.lower()))
    yield "decomposed", unicodedata.normalize("NFD", secret)
    yield "without accents", _without_marks(secret)
    yield "fullwidth", _fullwidth(secret)
    yield from _hidden(secret, rules)


def _hidden(secret: str, rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the secret with other spaces, and with invisible characters."""
    if " " in secret:
        yield from (("space", secret.replace(" ", space)) for space in rules["spaces"])
    for sign in rules["invisible"]:
        yield "invisible", sign.join(secret)
        yield "one invisible", f"{secret[:3]}{sign}{secret[3:]}"
    for mark in rules["marks"]:
        yield "marks", "".join(char if char.isspace() else char + mark for char in secret)


def _with_zero(text: str, zero: int) -> str:
    return "".join(chr(zero + int(char)) if char.isdecimal() else char for char in text)


def _fullwidth(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def _without_marks(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


def _filled(template: str, slots: Mapping[str, Sequence[str]]) -> Iterator[str]:
    names = re.findall(r"\{(\w+)\}", template)
    for values in itertools.product(*(slots[name] for name in names)):
        text = template
        for name, value in zip(names, values, strict=True):
            text = text.replace(f"{{{name}}}", value, 1)
        yield text
