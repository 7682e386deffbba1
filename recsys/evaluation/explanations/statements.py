"""What a finished reason states, judged by the store: not by the evidence it cites, nor by the check that let it through.

Names (titles, attribute values, times, places, a wish) are replaced by marks, what is said of them is read by the
patterns of `statements.toml`, and each statement is checked against an item's attributes, everything the person did,
everything others did, and the situation of the request. Words that no pattern reads and that are not neutral are a
statement as well, which nothing can carry: false. Statement precision is the share of statements that are true
(facts found in the text over facts of the world, as in FActScore: Min et al., EMNLP 2023).
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts, moment, values_of
from recsys.explain.evidence import TITLE_LIMIT
from recsys.explain.grammar import Grammar
from recsys.ranking.facts import distance_text
from recsys.types import Evidence, Item
from recsys.utils.sanitize import clean_text

TABLES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
RARE_SHARE = 0.2  # "little that you chose lately has it": at most this share of
LATELY = 30  # what was met last
KEY = 4  # signs of a name that it is looked up by

_MARK = re.compile(r"<([IHOTACW])(\d+)>")
_ENDS = ".!?\u3002\uff01\uff1f"
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_LETTER = rf"[^\W\d_{_CJK}]"
_TOKEN = re.compile(
    rf"<[IHOTACW]\d+>|{_LETTER}+(?:['\u2019-]{_LETTER}+)*|\d{{1,2}}:\d\d|\d+(?:[.,]\d+)*|[{_CJK}]+|[{_ENDS}]"
)
_WORD_SIGN = re.compile(rf"[^\W{_CJK}]")
_STOP = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
_YEARS = range(1850, 2100)
_PERSON = frozenset({"you", "your", "yours", "you're", "yourself"})
_BEFORE_PLACES = frozenset({"in", "near", "around", "from", "at"})


@dataclass(frozen=True)
class Statement:
    """One thing that a sentence says. `kind`: title, past, liked, disliked, attribute, link, contrast, rare, together,
    wish, profile, popular, time, place, year, number, user (any other claim about the person), other."""

    kind: str
    text: str
    true: bool


@dataclass(frozen=True)
class Language:
    """A table of `statements.toml`, compiled for a domain's nouns. `patterns` keep the order of the table."""

    table: Mapping[str, Any]
    nouns: tuple[str, str]

    def pattern(self, text: str) -> re.Pattern[str]:
        titles, values = ("<[IHOT]\\d+>", "<[HOT]\\d+>"), ("<A\\d+>", "<A\\d+>")
        join = self.table["join"]
        noun = f"(?:{'|'.join(map(re.escape, sorted(self.nouns, key=len, reverse=True)))})"
        text = text.replace("ITEM", rf"<I\d+>|\b(?:{self.table['item']})(?!\w)")
        for name, (first, further) in (("(TITLES)", titles), ("(VALUES)", values)):
            text = text.replace(name, f"(?P<of>{first}(?:{join} ?{further})*)")
        return re.compile(text.replace("NOUN", noun), re.IGNORECASE)

    @cached_property
    def patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(claim, self.pattern(one)) for claim, found in self.table["claims"].items() for one in found]

    @cached_property
    def links(self) -> re.Pattern[str]:
        return self.pattern(self.table["links"])

    @cached_property
    def neutral(self) -> frozenset[str]:
        return frozenset({*self.table["neutral"].split(), *(noun.casefold() for noun in self.nouns)})

    @cached_property
    def neutral_run(self) -> re.Pattern[str]:
        """Neutral phrases of a language without spaces."""
        phrases = sorted(self.neutral, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, phrases)))


@dataclass(frozen=True)
class Name:
    """A stretch of text that means something. `folded`: its case does not matter. `ids`: items of that title."""

    text: str
    kind: str
    folded: bool = False
    ids: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def keys(self) -> str:
        return self.text[:KEY].casefold()


class Judge:
    """Reads reasons in one language. Raises KeyError for a language that `TABLES` lacks."""

    def __init__(
        self, world: GroundTruth, nouns: tuple[str, str], grammar: Grammar, language: str = "en"
    ) -> None:
        self.world, self.grammar = world, grammar
        self.language = Language(TABLES[language], nouns)
        self.noun = nouns[0]
        titled: dict[str, list[str]] = defaultdict(list)
        for item in world.items.values():
            titled[self.shown(item)].append(item.id)
        names = [Name(title, "T", ids=tuple(ids)) for title, ids in titled.items()]
        names += [Name(grammar.localize("attribute", v), "A", True, meaning=v) for v in sorted(world.values)]
        names += [Name(word, "C", True, meaning=time) for word, time in TABLES[language]["time"].items()]
        self.titles_and_words = _indexed(names)

    def shown(self, item: Item) -> str:
        """A title as reasons show it."""
        title = clean_text(item.title, TITLE_LIMIT) or clean_text(f"{self.noun} {item.id}", TITLE_LIMIT)
        return self.grammar.titled(title)

    def statements(self, text: str, known: ReasonFacts, about: Item | None = None) -> list[Statement]:
        """Everything the text states beside the name of its item, in order of reading.

        With `about`, as if the sentence were about that item instead: what would it state then?
        """
        return _SentenceReading(self, text, known, about or known.item).statements()

    def named_values(self, text: str, known: ReasonFacts) -> set[str]:
        """The attribute values that the text names."""
        return {
            name.meaning
            for name in _SentenceReading(self, text, known, known.item).mentions
            if name.kind == "A"
        }

    def valid(self, evidence: Evidence, known: ReasonFacts) -> bool:
        """Whether cited evidence exists: the person liked that item, the item has that attribute, the fact holds."""
        named = self.world.items.get(evidence.item_id or "")
        title = named is not None and self.shown(named) == self.grammar.titled(evidence.text)
        match evidence.kind:
            case "history":
                return title and known.past.get(evidence.item_id or "") is True
            case "co_consumed":
                return title and evidence.item_id in known.past
            case "attribute":
                return evidence.text in values_of(known.item)
            case "profile":  # said without a word of what it holds
                return evidence.text == "your profile"
            case "popularity":
                return self.world.popular(known.item)
            case "wish":
                return bool(known.context.wish) and evidence.text == f'"{clean_text(known.context.wish)}"'
            case "profile":
                return bool(known.profile)
            case "context":
                said = self.statements(self.grammar.localize("context", evidence.text), known)
                return bool(said) and all(one.true for one in said)
        return False

    def names_at(self, text: str, place: int, index: Mapping[str, list[Name]]) -> Iterator[Name]:
        """Names of an index that stand in the text at this place, whole words only."""
        if place and _joined(text, place):
            return
        folded = text[place : place + KEY].casefold()
        for length in range(1, KEY + 1):
            for name in index.get(folded[:length], ()) if len(folded) >= length else ():
                if (length < KEY) == (len(name.text) < KEY) and _stands(name, text, place):
                    yield name


def _indexed(names: Iterable[Name]) -> dict[str, list[Name]]:
    index: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        if name.text:
            index[name.keys].append(name)
    return index


def _joined(text: str, place: int) -> bool:
    """Whether a word goes on over this place."""
    return bool(place < len(text) and _WORD_SIGN.match(text[place - 1]) and _WORD_SIGN.match(text[place]))


def _stands(name: Name, text: str, place: int) -> bool:
    there = text[place : place + len(name.text)]
    same = there.casefold() == name.text.casefold() if name.folded else there == name.text
    if not same and not place:  # a title at the very start may have got a capital
        same = there == name.text[:1].upper() + name.text[1:]
    return same and not _joined(text, place + len(name.text))


class _SentenceReading:
    """One text with its names as marks; `mentions` has what each mark stands for."""

    def __init__(self, judge: Judge, text: str, known: ReasonFacts, about: Item) -> None:
        self.judge, self.known, self.about = judge, known, about
        self.mentions: list[Name] = []
        self.found: list[Statement] = []
        self.spoken: set[int] = set()
        self.masked = self._mask(text)

    def statements(self) -> list[Statement]:
        for sentence in _STOP.split(self.masked):
            self._read(sentence)
        return self.found

    def _say(self, kind: str, text: str, true: bool) -> None:
        self.found.append(Statement(kind, text, true))

    # Names

    def _mask(self, text: str) -> str:
        judge, masked, place, starts = self.judge, "", 0, True
        here = _indexed(self._situation())
        while place < len(text):
            names = [*judge.names_at(text, place, here), *judge.names_at(text, place, judge.titles_and_words)]
            names = [found for name in names if (found := self._seen(name, text, place, starts))]
            sign = text[place]
            if names:
                best = min(names, key=lambda name: (-len(name.text), "WIHOCAT".index(name.kind)))
                masked += f"<{best.kind}{len(self.mentions)}>"
                self.mentions.append(best)
                place += len(best.text)
            else:
                masked += " " if sign in "<>" else sign
                place += 1
            starts = sign in _ENDS or (starts and sign.isspace())
        return masked

    def _situation(self) -> Iterator[Name]:
        """Place, facts and wish of the request, and how far the item is."""
        context, localize = self.known.context, self.judge.grammar.localize
        if context.wish:
            yield Name(f'"{clean_text(context.wish)}"', "W")
        place = context.place
        if place:
            parts = [place.name, place.city, place.state, place.country, *(place.city or "").split(", ")]
            yield from (Name(clean_text(part), "C") for part in dict.fromkeys(parts) if part)
            yield Name(localize("context", f"being in {place.name}"), "C")
        for name, value in context.extra.items():
            yield from (
                Name(clean_text(t), "C", True) for t in (value, localize("context", f"{name} {value}"))
            )
        if self.about.site:
            yield Name(distance_text(self.about.site, context), "C")

    def _seen(self, name: Name, text: str, place: int, starts: bool) -> Name | None:
        """What a name means in this case; None for a title that is no more than words here."""
        if name.kind != "T":
            return name
        known = self.known
        if known.item.id in name.ids:
            return replace(name, kind="I")
        if past := tuple(one for one in name.ids if one in known.past):
            return replace(name, kind="H", ids=past)
        if known.other and known.other.id in name.ids:
            return replace(name, kind="O", ids=(known.other.id,))
        words = name.text.casefold().split()
        plain = starts and self.judge.language.neutral.issuperset(words)
        year = name.text.isdigit() and text[place - 1 : place] == "("
        return None if plain or year else name

    def _items(self, number: int) -> list[Item]:
        """The items that a mark may mean."""
        name = self.mentions[number]
        return [self.about] if name.kind == "I" else [self.judge.world.items[one] for one in name.ids]

    # Claims

    def _read(self, sentence: str) -> None:
        contrasted: set[int] = set()

        for claim, pattern in self.judge.language.patterns:
            read = pattern.sub(partial(self._claimed, claim, contrasted), sentence)
            sentence = re.sub(r" +(?=[ ,.])", "", read)
        self._names(sentence, contrasted)
        self._words(sentence)

    def _claimed(self, claim: str, contrasted: set[int], match: re.Match[str]) -> str:
        """Note what a claim states; what is left of it are the marks that the rest of the sentence may speak of."""
        marks = [int(number) for _, number in _MARK.findall(match.groupdict().get("of") or "")]
        self._claim(claim, match, marks)
        if claim == "contrast":
            contrasted.update(marks)
        gone = claim in ("rare", "disliked", "co_consumed", "wish")
        return " " if gone else " " + " ".join(found[0] for found in _MARK.finditer(match[0])) + " "

    def _claim(self, claim: str, match: re.Match[str], marks: list[int]) -> None:
        known, world = self.known, self.judge.world
        groups = match.groupdict()
        self.spoken.update(marks)
        for number in marks:
            name = self.mentions[number]
            if claim in ("liked", "disliked"):
                wanted = claim == "liked"
                self._say(claim, name.text, any(known.past.get(one) is wanted for one in name.ids))
            if claim == "met" or (claim == "co_consumed" and groups.get("user")):
                self._say("past", name.text, any(one in known.past for one in name.ids))
            if claim == "co_consumed":
                self._say(
                    "co_consumed", name.text, any(world.co_consumed(one, self.about.id) for one in name.ids)
                )
            if claim == "contrast" and name.kind != "I":
                self._say("title", name.text, name.kind == "O")
            if claim == "disliked" and groups.get("common"):
                shared = any(values_of(one) & values_of(self.about) for one in self._items(number))
                self._say("link", name.text, shared)
            if claim == "rare":
                self._say("attribute", name.text, name.meaning in values_of(self.about))
                lately = [values_of(world.items[one]) for one in list(known.past)[-LATELY:]]
                share = sum(name.meaning in values for values in lately) / max(1, len(lately))
                self._say("rare", name.text, share <= RARE_SHARE)
        if claim == "popular":
            self._say("popular", match[0].strip(), world.popular(self.about))
        if claim == "profile":
            self._say("profile", match[0], bool(known.profile))
        if claim == "wish":
            self._say("wish", known.context.wish, bool(known.context.wish))

    def _names(self, sentence: str, contrasted: set[int]) -> None:
        """What is said by naming: an attribute is the item's, and of what it is joined with."""
        marks = [(kind, int(number)) for kind, number in _MARK.findall(sentence)]
        mine, times = values_of(self.about), moment(self.known.context)
        for kind, number in marks:
            name = self.mentions[number]
            if kind == "A":
                self._say("attribute", name.text, name.meaning in mine)
            elif kind == "C":
                self._say(
                    "time" if name.meaning else "place", name.text, not name.meaning or name.meaning in times
                )
            elif kind in "HOT" and number not in self.spoken:
                self._say("past" if kind == "H" else "title", name.text, kind != "T")
        joined = [n for kind, n in marks if kind == "H"] if self.judge.language.links.search(sentence) else []
        for number, value in ((n, v) for kind, v in marks if kind == "A" for n in (*joined, *contrasted)):
            name = self.mentions[value]
            holds = any(name.meaning in values_of(one) for one in self._items(number))
            kind, true = ("contrast", not holds) if number in contrasted else ("link", holds)
            self._say(kind, f"{name.text}: {self.mentions[number].text}", true)

    def _words(self, sentence: str) -> None:
        """Years, numbers, and words that nobody can check: one statement a stretch between names."""
        language, titled, stretch = self.judge.language, -1, list[tuple[str, str]]()
        before = ""
        for token in [*_TOKEN.findall(sentence), "."]:
            mark = _MARK.fullmatch(token)
            if mark or token in _ENDS:
                self._unread(stretch)
                stretch = []
                titled = int(mark[2]) if mark and mark[1] in "IHOT" else titled
            elif token[0].isdigit():
                self._number(token, titled)
            elif re.match(f"[{_CJK}]", token):
                stretch += [("", left) for left in language.neutral_run.sub(" ", token).split()]
            elif token.casefold() not in language.neutral or (before and token != token.casefold()):
                stretch.append((before, token))
            before = token

    def _number(self, token: str, titled: int) -> None:
        told = {one for fact in self.known.context.facts.values() for one in _TOKEN.findall(fact)}
        if token.isdigit() and int(token) in _YEARS and token not in told:
            items = [self.about] if titled < 0 else self._items(titled)
            self._say("year", token, any(str(item.year) == token for item in items))
        else:
            self._say("time" if ":" in token else "number", token, token in told)

    def _unread(self, stretch: list[tuple[str, str]]) -> None:
        if not stretch:
            return
        words = {word.casefold() for _, word in stretch}
        named = [before for before, word in stretch if before and word != word.casefold()]
        kind = "other"
        if words & _PERSON:
            kind = "user"
        elif named:
            kind = "place" if named[0].casefold() in _BEFORE_PLACES else "title"
        self._say(kind, " ".join(word for _, word in stretch), False)
