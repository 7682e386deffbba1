"""What the catalogue knows of an item, in words: "a comedy from France".

A phrase is a noun and what follows it: an attribute whose values are nouns of their own gives the noun
(`[attributes.genre.nouns.en]`), every other one words around its values (`[attributes.director.say]`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, NamedTuple
from weakref import WeakKeyDictionary

from recsys.config import Domain
from recsys.data.catalog import Catalog
from recsys.explain.grammar import Grammar, filled
from recsys.types import Item
from recsys.utils.sanitize import clean_text

DECADE = "decade"
"""The attribute that every item with a year has."""
YEAR = "year"
"""What is told of an item instead where the year was asked for."""
ATTRIBUTE_LIMIT = 60
"""Characters of an attribute value in a reason."""
_VOWELS = frozenset("aeiouAEIOU8")


class Fact(NamedTuple):
    """A value of an attribute, as it is shown."""

    attribute: str
    value: str


def facts_of(item: Item) -> list[Fact]:
    """List what is known of an item in the order of its attributes, its decade last."""
    known = [
        Fact(name, shown)
        for name, values in item.attributes.items()
        for value in values
        if (shown := _shown(value))
    ]
    decade = [Fact(DECADE, f"{item.year // 10}0s")] if item.year and DECADE not in item.attributes else []
    return list(dict.fromkeys(known + decade))


@lru_cache(maxsize=1 << 18)
def _shown(value: str) -> str:
    return clean_text(value, ATTRIBUTE_LIMIT)


class FactCounts:
    """How many items of a catalogue have each fact."""

    _by_catalog: ClassVar[WeakKeyDictionary[Catalog, FactCounts]] = WeakKeyDictionary()

    def __init__(self, items: Iterable[Item]) -> None:
        self.of = Counter(fact for item in items for fact in facts_of(item))
        self.n = max(1, sum(1 for _ in items))

    @classmethod
    def of_catalog(cls, catalog: Catalog) -> FactCounts:
        """Return the counts of a state of the catalogue, counted once."""
        if catalog not in cls._by_catalog:
            cls._by_catalog[catalog] = cls(list(catalog))
        return cls._by_catalog[catalog]

    def bits(self, fact: Fact) -> float:
        """Return the information of a fact: -log2 of the share of items that have it."""
        return -math.log2(max(1, self.of[fact]) / self.n)


@dataclass(frozen=True, eq=False)
class Phrases:
    """Says facts in one language, with the nouns and words of one domain."""

    domain: Domain
    grammar: Grammar

    @property
    def language(self) -> str:
        return self.domain.reasons.language

    @property
    def domain_nouns(self) -> tuple[str, str]:
        """The domain's word for an item: singular, plural."""
        return self.domain.noun, self.domain.plural

    @property
    def verb(self) -> str:
        """What a person did with items that are chosen and not rated."""
        own: str = self.domain.reasons.verb.get(self.language, self.grammar.table["verb"])
        return own

    def some(self, fact: Fact) -> str:
        """Say items that have a fact: "comedies", "films from France"."""
        return self._composed("some", [fact], heads=self._head([fact], plural=True))

    def one(self, facts: Sequence[Fact]) -> str:
        """Say what an item is: "a comedy from France, directed by Jean-Pierre Jeunet"."""
        head = self._head(facts, plural=False)
        article = "an" if head[:1] in _VOWELS else "a"
        return self._composed("one", facts, head=head, article=article)

    def many(self, number: int, facts: Sequence[Fact]) -> str:
        """Say how many items are so: "eleven comedies from France"."""
        words = self.grammar.table["numbers"]
        shown = words[number] if number < len(words) else str(number)
        return self._composed("many", facts, number=shown, heads=self._head(facts, plural=True))

    def another(self, facts: Sequence[Fact]) -> str:
        """Say that the item is one more of those named before: "another, from France"."""
        return self._composed("another", [fact for fact in facts if not self._noun(fact)])

    def aside(self, facts: Sequence[Fact], *, named: bool) -> str:
        """Say facts after a title, between commas; "" without facts.

        Args:
            named: Whether the sentence says elsewhere what the item is: then no noun is repeated.
        """
        said = [fact for fact in facts if not (named and self._noun(fact))]
        if not said:
            return ""
        return self._aside(self._modifiers(said) if named else self.one(said))

    def texts_of(self, fact: Fact) -> tuple[str, ...]:
        """Return the words that stand for a value instead of itself."""
        kind = self.domain.attributes.get(fact.attribute)
        word = kind.words.get(self.language, {}).get(fact.value) if kind is not None else None
        return (*(self._noun(fact) or ()), *([word] if word else ()))

    def is_noun(self, fact: Fact) -> bool:
        """Return whether a value is a noun of its own."""
        return bool(self._noun(fact))

    def _aside(self, phrase: str) -> str:
        text: str = self.grammar.table["phrases"]["aside"]
        return text.replace("{phrase}", phrase)

    def _composed(self, form: str, facts: Sequence[Fact], **words: str) -> str:
        text: str = self.grammar.table["phrases"][form]
        said = self._modifiers([fact for fact in facts if not self._noun(fact)])
        joined = self.grammar.table["phrases"]["joined"].replace("{modifiers}", said) if said else ""
        slots = {**words, "modifiers": joined}
        return filled(text, slots).strip()

    def _modifiers(self, facts: Sequence[Fact]) -> str:
        """Say the facts that are no nouns, without what joins them to a noun."""
        by_attribute: dict[str, list[str]] = {}
        for fact in facts:
            by_attribute.setdefault(fact.attribute, []).append(fact.value)
        said = [self._modifier(name, values) for name, values in by_attribute.items()]
        further: str = self.grammar.table["phrases"]["further"]
        return further.join(said)

    def _modifier(self, attribute: str, values: Sequence[str]) -> str:
        kind = self.domain.attributes.get(attribute)
        words = kind.words.get(self.language, {}) if kind is not None else {}
        shown = [words.get(value) or self.grammar.localize(attribute, value) for value in values]
        said = self.grammar.joined(shown)
        return self.say(attribute).replace("{value}", said)

    def say(self, attribute: str) -> str:
        """Return the words around values of an attribute, with {value}."""
        kind, defaults = self.domain.attributes.get(attribute), self.grammar.table["say_by_type"]
        if kind is not None and self.language in kind.say:
            return kind.say[self.language]
        if attribute in (DECADE, YEAR) and kind is None:
            name = attribute
        elif kind is not None and kind.type == "number" and not kind.unit:
            name = "amount"
        else:
            name = kind.type if kind is not None else "text"
        text: str = defaults.get(name, defaults["text"])
        return text.replace("{name}", attribute.replace("_", " "))

    def _head(self, facts: Sequence[Fact], *, plural: bool) -> str:
        nouns = [noun for fact in facts if (noun := self._noun(fact))] or [self.item_noun]
        return self.grammar.joined([noun[plural] for noun in nouns])

    @cached_property
    def item_noun(self) -> tuple[str, str]:
        """The word for an item in this language: singular, plural."""
        own = self.domain.reasons.noun.get(self.language)
        if own is None and self.language != "en":
            own = self.grammar.table["noun"]
        return _forms(own) if own else (self.domain.noun, self.domain.plural)

    def _noun(self, fact: Fact) -> tuple[str, str] | None:
        """Return singular and plural of a value that is a noun."""
        kind = self.domain.attributes.get(fact.attribute)
        nouns = kind.nouns.get(self.language, {}) if kind is not None else {}
        noun = nouns.get(fact.value) or nouns.get("*")
        return _forms(noun.replace("{value}", fact.value)) if noun else None

    @cached_property
    def words(self) -> list[str]:
        """What phrases may say besides values and numbers: for the check of a sentence."""
        says = [self.say(name) for name in (*self.domain.attribute_names, DECADE, YEAR)]
        texts = (*says, *self.item_noun, *self.grammar.table["phrases"].values())
        return [re.sub(r"\{\w+\}", " ", text) for text in texts]


def _forms(noun: str) -> tuple[str, str]:
    """Return singular and plural of "comedy", or of "man|men"."""
    singular, _, plural = noun.partition("|")
    if not plural:
        plural = singular[:-1] + "ies" if re.search(r"[^aeiou]y$", singular) else singular + "s"
    return singular, plural
