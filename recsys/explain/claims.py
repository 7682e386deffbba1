"""Checks of a finished sentence, whoever wrote it: every claim needs evidence.

The check reads backwards: texts that stand for evidence are replaced by placeholders, longest first.
The remaining words must belong to the language's vocabulary (`[words]` and the forms of
`grammar.toml`), each only with the kind of evidence it needs: "liked" needs a liked item. Any other
word is an unsupported claim.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

from recsys.data.catalog import Catalog
from recsys.explain.evidence import TITLE_LIMIT, ReasonCase, attribute_values
from recsys.explain.grammar import PLACEHOLDER, TITLED, Grammar, against_slots
from recsys.explain.verifier import placeholder_failures
from recsys.types import Evidence, Item
from recsys.utils.sanitize import clean_text

# A clock time, a number, one Chinese or Japanese character, a word, or any other character.
_CJK = r"\u3040-\u30ff\u3400-\u9fff"
_LETTER = rf"(?:(?![{_CJK}\d_])\w)"
_TOKEN = re.compile(rf"\d{{1,2}}:\d{{2}}|\d+|[{_CJK}]|{_LETTER}+(?:['\u2019-]{_LETTER}+)*|\S")
_ENDS = frozenset(".!?。\uff01\uff1f:\uff1a")  # a capital letter after one of these does not mark a name
_QUOTES = frozenset('"“”\u2018«»「」《》')
_REFS = r"\{\w+\}(?:(?:, \{\w+\})* (?:and|和|、) ?\{\w+\}| ?[和、] ?\{\w+\})?"
_YEARS = range(1850, 2100)

Tokens = tuple[str, ...]


def tokens_of(text: str) -> Tokens:
    return tuple(_TOKEN.findall(text))


def folded(text: str) -> Tokens:
    """Return the case-folded tokens, as many as `tokens_of` returns."""
    return tuple(token.casefold() for token in tokens_of(text))


class Phrases:
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
    def phrases(self) -> Phrases:
        """Titles and attribute values, labelled by the failure they are if not cited."""
        values = dict.fromkeys(value for item in self.items for value in attribute_values(item))
        entries = [(folded(clean_text(item.title, TITLE_LIMIT)), "invented_title") for item in self.items]
        return Phrases([*entries, *((folded(value), "wrong_attribute") for value in values)])

    @classmethod
    def of(cls, catalog: Catalog) -> Lexicon:
        """Return the lexicon of a state of the catalogue, built once."""
        if catalog not in cls._by_catalog:
            cls._by_catalog[catalog] = cls(catalog)
        return cls._by_catalog[catalog]


@dataclass(frozen=True)
class Vocabulary:
    """The words a language allows in a reason besides evidence."""

    grammar: Grammar
    phrases: Phrases  # labels: the kinds of evidence that a phrase needs, separated by commas
    time: frozenset[str]
    numbers: frozenset[str]
    places: frozenset[str]
    claims: tuple[tuple[re.Pattern[str], frozenset[str]], ...]  # pattern, kinds that its evidence may be of
    orders: re.Pattern[str]

    @staticmethod
    @lru_cache(maxsize=16)
    def read(path: Path) -> Vocabulary:
        """Read the vocabulary of a `grammar.toml`."""
        grammar = Grammar.read(path)
        words = grammar.table["words"]
        entries = [(piece, "") for piece in _pieces(words["neutral"])]
        for kind in _KINDS.values():
            entries += [(piece, kind) for piece in _pieces(words.get(kind, ""))]
        for forms in grammar.sections():
            for form in forms:
                needs = ",".join(
                    sorted({_KINDS[slot] for slot in re.findall(r"\{(\w+)\}", form) if slot in _KINDS})
                )
                entries += [(piece, needs) for piece in _pieces(re.sub(r"\{\w+\}", " ", form))]
        return Vocabulary(
            grammar,
            Phrases(entries),
            frozenset(words.get("time", "").split()),
            frozenset(words.get("numbers", "").split()),
            frozenset(words.get("places", "").split()),
            tuple(
                (re.compile(pattern.replace("REFS", _REFS), re.IGNORECASE), frozenset(kinds.split()))
                for pattern, kinds in words.get("claims", ())
            ),
            re.compile(words.get("orders", r"(?!)"), re.IGNORECASE),
        )


_KINDS: Mapping[str, str] = {
    "H": "history",
    "A": "attribute",
    "D": "other",
    "other": "other",
    "W": "wish",
    "P": "popularity",
    "T": "co_consumed",
    "B": "repeat",
    "G": "relation",
    "C": "context",
    "F": "profile",
    "N": "against",
    "X": "against",
    "R": "rare",
    "L": "counter",
    "K": "counter",
    "V": "counter",
}

_AGAINST = {"against", "rare", "counter"}
_NO_REASON = {"item", "context", "profile", "other"}  # kinds that are no reason by themselves


def _pieces(text: str) -> list[Tokens]:
    """Split a word list or regular expression into words; without spaces, phrases."""
    return [folded(piece) for piece in re.split(r"[\s()|?\\.,\uff0c。、;:]+", text) if piece]


def claim_failures(
    text: str,
    case: ReasonCase,
    path: Path,
    lexicon: Lexicon | None = None,
    cited: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Return the kinds of failure in a finished sentence; () means every claim holds.

    Besides those of `placeholder_failures`:

    - `invented_title`, `wrong_attribute`: in the catalogue or made up, but not in the evidence
    - `wrong_year`, `wrong_number`, `wrong_time`, `wrong_place`
    - `instruction_echo`: an order, such as one from an item's description
    - `false_claim`: evidence in a role it does not have ("you liked" the item)
    - `uncited_claim`: any other word without evidence
    - `unspecific`: only the item's name distinguishes the sentence from one about another item

    Args:
        text: The sentence as it is shown.
        case: The item and its evidence.
        path: The `grammar.toml` of the language.
        lexicon: Names failures more precisely.
        cited: Ids the sentence claims to rest on, in its order; None: all of the case. The item's own
            attributes may always be named.
    """
    return _ClaimChecker(text, case, Vocabulary.read(path), lexicon, cited).failures()


class _ClaimChecker:
    """One sentence with its evidence replaced by placeholders."""

    def __init__(
        self,
        text: str,
        case: ReasonCase,
        vocabulary: Vocabulary,
        lexicon: Lexicon | None,
        cited: Collection[str] | None,
    ) -> None:
        self.vocabulary, self.lexicon = vocabulary, lexicon
        self.case = dataclasses.replace(case, evidence=(*case.evidence, *_further_attributes(case)))
        self.tokens = tokens_of(text)
        self.folded = folded(text)
        entries = (*self.case.evidence, *case.against)
        kept = [e for e in entries if cited is None or e.id in cited or e.kind == "attribute"]
        self.kinds: dict[str, str] = {entry.id: entry.kind for entry in kept}
        for slot, names in against_slots(case, case.against).items():
            self.kinds |= {
                name: _KINDS[slot] for name in PLACEHOLDER.findall("".join(names)) if name in self.kinds
            }
        self.kinds |= {"item": "item"} | ({"other": "other"} if case.other else {})
        self.items = {e.id: e.item_id for e in kept if e.kind in TITLED}
        self.context_words = {
            token
            for e in kept
            if e.kind == "context"
            for token in folded(vocabulary.grammar.localize(e.kind, e.text))
        }
        self.order = {name: n for n, name in enumerate(dict.fromkeys(cited or self.kinds))}
        self.names: dict[int, str] = {}  # token index -> the evidence id that the token is part of
        self.masked = self._mask()

    def failures(self) -> tuple[str, ...]:
        failures = list(placeholder_failures(self.masked, self.case))
        for pattern, allowed in self.vocabulary.claims:
            for match in pattern.finditer(self.masked):
                if any(self.kinds.get(name) not in allowed for name in PLACEHOLDER.findall(match[1])):
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
        texts = {k: v for k, v in self.vocabulary.grammar.texts(self.case).items() if k in self.kinds}
        exact = {"item", "other", *self.items}
        titles = Phrases((tokens_of(text), name) for name, text in texts.items() if name in exact)
        facts = Phrases((folded(text), name) for name, text in texts.items() if name not in exact)
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
            name = min(
                longest,
                key=lambda name: (name in self.names.values(), self.order.get(name, len(self.order))),
            )
            self.names |= dict.fromkeys(range(index, index + length), name)
            masked += f" {{{name}}}"
            index += length
        return masked.strip()

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


def _further_attributes(case: ReasonCase) -> list[Evidence]:
    """Return attribute values that the evidence leaves out: they may be named too."""
    cited = {entry.text for entry in case.by_kind("attribute")}
    further = [value for value in dict.fromkeys(attribute_values(case.item)) if value not in cited]
    return [Evidence(id=f"i{n}", kind="attribute", text=value) for n, value in enumerate(further, 1)]
