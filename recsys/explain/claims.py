"""Checks of a finished sentence, whoever wrote it: every claim needs evidence.

The check reads backwards: texts that stand for evidence are replaced by placeholders, longest first.
The remaining words must belong to the language's vocabulary (`[words]` and the forms of
`grammar.toml`), each only with the kind of evidence it needs: "liked" needs a liked item. Any other
word is an unsupported claim.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar
from weakref import WeakKeyDictionary

from recsys.data.catalog import Catalog
from recsys.explain.cases import ReasonCase
from recsys.explain.evidence import TITLE_LIMIT
from recsys.explain.grammar import SLOT, TITLED
from recsys.explain.phrases import Phrases, facts_of
from recsys.types import Item
from recsys.utils.sanitize import clean_text

# A clock time, a number, one Chinese or Japanese character, a word, or any other character.
_CJK = r"\u3040-\u30ff\u3400-\u9fff"
_LETTER = rf"(?:(?![{_CJK}\d_])\w)"
_TOKEN = re.compile(rf"\d{{1,2}}:\d{{2}}|\d+|[{_CJK}]|{_LETTER}+(?:['\u2019-]{_LETTER}+)*|\S")
_ENDS = frozenset(".!?。\uff01\uff1f:\uff1a")  # a capital letter after one of these does not mark a name
_QUOTES = frozenset('"“”\u2018«»「」《》')
_REFS = r"\{\w+\}(?:(?:, \{\w+\})* (?:and|和|、) ?\{\w+\}| ?[和、] ?\{\w+\})?"
_YEARS = range(1850, 2100)
_MASK = re.compile(r"\{(\w+)\}")

Tokens = tuple[str, ...]


def tokens_of(text: str) -> Tokens:
    return tuple(_TOKEN.findall(text))


def folded(text: str) -> Tokens:
    """Return the case-folded tokens, as many as `tokens_of` returns."""
    return tuple(token.casefold() for token in tokens_of(text))


class TokenPhrases:
    """Labelled token sequences, indexed by their first token."""

    def __init__(self, entries: Iterable[tuple[Tokens, str]]) -> None:
        self._by_first: dict[str, list[tuple[Tokens, str]]] = defaultdict(list)
        for tokens, label in dict.fromkeys(entries):
            if tokens:
                self._by_first[tokens[0]].append((tokens, label))
        for phrases in self._by_first.values():
            phrases.sort(key=lambda entry: -len(entry[0]))

    def starting_at(self, tokens: Tokens, index: int) -> list[tuple[int, str]]:
        """Return (length, label) of all phrases that start at `index`, longest first."""
        phrases = self._by_first.get(tokens[index], ())
        return [
            (len(phrase), label) for phrase, label in phrases if tokens[index : index + len(phrase)] == phrase
        ]


class Lexicon:
    """Titles, attribute values and years of a catalogue, to name failures precisely."""

    _by_catalog: ClassVar[WeakKeyDictionary[Catalog, Lexicon]] = WeakKeyDictionary()

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = tuple(items)
        self.years = {item.id: item.year for item in self.items}

    @cached_property
    def phrases(self) -> TokenPhrases:
        """Titles and attribute values, labelled by the failure they are if not cited."""
        values = dict.fromkeys(fact.value for item in self.items for fact in facts_of(item))
        entries = [(folded(clean_text(item.title, TITLE_LIMIT)), "invented_title") for item in self.items]
        return TokenPhrases([*entries, *((folded(value), "wrong_attribute") for value in values)])

    @classmethod
    def of(cls, catalog: Catalog) -> Lexicon:
        """Return the lexicon of a state of the catalogue, built once."""
        if catalog not in cls._by_catalog:
            cls._by_catalog[catalog] = cls(catalog)
        return cls._by_catalog[catalog]


@dataclass(frozen=True)
class Vocabulary:
    """The words a language allows in a reason besides evidence."""

    phrases: TokenPhrases  # labels: the kinds of evidence that a phrase needs, separated by commas
    time: frozenset[str]
    numbers: frozenset[str]
    places: frozenset[str]
    claims: tuple[tuple[re.Pattern[str], frozenset[str]], ...]  # pattern, kinds that its evidence may be of
    orders: re.Pattern[str]

    _by_phrases: ClassVar[WeakKeyDictionary[Phrases, Vocabulary]] = WeakKeyDictionary()

    @classmethod
    def of(cls, phrases: Phrases) -> Vocabulary:
        """Return the vocabulary of a language and the words of a domain, read once."""
        if phrases not in cls._by_phrases:
            cls._by_phrases[phrases] = cls._read(phrases)
        return cls._by_phrases[phrases]

    @staticmethod
    def _read(phrases: Phrases) -> Vocabulary:
        grammar = phrases.grammar
        words = grammar.table["words"]
        entries = [(piece, "") for piece in _pieces(words["neutral"])]
        entries += [(piece, "attribute") for text in phrases.words for piece in _pieces(text)]
        entries += [(piece, "") for verb in (grammar.table["named"], phrases.verb) for piece in _pieces(verb)]
        for kind in _KINDS:
            entries += [(piece, kind) for piece in _pieces(words.get(kind, ""))]
        for name, forms in grammar.sections():
            for form in forms:
                needs = {_kind_of_slot(slot, name) for slot in SLOT.findall(form)} - {""}
                label = ",".join(sorted(needs))
                entries += [(piece, label) for piece in _pieces(SLOT.sub(" ", form))]
        return Vocabulary(
            TokenPhrases(entries),
            frozenset(words.get("time", "").split()),
            frozenset(words.get("numbers", "").split()),
            frozenset(words.get("places", "").split()),
            tuple(
                (re.compile(pattern.replace("REFS", _REFS), re.IGNORECASE), frozenset(kinds.split()))
                for pattern, kinds in words.get("claims", ())
            ),
            re.compile(words.get("orders", r"(?!)"), re.IGNORECASE),
        )


_SLOT_KINDS: Mapping[str, str] = {
    "liked": "history",
    "past": "group",
    "examples": "group",
    "shared": "attribute",
    "asked": "wish",
    "what": "attribute",
    "another": "attribute",
    "wish": "wish",
    "related": "relation",
    "repeat": "repeat",
    "popular": "popularity",
    "now": "context",
    "person": "profile",
    "other": "other",
}
_KINDS = sorted({*_SLOT_KINDS.values(), "co_consumed", "against", "rare", "counter"})
_OPPOSED: Mapping[str, str] = {
    "disliked": "against",
    "disliked_alike": "against",
    "rare": "rare",
    "chosen": "counter",
    "counter": "counter",
    "wish": "counter",
}
_AGAINST = {"against", "rare", "counter"}
_NO_REASON = {"item", "context", "profile", "other"}  # kinds that are no reason by themselves


def _kind_of_slot(slot: str, section: str) -> str:
    """Return the kind of evidence that a slot of a form needs; "" for none."""
    if slot == "against":
        return _OPPOSED.get(section, "")
    if slot == "liked" and section == "co_consumed":
        return "co_consumed"
    return _SLOT_KINDS.get(slot, "")


def _pieces(text: str) -> list[Tokens]:
    """Split a word list or regular expression into words; without spaces, phrases."""
    return [
        folded(piece)
        for piece in re.split(r"[\s()|?\\.,\uff0c。、;:\uff1b\uff1a\uff08\uff09]+", text)
        if piece
    ]


def claim_failures(
    text: str, case: ReasonCase, phrases: Phrases, lexicon: Lexicon | None = None
) -> tuple[str, ...]:
    """Return the kinds of failure in a finished sentence; () means every claim holds.

    - `not_about_item`: the item is not named, or more than once
    - `invented_title`, `wrong_attribute`: in the catalogue or made up, but not in the evidence
    - `wrong_year`, `wrong_number`, `wrong_time`, `wrong_place`
    - `instruction_echo`: an order, such as one from an item's description
    - `false_claim`: evidence in a role it does not have ("you liked" the item)
    - `false_link`: a value in one sentence with an item of the history that lacks it
    - `uncited_claim`: any other word without evidence
    - `unspecific`: only the item's name distinguishes the sentence from one about another item

    Args:
        text: The sentence as it is shown.
        case: The item and its evidence.
        phrases: The grammar of the language, and the words of the domain.
        lexicon: Names failures more precisely.
    """
    return _ClaimChecker(text, case, phrases, lexicon).failures()


class _ClaimChecker:
    """One sentence with its evidence replaced by placeholders."""

    def __init__(self, text: str, case: ReasonCase, phrases: Phrases, lexicon: Lexicon | None) -> None:
        self.vocabulary, self.lexicon, self.case = Vocabulary.of(phrases), lexicon, case
        self.tokens = tokens_of(text)
        self.folded = folded(text)
        localize = phrases.grammar.localize
        self.texts = {"item": case.slots["item"].text}
        self.kinds: dict[str, str] = {"item": "item"}
        if "other" in case.slots:
            self.texts["other"], self.kinds["other"] = case.slots["other"].text, "other"
        entries = {entry.id: entry for entry in (*case.evidence, *case.against)}
        for slot, (slot_text, cites) in case.slots.items():
            if cites and slot_text:
                self.texts[slot] = slot_text.strip(f"{phrases.grammar.table['comma']}\uff08\uff09")
                self.kinds[slot] = _kind_of_slot(slot, case.section) or entries[cites[0]].kind
        for name, entry in entries.items():
            self.texts[name], self.kinds[name] = localize(entry.kind, entry.text), entry.kind
        for entry in case.against:
            self.kinds[entry.id] = _OPPOSED.get(case.opposed, "counter")
        if "against" in case.slots:
            self.kinds["against"] = _OPPOSED[case.opposed]
        self.values = {entry.id: entry.text for entry in case.evidence if entry.kind == "attribute"}
        for number, fact in enumerate(facts_of(case.item)):
            for form, text_of_fact in enumerate((fact.value, *phrases.texts_of(fact))):
                name = f"i{number}x{form}"
                self.texts[name], self.kinds[name], self.values[name] = text_of_fact, "attribute", fact.value
        self.items = {name: entry.item_id for name, entry in entries.items() if entry.kind in TITLED}
        self.context_words = {
            token
            for name, kind in self.kinds.items()
            if kind == "context"
            for token in folded(self.texts[name])
        }
        self.names: dict[int, str] = {}  # token index -> the evidence id that the token is part of
        self.masked = self._mask()

    def _may_be(self, name: str, allowed: frozenset[str]) -> bool:
        """Return whether evidence may stand in a role; the item, if chosen before."""
        repeated = name == "item" and "repeat" in allowed and "repeat" in self.kinds.values()
        return repeated or self.kinds.get(name) in allowed

    def failures(self) -> tuple[str, ...]:
        failures = [] if self.masked.count("{item}") == 1 else ["not_about_item"]
        failures += self._link_failures()
        for pattern, allowed in self.vocabulary.claims:
            for match in pattern.finditer(self.masked):
                if not all(self._may_be(name, allowed) for name in _MASK.findall(match[1])):
                    failures.append("false_claim")
        remaining = (" " if index in self.names else token for index, token in enumerate(self.folded))
        if self.vocabulary.orders.search(" ".join(remaining)):
            failures.append("instruction_echo")
        failures += self._word_failures()
        kinds = {self.kinds[name] for name in self.names.values()}
        if not kinds - _NO_REASON - (set() if self.case.net_negative else _AGAINST):
            failures.append("unspecific")
        return tuple(dict.fromkeys(failures))

    def _mask(self) -> str:
        """Replace evidence by placeholders; titles must match case, other texts need not."""
        exact = {"item", "other", *self.items}
        titles = TokenPhrases((tokens_of(text), name) for name, text in self.texts.items() if name in exact)
        facts = TokenPhrases((folded(text), name) for name, text in self.texts.items() if name not in exact)
        masked, index = "", 0
        while index < len(self.tokens):
            matches = [*titles.starting_at(self.tokens, index), *facts.starting_at(self.folded, index)]
            if not index:  # the first letter of a sentence is capitalised, a title's too
                lowered = self.tokens[0][:1].lower() + self.tokens[0][1:]
                matches += titles.starting_at((lowered, *self.tokens[1:]), 0)
            if not matches:
                token = self.tokens[index]
                masked += token if re.fullmatch(r"[^\w(]", token) else f" {token}"
                index += 1
                continue
            length = max(size for size, _ in matches)
            longest = dict.fromkeys(name for size, name in matches if size == length)
            name = min(longest, key=lambda name: name in self.names.values())
            self.names |= dict.fromkeys(range(index, index + length), name)
            masked += f" {{{name}}}"
            index += length
        return masked.strip()

    def _link_failures(self) -> list[str]:
        """Return a failure if a value stands in a sentence with an item that lacks it."""
        for sentence in re.split(r"(?<=[.!?。\uff01\uff1f])", self.masked):
            names = _MASK.findall(sentence)
            values = {self.values[name] for name in names if name in self.values}
            held = [self.case.values[name] for name in names if name in self.case.values]
            if any(not values <= theirs for theirs in held):
                return ["false_link"]
        return []

    def _word_failures(self) -> list[str]:
        """List a failure for every stretch of words in neither evidence nor vocabulary."""
        failures: list[str] = []
        index = 0
        while index < len(self.tokens):
            length = 1
            if index not in self.names and self.folded[index][0].isalnum():
                length = self._allowed_length(index)
                if not length:
                    failure, length = self._word_failure(index)
                    failures.append(failure)
            index += length
        return failures

    def _allowed_length(self, index: int) -> int:
        """Return how many words at `index` are allowed; 0 for none.

        A capital letter within a sentence marks a name, which needs evidence.
        """
        word = self.folded[index]
        if word in self.context_words or (word.isdigit() and self._is_year(index)):
            return 1
        if self._is_name(index) and word != "i":
            return 0
        kinds = {self.kinds[name] for name in self.names.values()}
        for length, needs in self.vocabulary.phrases.starting_at(self.folded, index):
            if kinds.issuperset(filter(None, needs.split(","))) and not any(
                index + n in self.names for n in range(length)
            ):
                return length
        return 0

    def _is_name(self, index: int) -> bool:
        """Return whether a token is quoted, or capitalised within a sentence."""
        quoted = index > 0 and self.tokens[index - 1] in _QUOTES and index - 1 not in self.names
        return quoted or (self.tokens[index] != self.folded[index] and not self._starts_sentence(index))

    def _starts_sentence(self, index: int) -> bool:
        return index == 0 or self.tokens[index - 1] in _ENDS

    def _is_year(self, index: int) -> bool:
        """Return whether a number is the year of the item named last.

        Where none is named, that of the explained item.
        """
        before = [self.names[n] for n in range(index) if self.names.get(n) in {"item", "other", *self.items}]
        name = before[-1] if before else "item"
        item = {"item": self.case.item, "other": self.case.other}.get(name)
        if item:
            year = item.year
        else:
            year = self.lexicon.years.get(self.items.get(name) or "") if self.lexicon else None
        return self.tokens[index] == str(year)

    def _word_failure(self, index: int) -> tuple[str, int]:
        """Return what is wrong with the word at `index`, and how many tokens it spans."""
        word, words = self.folded[index], self.vocabulary
        if not word.isdigit() and word[0].isdigit():
            return "wrong_time", 1
        known = self._in_lexicon(index)
        if known and (known[0][0] > 1 or word not in words.time):
            return known[0][1], known[0][0]
        if word.isdigit():
            return ("wrong_year" if int(word) in _YEARS else "wrong_number"), 1
        if word in words.time:
            return "wrong_time", 1
        if word in words.numbers:
            return "wrong_number", 1
        if not self._is_name(index):
            return "uncited_claim", 1
        size = 1
        while index + size < len(self.tokens) and self.tokens[index + size][0].isupper():
            size += 1
        return ("wrong_place" if index and self.folded[index - 1] in words.places else "invented_title"), size

    def _in_lexicon(self, index: int) -> list[tuple[int, str]]:
        """Return (length, failure) of catalogue phrases at `index`.

        A title must look like a name.
        """
        phrases = self.lexicon.phrases.starting_at(self.folded, index) if self.lexicon else []
        may_be_title = self._starts_sentence(index) or self._is_name(index)
        return [(size, kind) for size, kind in phrases if kind != "invented_title" or may_be_title]
