"""The first pass over a wish: what each stretch of it may be, the longest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.types import Item
from recsys.wishes.amounts import Amount, amount_at
from recsys.wishes.language import Cue, language
from recsys.wishes.lexicon import Lexicon, Named
from recsys.wishes.tokens import BREAKS, Token


@dataclass(frozen=True)
class Mark:
    """A stretch of tokens and what it is; a plain word has nothing beside its text."""

    begin: int
    end: int
    text: str
    cues: tuple[Cue, ...] = ()
    named: Named | None = None
    named_by_cue: bool = False  # only where something says that a name comes
    amount: Amount | None = None
    items: tuple[Item, ...] = ()  # with this title
    before: tuple[str, ...] = ()  # attributes of which a value follows
    say: tuple[str, ...] = ()  # attributes that it names
    is_break: bool = False

    def cue(self, kind: str) -> Cue | None:
        """Return what it does of this kind."""
        return next((one for one in self.cues if one.kind == kind), None)

    @property
    def is_word(self) -> bool:
        """Whether nothing is known of it."""
        return not (self.cues or self.named or self.amount or self.before or self.say or self.is_break)


def marks_of(tokens: Sequence[Token], raw: str, lexicon: Lexicon) -> list[Mark]:
    """Divide all tokens into marks."""
    marks: list[Mark] = []
    begin = 0
    while begin < len(tokens):
        mark = _mark(tokens, begin, raw, lexicon)
        marks.append(mark)
        begin = mark.end
    return marks


def _mark(tokens: Sequence[Token], begin: int, raw: str, lexicon: Lexicon) -> Mark:
    """Return the longest mark at a position; what the domain names comes first."""
    token = tokens[begin]
    if token.text in BREAKS:
        return Mark(begin, begin + 1, token.text, is_break=True)
    named = lexicon.values.longest(tokens, begin)
    part = lexicon.parts.longest(tokens, begin)
    amount = amount_at(tokens, begin, raw)
    cues = language().cues.longest(tokens, begin)
    before, say = lexicon.before.longest(tokens, begin), lexicon.say.longest(tokens, begin)
    title = lexicon.titles.longest(tokens, begin)
    lengths = {
        "named": named[0] if named else 0,
        "amount": amount.length if amount else 0,
        "cues": max(found[0] for found in (cues, before, say, (0, ())) if found),
        "part": part[0] if part and not (say and say[0] >= part[0]) else 0,
    }
    longest = max(lengths.values())
    length = longest or 1
    if title and title[0] > max(1, longest) and not _is_ordinary(tokens[begin : begin + title[0]], lexicon):
        return Mark(begin, begin + title[0], _text(tokens, begin, title[0], raw), items=title[1])
    kind = next((one for one, size in lengths.items() if size == longest), "") if longest else ""
    return Mark(
        begin,
        begin + length,
        _text(tokens, begin, length, raw),
        cues=cues[1] if cues and cues[0] == length and kind in ("cues", "part") else (),
        named=named[1]
        if named and kind == "named"
        else part[1]
        if part and lengths["part"] == length
        else None,
        named_by_cue=kind != "named",
        amount=amount if amount and kind == "amount" else None,
        items=title[1] if title and title[0] >= length else (),
        before=before[1] if before and before[0] == length and kind in ("cues", "part") else (),
        say=say[1] if say and say[0] == length and kind in ("cues", "part") else (),
    )


def _is_ordinary(tokens: Sequence[Token], lexicon: Lexicon) -> bool:
    """Return whether a title has only words of any wish, such as "The Best"."""
    if any(token.is_chinese for token in tokens):
        return False
    words = [token for token in tokens if token.is_word]
    plain = language().filler | language().vague
    telling = [token for token in words if token.text not in plain]
    return len(telling) < 2 and not (telling and all(token.capital for token in telling) and len(words) > 1)


def _text(tokens: Sequence[Token], begin: int, length: int, raw: str) -> str:
    return raw[tokens[begin].start : tokens[begin + length - 1].end]
