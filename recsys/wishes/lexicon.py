"""What words may name in a domain: values, people, titles, its own words."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

from recsys.config import Domain
from recsys.config.wishes import Meaning, WishWords, load_wish_words
from recsys.data.catalog import Catalog
from recsys.knowledge.typed_values import WrongValue, read_value
from recsys.types import ConditionOperator, Item
from recsys.wishes.language import language
from recsys.wishes.tokens import Phrase, PhraseTable, phrase_of
from recsys.wishes.topics import Topics

MANY_VALUES = 100
"""An attribute with more values has names: one word alone is one of them only where it is marked."""

SHORTEST_TYPO = 5
"""Letters of a word that may be misspelled; from `LONG_TYPO` on it may be so in two places."""

LONG_TYPO = 8
_NO_VALUES = frozenset([("unknown",), ("other",), ("none",), ("n", "a"), ("yes",), ("no",)])
_COMPARISONS: tuple[ConditionOperator, ...] = ("<", "<=", ">", ">=")
_ARTICLES = frozenset(["the", "a", "an"])


@dataclass(frozen=True)
class Target:
    """One thing that a phrase may stand for."""

    attribute: str
    values: tuple[str, ...]
    operator: ConditionOperator = "is"
    wanted: bool = True
    soft: bool = False
    items: int = 0  # how many have it
    preferred: bool = False  # what `wishes.toml` calls by this name


@dataclass(frozen=True)
class Named:
    """The targets of a phrase: all of `together`, or one attribute of `alternatives`."""

    together: tuple[Target, ...] = ()
    alternatives: tuple[Target, ...] = ()


@dataclass
class _Values:
    """Values by phrase and attribute, with how many items have each."""

    of: dict[Phrase, dict[str, Counter[str]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, phrase: Phrase, attribute: str, value: str, items: int) -> None:
        self.of[phrase].setdefault(attribute, Counter())[value] += items


class Lexicon:
    """The words of one domain and catalogue. Immutable once built.

    Raises:
        ConfigError: `wishes.toml` is malformed.
    """

    def __init__(self, domain: Domain, catalog: Catalog) -> None:
        self.domain = domain
        self.words: WishWords = load_wish_words(domain.folder, domain.attribute_names, domain.wishes.words)
        self.items = list(catalog)
        self._amounts: dict[str, list[float]] = {}
        self.kinds: dict[str, str] = _kinds(domain, self.items)
        self.counts = counts = _count(self.items, domain)
        self.topics = Topics(domain, self.items, counts)
        full, part = _Values(), _Values()
        for attribute, values in counts.items():
            self._add_values(attribute, values, full, part)
        self.values: PhraseTable[Named] = PhraseTable(self._phrases(full))
        self.parts: PhraseTable[Named] = PhraseTable((phrase, _named(of)) for phrase, of in part.of.items())
        self.before: PhraseTable[tuple[str, ...]] = PhraseTable(self._attribute_phrases("before"))
        self.after: PhraseTable[tuple[str, ...]] = PhraseTable(self._attribute_phrases("after"))
        self.say: PhraseTable[tuple[str, ...]] = PhraseTable(self._attribute_phrases("say"))
        ignored = (*self.words.ignore, domain.noun, domain.plural)
        self.ignored = frozenset(word for text in ignored for word in phrase_of(text))
        self._spellings: dict[str, list[str]] = defaultdict(list)
        for phrase in (*full.of, *part.of):  # not the domain's own words, which are near to too many others
            if len(phrase) == 1 and len(phrase[0]) >= SHORTEST_TYPO and phrase[0].isascii():
                self._spellings[phrase[0][0]].append(phrase[0])

    @cached_property
    def titles(self) -> PhraseTable[tuple[Item, ...]]:
        """Items by title, without article; other titles as `wishes.toml` has them."""
        by_phrase: dict[Phrase, list[Item]] = defaultdict(list)
        for item in self.items:
            for phrase in {_without_article(phrase_of(item.title)), phrase_of(item.title)}:
                by_phrase[phrase].append(item)
        for other, title in self.words.titles.items():
            known = by_phrase.get(_without_article(phrase_of(title)), [])
            by_phrase[phrase_of(other)] += known
        return PhraseTable((phrase, tuple(items)) for phrase, items in by_phrase.items() if items)

    @cached_property
    def title_words(self) -> frozenset[str]:
        """All words of titles."""
        return frozenset(word for phrase in self.titles.meanings for word in phrase)

    def has_names(self, attribute: str) -> bool:
        """Return whether an attribute has so many values that they are names."""
        kind = self.domain.attributes.get(attribute)
        return len(self.counts.get(attribute, ())) > MANY_VALUES and (kind is None or kind.type == "list")

    def attribute_of(self, kinds: Iterable[str]) -> str | None:
        """Return the first attribute of one of these kinds."""
        wanted = {*kinds, *(("time",) if "date" in kinds else ())}
        return next((name for name, kind in self.kinds.items() if kind in wanted), None)

    def amounts(self, attribute: str) -> list[float]:
        """Return what the items have of an ordered attribute, sorted."""
        if attribute not in self._amounts:
            found = (self.amount_of(item, attribute) for item in self.items)
            self._amounts[attribute] = sorted(one for one in found if one is not None)
        return self._amounts[attribute]

    def amount_of(self, item: Item, attribute: str) -> float | None:
        """Return what one item has of an ordered attribute."""
        if self.kinds.get(attribute) == "year":
            return item.year
        kind, texts = self.domain.attributes[attribute], item.attributes.get(attribute, ())
        try:
            return read_value(texts[0], attribute, kind).first if texts else None
        except (WrongValue, ValueError):
            return None

    def written(self, attribute: str, amount: float) -> str:
        """Return an amount as a condition has it; days since year 1 as a date."""
        if self.kinds[attribute] in ("date", "time"):
            return dt.date.fromordinal(int(amount)).isoformat()
        return f"{amount:.10g}"

    def quantile(self, attribute: str, share: float) -> float | None:
        """Return the amount that this share of the items is below."""
        amounts = self.amounts(attribute)
        return amounts[min(len(amounts) - 1, math.floor(share * len(amounts)))] if amounts else None

    def similar_word(self, word: str) -> str | None:
        """Return the known word, of the same first letter, that is misspelled."""
        if len(word) < SHORTEST_TYPO or not word.isascii():
            return None
        most = 1 if len(word) < LONG_TYPO else 2
        close = get_close_matches(word, self._spellings[word[0]], n=8, cutoff=0.75)
        distances = [(edit_distance(word, one), one) for one in close]
        near = [pair for pair in distances if pair[0] <= most and len(pair[1]) > SHORTEST_TYPO]
        return min(near, default=(0, None))[1]

    def _add_values(self, attribute: str, values: Counter[str], full: _Values, part: _Values) -> None:
        person = attribute in self.words.attributes and self.words.attributes[attribute].person
        for value, items in values.items():
            phrase = phrase_of(value)
            if phrase in _NO_VALUES or not phrase:
                continue
            names = person or self.has_names(attribute)
            (part if names and len(phrase) == 1 else full).add(phrase, attribute, value, items)
            if person:
                for shorter in (*_parts_of_name(phrase), *_nicknames(phrase)):
                    part.add(shorter, attribute, value, items)
            elif len(phrase) > 1 and names:
                for word in set(phrase) - language().filler:
                    part.add((word,), attribute, value, items)

    def _phrases(self, full: _Values) -> list[tuple[Phrase, Named]]:
        own = [
            (phrase_of(text), self._meaning(meaning))
            for meaning in self.words.words
            if self._is_known(meaning)
            for text in meaning.say
        ]
        values = {phrase: _named(of) for phrase, of in full.of.items()}
        names: dict[Phrase, Named] = {}
        for other, value in (*self.words.names.items(), *language().called):
            phrase = phrase_of(other)
            if (named := values.get(phrase_of(value))) is not None and phrase not in names:
                called = values.get(phrase, Named()).alternatives
                first = tuple(dataclasses.replace(one, preferred=True) for one in named.alternatives)
                names[phrase] = Named(alternatives=(*first, *called))
        return [*own, *names.items(), *values.items()]

    def _is_known(self, meaning: Meaning) -> bool:
        """Return whether the catalogue has a value of each kind that is meant."""
        return all(
            name not in self.counts or not self.counts[name].keys().isdisjoint(_values_of(value))
            for name, value in meaning.means.items()
        )

    def _meaning(self, meaning: Meaning) -> Named:
        together = []
        for attribute, value in meaning.means.items():
            values = _values_of(value)
            sign, space, bound = values[0].partition(" ")
            operator = next((one for one in _COMPARISONS if space and one == sign), None)
            if operator is not None:
                target = Target(attribute, (bound,), operator, meaning.wanted, meaning.soft)
                together.append(target)
                continue
            for alternatives in [(one,) for one in values] if meaning.all else [values]:
                together.append(Target(attribute, alternatives, "is", meaning.wanted, meaning.soft))
        return Named(together=tuple(together))

    def _attribute_phrases(self, which: str) -> list[tuple[Phrase, tuple[str, ...]]]:
        found: dict[Phrase, list[str]] = defaultdict(list)
        for name, words in self.words.attributes.items():
            for text in getattr(words, which):
                found[phrase_of(text)].append(name)
        if which == "say":
            for name, kind in self.domain.attributes.items():
                for text in filter(None, (name.replace("_", " "), kind.unit)):
                    if kind.ordered:
                        found[phrase_of(text)].append(name)
        return [(phrase, tuple(dict.fromkeys(names))) for phrase, names in found.items()]


def _values_of(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _kinds(domain: Domain, items: list[Item]) -> dict[str, str]:
    """Return attribute -> type of the ordered ones, and of the year."""
    kinds = {name: kind.type for name, kind in domain.attributes.items() if kind.ordered}
    return ({"year": "year"} if any(item.year for item in items) and "year" not in kinds else {}) | kinds


def _count(items: Iterable[Item], domain: Domain) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for name in domain.attribute_names:
        kind = domain.attributes.get(name)
        if kind is None or kind.type in ("text", "category", "list", "flag"):
            counts[name] = Counter()
    for item in items:
        for name, values in item.attributes.items():
            if name in counts:
                counts[name].update(values)
    return {name: values for name, values in counts.items() if values}


def _named(by_attribute: Mapping[str, Counter[str]]) -> Named:
    return Named(
        alternatives=tuple(
            Target(name, _likely(values), items=max(values.values())) for name, values in by_attribute.items()
        )
    )


def _likely(values: Counter[str]) -> tuple[str, ...]:
    """Return who is meant by a name: who has half the items of the first or more."""
    most = max(values.values())
    return tuple(sorted(value for value, items in values.items() if 2 * items >= most))


def _parts_of_name(phrase: Phrase) -> list[Phrase]:
    """Return what a person is also called: "de niro", "samuel jackson", "jackson"."""
    parts = [phrase[-length:] for length in (1, 2) if length < len(phrase) and len(phrase[-1]) > 2]
    return [*parts, (phrase[0], phrase[-1])] if len(phrase) > 2 else parts


def _nicknames(phrase: Phrase) -> list[Phrase]:
    """Return a name with the short forms of its first name: "jimmy stewart"."""
    return [(short, *phrase[1:]) for short in language().nicknames.get(phrase[0], ())]


def _without_article(phrase: Phrase) -> Phrase:
    if len(phrase) > 1 and phrase[-1] in _ARTICLES:
        phrase = phrase[:-1]
    return phrase[1:] if len(phrase) > 1 and phrase[0] in _ARTICLES else phrase


def edit_distance(one: str, other: str) -> int:
    """Count the letters to insert, delete, replace or exchange with their neighbour.

    The restricted distance of Damerau, CACM 1964.
    """
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, second in enumerate(other, start=1):
            cost = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (letter != second))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == second:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
