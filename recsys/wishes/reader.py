"""The dictionary reader: from a wish to a typed query, without a model.

The first pass (`marks`) says what each stretch may be. This one goes through them from left to right
and keeps what the words before say of what follows: that it is not wanted, only preferred, a bound.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from recsys.config import Domain
from recsys.data.catalog import Catalog
from recsys.types import Item
from recsys.wishes.conditions import Found, conditions_of
from recsys.wishes.cues import CueReading
from recsys.wishes.language import language
from recsys.wishes.lexicon import Lexicon, Named, Target
from recsys.wishes.marks import Mark, marks_of
from recsys.wishes.query import TypedQuery
from recsys.wishes.scope import item_called
from recsys.wishes.tokens import Token, clean, is_chinese, tokens_of

MAX_FOUND = 20  # conditions of a wish
RARER = 3  # so many times rarer a person may be in a role that comes first
_QUOTES = "\"'\u300a<\u3008\u300c"


@dataclass(frozen=True)
class Beside:
    """What the words of a wish may refer to."""

    examples: Sequence[Item] = ()  # items that it names by their place in a list
    reference: Sequence[Item] = ()  # what "older" is compared with where no item is named
    today: dt.date | None = None  # what "yesterday" is before; None: no day is read


NOTHING = Beside()


class ReadsWishes(Protocol):
    """What reads wishes."""

    @property
    def lexicon(self) -> Lexicon:
        """What words may name."""
        ...

    def read(self, wish: str, beside: Beside = NOTHING) -> TypedQuery:
        """Read a wish; see `WishReader.read`."""
        ...


class WishReader:
    """Reads wishes for one domain and catalogue. Safe to share between threads."""

    def __init__(self, domain: Domain, catalog: Catalog) -> None:
        self.lexicon: Lexicon = Lexicon(domain, catalog)

    def read(self, wish: str, beside: Beside = NOTHING) -> TypedQuery:
        """Read a wish in plain words; of a very long one the beginning."""
        raw = clean(wish)
        tokens = tokens_of(raw)
        if not tokens and not beside.examples:
            return TypedQuery(anything=True)
        pass_ = _Pass(self.lexicon, tokens, raw, marks_of(tokens, raw, self.lexicon))
        pass_.like += beside.examples
        pass_.reference, pass_.today = beside.reference, beside.today
        pass_.run()
        return pass_.query()


class _Pass(CueReading):
    """One wish as it is read from left to right."""

    def run(self) -> None:
        """Go through all marks."""
        position = 0
        while position < len(self.marks):
            position += self._step(position)
        self.compare_with_items()

    def query(self) -> TypedQuery:
        """Return what was read."""
        topic = self._take_topics()
        conditions = conditions_of(self.found[:MAX_FOUND], self.lexicon)
        rest, unwanted = self.rest(unwanted=False), self.rest(unwanted=True)
        like = tuple(dict.fromkeys(item.id for item in self.like))
        return TypedQuery(
            conditions, like, rest, topic, unwanted, not (conditions or like or rest or unwanted)
        )

    def _take_topics(self) -> str:
        """Take the categories that unknown words tell, as preferences; return these words."""
        attribute = self.lexicon.topics.attribute
        told = [mark for mark, unwanted in self.unknown if attribute and not unwanted]
        if not told or any(one.target.attribute == attribute and one.wanted for one in self.found):
            return ""
        words = [token.text for mark in told for token in self._tokens_of(mark)]
        if not (values := self.lexicon.topics.of(words)):
            return ""
        self.found.append(Found(Target(attribute, values), True, True, False, False))
        self.unknown = [(mark, unwanted) for mark, unwanted in self.unknown if mark not in told]
        return " ".join(mark.text for mark in told)

    def _step(self, position: int) -> int:
        """Read the mark at a position; return how many were read."""
        mark = self.marks[position]
        if mark.is_break:
            self.end_clause(position)
            return 1
        if (self.scope.like or self._is_quoted(mark)) and (taken := self._example(position)):
            return taken
        if taken := self.day_at(position):
            return taken
        if mark.items and mark.is_word and self._is_title(mark.text):
            self._take_items(mark.items, mark.text)
            return 1
        if taken := self._subject_at(position):
            return taken
        if mark.amount is not None:
            return self.amount_at(position, mark.amount)
        if mark.named is not None and self._names(mark):
            return 1
        if mark.cues or mark.before or mark.say:
            return self.cue(position)
        return self._word(position)

    def _is_title(self, text: str) -> bool:
        """Return whether a title is one by itself; those of goods are plain words."""
        several = len(text.split()) > 1 or is_chinese(text)
        return several and not self.lexicon.topics.attribute

    # --- values and names

    def _names(self, mark: Mark) -> bool:
        """Take what a mark names, if it may be meant."""
        assert mark.named is not None
        if self._is_purpose(mark):
            return True
        chosen = None if mark.named.together else self._chosen(mark.named, mark)
        targets = mark.named.together or ((chosen,) if chosen else ())
        for target in targets:
            self.take(target)
        return bool(targets)

    def _is_purpose(self, mark: Mark) -> bool:
        """Return whether it is what a category is for: "bread for sandwiches"."""
        attribute = self.lexicon.topics.attribute
        before = [token.text for token in self.tokens[max(0, mark.begin - 2) : mark.begin]]
        before = before[:-1] if before[-1:] in (["the"], ["my"], ["a"]) else before
        if not attribute or not mark.named or before[-1:] != ["for"]:
            return False
        targets = (*mark.named.together, *mark.named.alternatives)
        told = any(one.target.attribute == attribute and one.wanted for one in self.found)
        words = [token.text for one, no in self.unknown if not no for token in self._tokens_of(one)]
        told = told or bool(self.lexicon.topics.of(words))
        return told and any(one.attribute == attribute for one in targets)

    def _tokens_of(self, mark: Mark) -> Sequence[Token]:
        return self.tokens[mark.begin : mark.end]

    def _chosen(self, named: Named, mark: Mark) -> Target | None:
        """Return which attribute a name is of; None if it is hardly a name here."""
        said = (*self._said_after(mark), *self.scope.attribute)
        fitting = [one for one in named.alternatives if one.attribute in said]
        if not mark.named_by_cue:
            return fitting[0] if fitting else self._likeliest(named.alternatives)
        people = [one for one in named.alternatives if self._is_name(one.attribute)]
        if self._is_subject(mark):
            return None
        if fitting and self._may_be_name(mark, fitting[0]):
            return fitting[0]
        if people and (self._is_written_as_name(mark) or self._looks_like_name(mark, people)):
            article = mark.begin and self.tokens[mark.begin - 1].text in ("a", "an", "the")
            return self._first_role(people) if article else self._likeliest(people)
        return None

    def _is_subject(self, mark: Mark) -> bool:
        """Return whether a name is what the item is about, or where: "in Paris"."""
        before = [token.text for token in self.tokens[max(0, mark.begin - 2) : mark.begin]]
        before = before[:-1] if before[-1:] == ["the"] else before[-1:]
        return bool(language().about_what.intersection(before))

    def _is_written_as_name(self, mark: Mark) -> bool:
        """Return whether a capital marks it, other than that of a sentence."""
        token = self.tokens[mark.begin]
        known = token.text in language().filler | language().vague | self.lexicon.title_words
        return token.capital and (mark.begin > 0 or mark.end > 1 or not known)

    def _may_be_name(self, mark: Mark, target: Target) -> bool:
        """Return whether a word after "with" is a name: "a strong cast" is none."""
        if self._is_written_as_name(mark):
            return True
        token = self.tokens[mark.begin]
        before = self.tokens[mark.begin - 1].text if mark.begin else ""
        plain = mark.end - mark.begin == 1 and token.text in language().filler | language().vague
        if plain or mark.cues or before in ("a", "an", "the", "some", "my", "good", "great"):
            return False
        return token.text not in self.lexicon.title_words or target.items > 2

    def _first_role(self, targets: Sequence[Target]) -> Target:
        """Return the role that comes first in `wishes.toml`: "a Lynch film" is directed."""
        order = list(self.lexicon.words.attributes)
        return min(targets, key=lambda one: order.index(one.attribute))

    def _said_after(self, mark: Mark) -> tuple[str, ...]:
        """Return the attribute that the words after a value name: "French speaking"."""
        position = mark.end
        while position < len(self.tokens) and self.tokens[position].text in ("-", "'"):
            position += 1
        if position >= len(self.tokens):
            return ()
        found = self.lexicon.after.longest(self.tokens, position)
        other = self.lexicon.before.longest(self.tokens, position)  # "De Niro directed by Scorsese"
        return found[1] if found and not (other and other[0] > found[0]) else ()

    def _likeliest(self, targets: Sequence[Target]) -> Target:
        """Return which attribute a name is of where nothing says it.

        What `wishes.toml` prefers; else the first that has a third of the items of the commonest, in the
        order of `wishes.toml`.
        """
        preferred = [one for one in targets if one.preferred]
        most = max(one.items for one in targets)
        order = list(self.lexicon.words.attributes)
        likely = [one for one in preferred or targets if preferred or RARER * one.items >= most]
        return min(likely, key=lambda one: order.index(one.attribute) if one.attribute in order else -1)

    def _is_name(self, attribute: str) -> bool:
        words = self.lexicon.words.attributes.get(attribute)
        return words is not None and words.person

    def _looks_like_name(self, mark: Mark, people: Sequence[Target]) -> bool:
        """Return whether a word in small letters may be a family name."""
        text = mark.text.casefold()
        return (
            len(text) > 5
            and max(one.items for one in people) > 2
            and not mark.cues
            and text not in self.lexicon.title_words
        )

    def _word(self, position: int) -> int:
        mark = self.marks[position]
        token = self.tokens[mark.begin]
        if not token.text[0].isalnum():
            return 1
        if token.text in language().filler or token.text in self.lexicon.ignored:
            return 1
        if token.text in language().vague:
            self.vague = True
            return 1
        if (word := self.lexicon.similar_word(token.text)) and token.text not in self.lexicon.title_words:
            named = self.lexicon.values.get((word,))
            repaired = dataclasses.replace(
                mark, named=named or self.lexicon.parts.get((word,)), named_by_cue=named is None, text=word
            )
            if self._names(repaired):
                return 1
        self.unknown.append((mark, self.scope.unwanted))
        if self.scope.unwanted:
            self.scope.applied += 1
        return 1

    def _subject_at(self, position: int) -> int:
        """Read capitals after "in" or "about" as unknown: "set in New York"."""
        mark = self.marks[position]
        if not self._is_subject(mark) or (mark.named and not mark.named_by_cue and mark.named.alternatives):
            return 0
        end = position
        while end < len(self.marks) and self._is_capital(self.marks[end]):
            end += 1
        if end - position < 2:
            return 0
        self.unknown += [(one, self.scope.unwanted) for one in self.marks[position:end]]
        return end - position

    def _is_capital(self, mark: Mark) -> bool:
        return self.tokens[mark.begin].capital and not mark.is_break and mark.amount is None

    # --- examples

    def _is_quoted(self, mark: Mark) -> bool:
        before = self.tokens[mark.begin - 1].text if mark.begin else ""
        return before in _QUOTES and before != ""

    def _example(self, position: int) -> int:
        """Take an item named as an example; return how many marks it took."""
        begin = self.marks[position].begin
        found = self.lexicon.titles.longest(self.tokens, begin)
        if found is None:
            return 0
        end = begin + found[0]
        mark = self.marks[position]
        value_is_longer = mark.named is not None and not mark.named_by_cue and mark.end > end
        quoted = self._is_quoted(mark)
        word = (
            found[0] == 1
            and not quoted
            and not self.tokens[begin].capital
            and not self.tokens[begin].is_chinese
        )
        if value_is_longer or (word and self.tokens[begin].text in language().filler | language().vague):
            return 0
        if word and mark.named is not None and not mark.named_by_cue:
            return 0
        self._take_items(found[1], self.raw[self.tokens[begin].start : self.tokens[end - 1].end])
        taken = position
        while taken < len(self.marks) and self.marks[taken].begin < end:
            taken += 1
        return taken - position

    def _take_items(self, items: tuple[Item, ...], text: str) -> None:
        if self.scope.unwanted:
            return
        self.like.append(item_called(text, items))
        self.scope.like = bool(self.like)  # "like Alien and Heat"
