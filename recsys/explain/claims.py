"""Is every claim of a finished sentence supported? Whoever wrote it: model, template, or free text.

The sentence is read the other way round: what stands for evidence is put back into
placeholders, longest first. What is left may be words of the language's own vocabulary
(`[words]` and the forms of `grammar.toml`), each only beside the kind of evidence that
it needs: "liked" where a liked item is cited. Any other word is a claim that nothing carries.
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
from recsys.explain.verifier import false_links
from recsys.types import Evidence, Item
from recsys.utils.sanitize import clean_text

# A clock time, a number, one Chinese or Japanese character, a word, or any other sign.
_TOKEN = re.compile(
    r"\d{1,2}:\d{2}|\d+|[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff\d_])\w)+(?:['\u2019-](?:(?![\u3040-\u30ff\u3400-\u9fff\d_])\w)+)*|\S"
)
_ENDS = frozenset(".!?。\uff01\uff1f:\uff1a")  # a capital after one of these says nothing
_QUOTES = frozenset('"“”\u2018«»「」《》')
_REFS = r"\{\w+\}(?:(?:, \{\w+\})* (?:and|和|、) ?\{\w+\}| ?[和、] ?\{\w+\})?"
_YEARS = range(1850, 2100)

Tokens = tuple[str, ...]


def tokens_of(text: str) -> Tokens:
    return tuple(_TOKEN.findall(text))


def folded(text: str) -> Tokens:
    """Tokens without regard to case, as many as there are with it."""
    return tuple(token.casefold() for token in tokens_of(text))


class Phrases:
    """Token sequences, each with a label; the longest that begins at a place is found in one look-up."""

    def __init__(self, entries: Iterable[tuple[Tokens, str]]) -> None:
        self._by_first: dict[str, list[tuple[Tokens, str]]] = defaultdict(list)
        for tokens, label in dict.fromkeys(entries):
            if tokens:
                self._by_first[tokens[0]].append((tokens, label))
        for found in self._by_first.values():
            found.sort(key=lambda entry: -len(entry[0]))

    def at(self, tokens: Tokens, place: int) -> list[tuple[int, str]]:
        """(length, label) of all phrases that begin at `place`, longest first."""
        here = self._by_first.get(tokens[place], ())
        return [
            (len(phrase), label) for phrase, label in here if tokens[place : place + len(phrase)] == phrase
        ]


class Lexicon:
    """Titles and attribute values of a catalogue, found in running text without regard to case; years by id."""

    _made: ClassVar[WeakKeyDictionary[Catalog, Lexicon]] = WeakKeyDictionary()

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = tuple(items)
        self.years = {item.id: item.year for item in self.items}

    @cached_property
    def phrases(self) -> Phrases:
        """Read only to name a fault, so made at the first."""
        values = dict.fromkeys(value for item in self.items for value in attribute_values(item))
        entries = [(folded(clean_text(item.title, TITLE_LIMIT)), "invented_title") for item in self.items]
        return Phrases([*entries, *((folded(value), "wrong_attribute") for value in values)])

    @classmethod
    def of(cls, catalog: Catalog) -> Lexicon:
        """Built once for each state of a catalogue."""
        if catalog not in cls._made:
            cls._made[catalog] = cls(catalog)
        return cls._made[catalog]


@dataclass(frozen=True)
class Vocabulary:
    """What a language may say beside evidence. A phrase's label names the kinds it needs, by comma."""

    grammar: Grammar
    phrases: Phrases
    time: frozenset[str]
    numbers: frozenset[str]
    places: frozenset[str]
    claims: tuple[tuple[re.Pattern[str], frozenset[str]], ...]
    orders: re.Pattern[str]

    @staticmethod
    @lru_cache(maxsize=16)
    def read(path: Path) -> Vocabulary:
        """Of a `grammar.toml`."""
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
_BESIDE = {"item", "context", "profile", "other"}  # no reason by themselves


def _pieces(text: str) -> list[Tokens]:
    """Words, or in a language without spaces phrases, out of a list or a regular expression."""
    return [folded(piece) for piece in re.split(r"[\s()|?\\.,\uff0c。、;:]+", text) if piece]


def unsupported(
    text: str,
    case: ReasonCase,
    path: Path,
    lexicon: Lexicon | None = None,
    cited: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Kinds of failure in a finished sentence about `case`; () means that every claim holds.

    `path` is the language's grammar, `cited` the ids that the sentence claims to stand on, in
    its order (default: all of the case); the item's own attributes may always be named. Beside those of `false_links`:

    - `invented_title`, `wrong_attribute`: of the catalogue or made up, but not of what is cited
    - `wrong_year`, `wrong_number`, `wrong_time`, `wrong_place`
    - `instruction_echo`: an order, such as one out of a description
    - `false_claim`: evidence in a place where it says what is not known ("you liked" the item)
    - `uncited_claim`: any other word that nothing cited carries
    - `unspecific`: nothing but the item's name tells the sentence from one about another item
    """
    return _ClaimReading(text, case, Vocabulary.read(path), lexicon, cited).failures()


class _ClaimReading:
    """One sentence, its evidence put back into placeholders: `named` has them by token place."""

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
        self.told = {
            t
            for e in kept
            if e.kind == "context"
            for t in folded(vocabulary.grammar.localize(e.kind, e.text))
        }
        self.order = {name: n for n, name in enumerate(dict.fromkeys(cited or self.kinds))}
        self.named: dict[int, str] = {}
        self.masked = self._mask()

    def failures(self) -> tuple[str, ...]:
        found = list(false_links(self.masked, self.case))
        for pattern, allowed in self.vocabulary.claims:
            for match in pattern.finditer(self.masked):
                if any(self.kinds.get(name) not in allowed for name in PLACEHOLDER.findall(match[1])):
                    found.append("false_claim")
        left = (" " if place in self.named else token for place, token in enumerate(self.folded))
        if self.vocabulary.orders.search(" ".join(left)):
            found.append("instruction_echo")
        found += self._strange()
        told = {self.kinds[name] for name in self.named.values()}
        if not told - _BESIDE - (set() if self.case.net_negative else _AGAINST):
            found.append("unspecific")
        return tuple(dict.fromkeys(found))

    def _mask(self) -> str:
        """The sentence with placeholders; a title counts only as it is written."""
        texts = {k: v for k, v in self.vocabulary.grammar.texts(self.case).items() if k in self.kinds}
        exact = {"item", "other", *self.items}
        titles = Phrases((tokens_of(text), name) for name, text in texts.items() if name in exact)
        facts = Phrases((folded(text), name) for name, text in texts.items() if name not in exact)
        shown, place = "", 0
        while place < len(self.tokens):
            found = [*titles.at(self.tokens, place), *facts.at(self.folded, place)]
            if not place:  # a title at the very start may have got a capital
                lowered = self.tokens[0][:1].lower() + self.tokens[0][1:]
                found += titles.at((lowered, *self.tokens[1:]), 0)
            if not found:
                sign = self.tokens[place]
                shown += sign if re.fullmatch(r"[^\w(]", sign) else f" {sign}"
                place += 1
                continue
            length = max(one[0] for one in found)
            same = dict.fromkeys(name for size, name in found if size == length)
            name = min(
                same, key=lambda name: (name in self.named.values(), self.order.get(name, len(self.order)))
            )
            self.named |= dict.fromkeys(range(place, place + length), name)
            shown += f" {{{name}}}"
            place += length
        return shown.strip()

    def _strange(self) -> list[str]:
        """A fault for every stretch of words that neither evidence nor vocabulary has."""
        found: list[str] = []
        place = 0
        while place < len(self.tokens):
            length = 1
            if place not in self.named and self.folded[place][0].isalnum():
                length = self._allowed(place)
                if not length:
                    fault, length = self._fault(place)
                    found.append(fault)
            place += length
        return found

    def _allowed(self, place: int) -> int:
        """Tokens of the longest phrase that may stand here, 0 for none; mid-sentence a capital is a name."""
        word = self.folded[place]
        if word in self.told or (word.isdigit() and self._is_year(place)):
            return 1
        if self._is_name(place) and word != "i":
            return 0
        kinds = {self.kinds[name] for name in self.named.values()}
        for length, needs in self.vocabulary.phrases.at(self.folded, place):
            if kinds.issuperset(filter(None, needs.split(","))) and not any(
                place + n in self.named for n in range(length)
            ):
                return length
        return 0

    def _is_name(self, place: int) -> bool:
        starts = place == 0 or self.tokens[place - 1] in _ENDS
        quoted = place > 0 and self.tokens[place - 1] in _QUOTES and place - 1 not in self.named
        return quoted or (self.tokens[place] != self.folded[place] and not starts)

    def _is_year(self, place: int) -> bool:
        """ "Alien (1979)": the year of the item that was named last, else of the one explained."""
        before = [self.named[n] for n in range(place) if self.named.get(n) in {"item", "other", *self.items}]
        name = before[-1] if before else "item"
        item = {"item": self.case.item, "other": self.case.other}.get(name)
        year = (
            item.year
            if item
            else self.lexicon.years.get(self.items.get(name) or "")
            if self.lexicon
            else None
        )
        return self.tokens[place] == str(year)

    def _fault(self, place: int) -> tuple[str, int]:
        """What is wrong with the word at `place`, and how many tokens belong to it."""
        word, words = self.folded[place], self.vocabulary
        if not word.isdigit() and word[0].isdigit():
            return "wrong_time", 1
        lexicon = self.lexicon.phrases.at(self.folded, place) if self.lexicon else []
        starts = place == 0 or self.tokens[place - 1] in _ENDS
        known = [
            (size, kind)
            for size, kind in lexicon
            if kind != "invented_title" or starts or self._is_name(place)
        ]
        if known and (known[0][0] > 1 or word not in words.time):
            return known[0][1], known[0][0]
        if word.isdigit():
            return ("wrong_year" if int(word) in _YEARS else "wrong_number"), 1
        if word in words.time:
            return "wrong_time", 1
        if word in words.numbers:
            return "wrong_number", 1
        if not self._is_name(place):
            return "uncited_claim", 1
        size = 1
        while place + size < len(self.tokens) and self.tokens[place + size][0].isupper():
            size += 1
        return ("wrong_place" if place and self.folded[place - 1] in words.places else "invented_title"), size


def _further_attributes(case: ReasonCase) -> list[Evidence]:
    """Values of the item that the evidence leaves out: true of it, if of nothing else."""
    told = {entry.text for entry in case.by_kind("attribute")}
    further = [value for value in dict.fromkeys(attribute_values(case.item)) if value not in told]
    return [Evidence(id=f"i{n}", kind="attribute", text=value) for n, value in enumerate(further, 1)]
