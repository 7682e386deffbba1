"""The words of wishes in general, read from `language.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from recsys.types import ConditionOperator
from recsys.wishes.tokens import Phrase, PhraseTable, phrase_of

CueKind = Literal[
    "negation",
    "negation_once",
    "negation_after",
    "no_negation",
    "nothing_but",
    "indifferent",
    "soft",
    "soft_after",
    "but",
    "both",
    "either",
    "like",
    "between",
    "to",
    "about",
    "early",
    "middle",
    "late",
    "likeness_end",
    "many",
    "before",
    "after",
    "relative",
    "share",
    "superlative",
]


@dataclass(frozen=True)
class Cue:
    """What a phrase does in a wish."""

    kind: CueKind
    operator: ConditionOperator = "is"  # of a comparison
    kinds: tuple[str, ...] = ()  # of attributes; () for any
    amount: float = 0.0
    absolute: str = ""  # "old", of "older"


@dataclass(frozen=True)
class Language:
    """The words of `language.toml`."""

    cues: PhraseTable[tuple[Cue, ...]]
    filler: frozenset[str]
    vague: frozenset[str]
    about_what: frozenset[str]  # a name after it is what the item is about, or where
    numbers: Mapping[str, float]
    chinese_numbers: Mapping[str, float]
    seconds: Mapping[Phrase, float]
    money: Mapping[Phrase, float]
    decades: Mapping[str, int]
    days: PhraseTable[tuple[int, int]]  # from and to so many days before today
    called: Sequence[tuple[str, str]]  # (other words, value) for values that many domains have
    nicknames: Mapping[str, tuple[str, ...]]  # of a first name
    followups: PhraseTable[tuple[str, int]]  # what they do, and the number of an ordinal


@cache
def language() -> Language:
    """Return the words, read once."""
    table = tomllib.loads((Path(__file__).parent / "language.toml").read_text("utf-8"))
    cues, numbers, units = table["cues"], table["numbers"], table["units"]
    return Language(
        cues=PhraseTable(_cues(table)),
        filler=_words(cues["filler"]),
        vague=_words(cues["vague"]),
        about_what=_words(cues["about_what"]),
        numbers=numbers["words"],
        chinese_numbers=numbers["chinese"],
        seconds={phrase_of(unit): size for unit, size in units["seconds"].items()},
        money={phrase_of(unit): size for unit, size in units["money"].items()},
        decades=units["decades"],
        days=PhraseTable((phrase_of(text), (first, last)) for text, (first, last) in table["days"].items()),
        followups=PhraseTable(_followups(table["followups"])),
        called=[(text, value) for value, texts in table["called"].items() for text in texts],
        nicknames={
            phrase_of(name)[0]: tuple(phrase_of(one)[0] for one in short)
            for name, short in table["nicknames"].items()
        },
    )


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in phrase_of(text))


def _followups(table: Mapping[str, Any]) -> list[tuple[Phrase, tuple[str, int]]]:
    ordinals = [
        (phrase_of(f"{before}{text}{after}"), ("ordinal", number))
        for text, number in table["ordinals"].items()
        for before in ("the ", "")
        for after in (" one", " film", "个", "部", "")
    ]
    others = [
        (phrase_of(text), (kind, 1)) for kind, texts in table.items() if kind != "ordinals" for text in texts
    ]
    return [*ordinals, *others]


def _cues(table: Mapping[str, Any]) -> list[tuple[Phrase, tuple[Cue, ...]]]:
    """Return all cues by phrase; a phrase may do several things."""
    found: dict[Phrase, list[Cue]] = {}

    def add(texts: Iterable[str], cue: Cue) -> None:
        for text in texts:
            found.setdefault(phrase_of(text), []).append(cue)

    kind: CueKind
    for kind, texts in table["cues"].items():
        if kind not in ("filler", "vague", "about_what"):
            add(texts, Cue(kind))
    for text, amount in table["numbers"]["many"].items():
        add([text], Cue("many", amount=amount))
    for entry in table["compare"]:
        kinds = tuple(entry.get("kinds", ()))
        add(entry.get("before", ()), Cue("before", entry["operator"], kinds))
        add(entry.get("after", ()), Cue("after", entry["operator"], kinds))
    adjectives: tuple[CueKind, ...] = ("relative", "share", "superlative")
    for kind in adjectives:
        for entry in table[kind]:
            cue = Cue(
                kind,
                entry["operator"],
                tuple(entry["kinds"]),
                entry.get("share", 0.0),
                entry.get("absolute", ""),
            )
            add(entry["say"], cue)
    return [(phrase, tuple(meanings)) for phrase, meanings in found.items()]
