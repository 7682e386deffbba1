"""Follow-ups: what "shorter" or "not that one" changes in a conversation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from recsys.data.catalog import Catalog
from recsys.types import Conversation, Item, WishCondition
from recsys.wishes.language import language
from recsys.wishes.query import ORDERS, TypedQuery
from recsys.wishes.reader import Beside, ReadsWishes
from recsys.wishes.tokens import Token, clean, tokens_of

NEAR = 3  # words between "not" and "that one"


@dataclass(frozen=True)
class Turn:
    """What a conversation asks for after a turn."""

    query: TypedQuery
    rejected: tuple[str, ...] = ()  # ids


@dataclass
class _Said:
    """What a follow-up says of the list before, and the rest of its words."""

    text: str
    like: list[str] = field(default_factory=list)  # ids
    rejected: list[str] = field(default_factory=list)
    restart: bool = False
    instead: bool = False

    def take(self, kind: str, number: int, before: Sequence[str], shown: Sequence[str]) -> bool:
        """Take a phrase that is about the list; return whether it is."""
        index = number - 1 if number > 0 else len(shown) - 1
        known = 0 <= index < len(shown)
        if kind in ("restart", "instead"):
            setattr(self, kind, True)
        elif kind == "others":
            self.rejected += shown
        elif _NOT.intersection(before):
            self.rejected += [shown[index]] if known else []
        elif _LIKE.intersection(before):
            self.like += [shown[index]] if known else []
        else:
            return False
        return True


def next_turn(
    wish: str,
    before: Conversation,
    reader: ReadsWishes,
    catalog: Catalog,
    today: dt.date | None = None,
) -> Turn:
    """Read a wish as a follow-up, which changes what was asked before."""
    said = _said(wish, before.shown)
    shown, examples = examples_of(before.shown, catalog), examples_of(said.like, catalog)
    empty = not said.text.strip() and not examples
    new = TypedQuery()
    if not empty:
        new = reader.read(said.text, Beside(examples, shown, today))
    if said.restart:
        return Turn(new)
    rejected = tuple(dict.fromkeys((*before.rejected, *said.rejected)))
    return Turn(_changed(before, new, catalog, reader, instead=said.instead), rejected)


def conversation_of(query: TypedQuery, rejected: Sequence[str], shown: Sequence[str]) -> Conversation:
    """Return the state of a conversation after an answer."""
    return Conversation(
        conditions=query.conditions[:20],
        like=query.like[:20],
        words=query.rest[:500],
        rejected=tuple(rejected)[-500:],
        shown=tuple(shown)[:100],
    )


def _said(wish: str, shown: Sequence[str]) -> _Said:
    """Divide a follow-up into what it says of the list before and the rest."""
    raw = clean(wish)
    tokens = tokens_of(raw)
    said, kept, position = _Said(raw), list(raw), 0
    while position < len(tokens):
        found = language().followups.longest(tokens, position)
        if found is None:
            position += 1
            continue
        length, (kind, number) = found
        if said.take(kind, number, _words_before(tokens, position), shown):
            begin = _begin_of(tokens, position) if kind in ("ordinal", "this") else position
            for index in range(tokens[begin].start, tokens[position + length - 1].end):
                kept[index] = " "
        position += length
    said.text = "".join(kept)
    return said


_NOT = frozenset(["not", "no", "without", "except", "skip", "don't", "seen", "不", "要", "别", "看", "过"])
_LIKE = frozenset(["like", "similar", "as", "像", "似", "跟"])


def _words_before(tokens: Sequence[Token], position: int) -> list[str]:
    return [token.text for token in tokens[max(0, position - NEAR) : position]]


def _begin_of(tokens: Sequence[Token], position: int) -> int:
    """Return where "not the" or "more like" before a reference begins."""
    begin = position
    while begin and position - begin < NEAR and tokens[begin - 1].text[0].isalnum():
        begin -= 1
    return begin


def _changed(
    before: Conversation, new: TypedQuery, catalog: Catalog, reader: ReadsWishes, *, instead: bool
) -> TypedQuery:
    kept = [
        old
        for old in before.conditions
        if not any(_replaces(one, old, reader, instead=instead) for one in new.conditions)
    ]
    like = new.like or tuple(item_id for item_id in before.like if catalog.get(item_id))
    rest = ", ".join(filter(None, (before.words, new.rest)))[:200]
    conditions = tuple(dict.fromkeys((*kept, *new.conditions)))
    return TypedQuery(conditions, like, rest, new.topic, new.unwanted_rest, not (conditions or like or rest))


def _replaces(one: WishCondition, old: WishCondition, reader: ReadsWishes, *, instead: bool) -> bool:
    """Return whether a new condition takes the place of one before."""
    if one.attribute != old.attribute:
        return False
    if one.operator != "is" and old.operator != "is":
        orders = one.operator in ORDERS or old.operator in ORDERS
        return orders or one.operator[0] == old.operator[0]
    if one.attribute == "year" or one.operator != old.operator:
        return True
    if one.wanted != old.wanted:
        return bool(set(one.values) & set(old.values))
    kind = reader.lexicon.domain.attributes.get(one.attribute)
    single = kind is not None and kind.type in ("text", "category")
    return one.wanted and (instead or single)


def examples_of(ids: Sequence[str], catalog: Catalog) -> list[Item]:
    """Return the items with these ids that there are."""
    return [item for item_id in ids if (item := catalog.get(item_id)) is not None]
