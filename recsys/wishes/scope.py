"""What is known while a wish is read: what holds for what follows, and finds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from recsys.types import Item
from recsys.wishes.conditions import Found
from recsys.wishes.language import Cue, language
from recsys.wishes.lexicon import Lexicon, Target
from recsys.wishes.marks import Mark
from recsys.wishes.tokens import Token

COMMAS = (",", "\u3001")
LISTED_WITHIN = 5  # marks to the "or" that ends a list


@dataclass
class Scope:
    """What the words so far say of what follows."""

    unwanted: bool = False
    once: bool = False  # for one value only: "a non-English thriller"
    must: bool = False
    soft: bool = False
    applied: int = 0  # conditions since the last negation
    attribute: tuple[str, ...] = ()  # of which a value follows
    compare: tuple[Cue, ...] = ()
    compare_at: int = -9
    part: str = ""  # early, middle or late
    about: bool = False
    either: bool = False
    like: bool = False
    many: float = 0.0
    ignore: bool = False


def item_called(text: str, items: Sequence[Item]) -> Item:
    """Return the item whose title is most like a text: "Alien" is not "Aliens"."""
    said = text.casefold()
    return min(items, key=lambda item: (item.title.casefold() != said, len(item.title)))


@dataclass(frozen=True)
class Relative:
    """A word such as "older", which may be about an item that is named only later."""

    cue: Cue
    unwanted: bool
    soft: bool  # it is said to be a preference
    position: int  # in what was found


@dataclass
class Reading:
    """One wish as it is read; made for it, and dropped after it."""

    lexicon: Lexicon
    tokens: Sequence[Token]
    raw: str
    marks: Sequence[Mark]
    scope: Scope = field(default_factory=Scope)
    found: list[Found] = field(default_factory=list)
    like: list[Item] = field(default_factory=list)
    relative: list[Relative] = field(default_factory=list)
    unknown: list[tuple[Mark, bool]] = field(default_factory=list)  # and whether it is not wanted
    reference: Sequence[Item] = ()  # what "older" is compared with where no item is named
    today: dt.date | None = None
    clause: int = 0  # where in `found` the clause begins

    def take(self, target: Target) -> None:
        if self.scope.ignore:
            self.scope.ignore = False
            return
        wanted = target.wanted != self.scope.unwanted
        joined = self.scope.either and bool(self.found)
        soft = (target.soft or self.scope.soft) and not self.scope.must
        must = self.scope.must or self.scope.unwanted
        self.found.append(Found(target, wanted, soft, must, joined, said_soft=self.scope.soft))
        self.scope.applied += 1
        self.scope.unwanted = self.scope.unwanted and not self.scope.once
        self.after_value()

    def after_value(self) -> None:
        self.scope.either = self.scope.about = False
        self.scope.part = ""
        self.scope.compare = ()
        self.scope.many = 0.0
        if self.scope.like:
            self.scope.like = False

    def end_clause(self, position: int) -> None:
        """End what the words before said, at a comma if no list goes on after it."""
        following = self.marks[position + 1 : position + 2]
        comma = self.marks[position].text in (",", "\u3001")
        goes_on = comma and following and any(one.kind in ("both", "either") for one in following[0].cues)
        listed = self.marks[position].text == "\u3001" or goes_on
        listed = listed or (
            comma
            and self.scope.unwanted
            and bool(following)
            and following[0].named is not None
            and not self.scope.soft
            and self._is_listed(position)
        )
        if listed:
            return
        self.scope = Scope(like=False)
        self.clause = len(self.found)

    def _is_listed(self, position: int) -> bool:
        """Return whether a list goes on to an "or": "no war, crime or horror"."""
        for mark in self.marks[position + 1 : position + 6]:
            if any(cue.kind == "either" for cue in mark.cues):
                return True
            if mark.named is None and not mark.is_break:
                return False
        return False

    def rest(self, *, unwanted: bool) -> str:
        """Return the words that nothing is known of, neighbours together."""
        parts: list[str] = []
        last: Mark | None = None
        for mark, is_unwanted in self.unknown:
            if is_unwanted != unwanted:
                continue
            if last is not None and self._only_filler(last.end, mark.begin):
                begin = self.tokens[last.end - 1].end
                parts[-1] += self.raw[begin : self.tokens[mark.end - 1].end]
            else:
                parts.append(mark.text)
            last = mark
        return ", ".join(parts)[:200]

    def _only_filler(self, begin: int, end: int) -> bool:
        between = self.tokens[begin:end]
        return len(between) < 4 and all(token.text in language().filler for token in between)
