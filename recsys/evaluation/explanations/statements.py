"""Statements of a finished reason, checked against the store.

The check is independent of the evidence that a reason cites and of the check that accepted it. Titles,
attribute values, times, places and the wish are replaced by marks, the patterns of `statements.toml`
read what is said about them, and each statement is checked against the item's attributes, the person's
interactions, those of others, and the context of the request. Words that no pattern reads and that are
not neutral are a statement without support: false. Statement precision is the share of true statements
(as in FActScore: Min et al., EMNLP 2023).
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts, time_names, values_of
from recsys.explain.evidence import shown_title
from recsys.explain.phrases import YEAR, Fact, Phrases, facts_of
from recsys.explain.relations import WEEKDAYS
from recsys.ranking.facts import distance_text
from recsys.types import Evidence, Item
from recsys.utils.sanitize import clean_text

TABLES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
RARE_SHARE = 0.2  # "little that you chose lately has it": at most this share
LATELY = 30  # "lately": the newest history items
KEY = 4  # characters of an entity by which it is looked up

DAY = 86_400.0
WEEK = 7  # days in which a weekday names one day

_MARK = re.compile(r"<([IHOTACW])(\d+)>")
_ENDS = ".!?\u3002\uff01\uff1f"
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_LETTER = rf"[^\W\d_{_CJK}]"
_TOKEN = re.compile(
    rf"<[IHOTACW]\d+>|{_LETTER}+(?:['\u2019-]{_LETTER}+)*|\d{{1,2}}:\d\d|\d+(?:[.,]\d+)*|[{_CJK}]+|[{_ENDS}]"
)
_WORD_CHARACTER = re.compile(rf"[^\W{_CJK}]")
_STOP = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
_YEARS = range(1850, 2100)
_PERSON = frozenset({"you", "your", "yours", "you're", "yourself"})
_BEFORE_PLACES = frozenset({"in", "near", "around", "from", "at"})
_KIND_ORDER = "WIHOCAT"  # which of several entities of one length is meant
_CONSUMED = (
    "repeat",
    "rare",
    "disliked",
    "co_consumed",
    "wish",
    "named",
)  # claims whose marks are not used again


@dataclass(frozen=True)
class Statement:
    """One thing that a sentence states."""

    # title, past, group, repeat, liked, disliked, relation, attribute, link, contrast, rare, co_consumed,
    # wish, profile, popular, time, place, year, number, user (any other claim about the person), other
    kind: str
    text: str
    true: bool


@dataclass(frozen=True)
class LanguagePatterns:
    """A table of `statements.toml`, compiled for a domain's nouns."""

    table: Mapping[str, Any]
    nouns: tuple[str, ...]

    def compile(self, text: str) -> re.Pattern[str]:
        """Compile a pattern of the table."""
        titles, values = ("<[IHOT]\\d+>", "<[HOT]\\d+>"), ("<[AC]\\d+>", "<[AC]\\d+>")
        join = self.table["join"]
        noun = f"(?:{'|'.join(map(re.escape, sorted(self.nouns, key=len, reverse=True)))})"
        numbers = "|".join(map(re.escape, self.table["counts"]))
        text = text.replace("REPEAT", self.table["repeat"]).replace("NUMBER", rf"(?:\d+|{numbers})")
        text = text.replace("ITEM", rf"<I\d+>|\b(?:{self.table['item']})(?!\w)")
        for name, (first, further) in (("(TITLES)", titles), ("(VALUES)", values)):
            text = text.replace(name, f"(?P<of>{first}(?:{join} ?{further})*)")
        return re.compile(text.replace("NOUN", noun), re.IGNORECASE)

    def aside(self, says: Iterable[str]) -> re.Pattern[str]:
        """Compile what stands after an item's name and says what it is."""
        words = {word for say in says for word in re.findall(r"\w+", say.replace("{value}", " "))}
        words |= {*self.table["aside_words"].split(), *self.nouns}
        word = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
        first, last = self.table["aside"]
        return re.compile(
            rf"(?P<item><I\d+>){first}(?P<aside>(?:<[AC]\d+>|{word}|[ \u3001])+){last}", re.IGNORECASE
        )

    @cached_property
    def claims(self) -> list[tuple[str, re.Pattern[str]]]:
        """(claim, pattern) in the order of the table."""
        return [
            (claim, self.compile(pattern))
            for claim, patterns in self.table["claims"].items()
            for pattern in patterns
        ]

    @cached_property
    def links(self) -> re.Pattern[str]:
        return self.compile(self.table["links"])

    @cached_property
    def neutral(self) -> frozenset[str]:
        return frozenset({*self.table["neutral"].split(), *(noun.casefold() for noun in self.nouns)})

    @cached_property
    def neutral_run(self) -> re.Pattern[str]:
        """Neutral phrases of a language without spaces."""
        phrases = sorted(self.neutral, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, phrases)))


@dataclass(frozen=True)
class Entity:
    """A text with a meaning: a title, an attribute value, a time, a place or the wish."""

    text: str
    kind: str  # letter of its mark: I item, H history, O other, T title, A attribute, C context, W wish
    folded: bool = False  # whether case is ignored
    ids: tuple[str, ...] = ()  # items of that title
    meaning: str = ""  # the value or time that the text stands for

    @property
    def key(self) -> str:
        return self.text[:KEY].casefold()


def _relation_patterns(truth: GroundTruth, language: str) -> Iterator[tuple[str, bool, re.Pattern[str]]]:
    """Yield (relation, whether the item is its head, pattern) of all phrases."""
    marks = {"title": r"\s*<[HOT](?P<title>\d+)>\s*", "value": r"\s*<A(?P<value>\d+)>\s*"}
    for name, edges in truth.relations.edges.items():
        for forward in (True, False):
            if phrase := edges.relation.phrase(language, forward=forward):
                parts = re.split(r"\{(title|value)\}", phrase)  # texts and the names of slots in turn
                pattern = "".join(
                    marks[part] if number % 2 else re.escape(part.strip())
                    for number, part in enumerate(parts)
                )
                yield name, forward, re.compile(pattern, re.IGNORECASE)


class Judge:
    """Reads and checks reasons in one language, a key of `TABLES`."""

    def __init__(self, truth: GroundTruth, phrases: Phrases) -> None:
        self.truth, self.phrases, self.grammar = truth, phrases, phrases.grammar
        language, nouns = phrases.language, phrases.domain_nouns
        self.language = LanguagePatterns(TABLES[language], (*nouns, *phrases.item_noun))
        self.noun = nouns[0]
        self.relations = list(_relation_patterns(truth, language))
        says: dict[str, set[str]] = defaultdict(set)  # words -> the attributes that they say
        for name in {fact.attribute for fact in truth.facts}:
            says[phrases.say(name)].add(name)
        self.says = [
            (names, self.language.compile(re.escape(say).replace(r"\{value\}", " ?(VALUES) ?")))
            for say, names in sorted(says.items(), key=lambda pair: -len(pair[0]))
            if say != "{value}"
        ]
        self.aside = self.language.aside(says)
        quoting = re.escape(self.grammar.table["also"]["passage"]).replace(r"\{passage\}", "{passage}")
        quoted = re.escape(self.grammar.table["quoted"]).replace(r"\{\}", "(?P<passage>.+)")
        self.quotation = re.compile(quoting.replace("{passage}", quoted))
        by_title: dict[str, list[str]] = defaultdict(list)
        for item in truth.items.values():
            by_title[self.title(item)].append(item.id)
        entities = [Entity(title, "T", ids=tuple(ids)) for title, ids in by_title.items()]
        entities += [Entity(value, "A", True, meaning=value) for value in sorted(truth.values)]
        entities += [
            Entity(text, "A", True, meaning=fact.value)
            for fact in sorted(truth.facts)
            for text in (*phrases.texts_of(fact), self.grammar.localize(fact.attribute, fact.value))
        ]
        entities += [Entity(word, "C", True, meaning=time) for word, time in TABLES[language]["time"].items()]
        self.entities = _index(dict.fromkeys(entities))

    def title(self, item: Item) -> str:
        """Return a title as reasons show it."""
        return self.grammar.titled(shown_title(item, self.noun))

    def statements(self, text: str, facts: ReasonFacts, about: Item | None = None) -> list[Statement]:
        """Return everything the text states, except its item's name, in reading order.

        Args:
            text: The sentence as it is shown.
            facts: What the statements are checked against.
            about: Read the sentence as if it were about this item; None: its own.
        """
        return _StatementReader(self, text, facts, about or facts.item).statements()

    def named_values(self, text: str, facts: ReasonFacts) -> set[str]:
        """Return the attribute values that the text names."""
        mentions = _StatementReader(self, text, facts, facts.item).mentions
        return {entity.meaning for entity in mentions if entity.kind == "A"}

    def is_valid(self, evidence: Evidence, facts: ReasonFacts) -> bool:
        """Return whether cited evidence exists: a liked item, an attribute, a fact."""
        if evidence.kind in ("history", "co_consumed", "relation", "group"):
            return self._is_valid_past(evidence, facts)
        match evidence.kind:
            case "passage":
                return evidence.text in clean_text(facts.item.description, len(facts.item.description) + 1)
            case "attribute":
                known = [*facts_of(facts.item), Fact(YEAR, str(facts.item.year))]
                return any(
                    evidence.text == fact.value and evidence.attribute in (None, fact.attribute)
                    for fact in known
                )
            case "profile":  # its content is never shown
                return evidence.text == "your profile"
            case "popularity":
                return self.truth.popular(facts.item)
            case "repeat":
                return evidence.item_id == facts.item.id and bool(facts.times_of(facts.item.id))
            case "wish":
                return bool(facts.context.wish) and evidence.text == f'"{clean_text(facts.context.wish)}"'
        statements = self.statements(self.grammar.localize("context", evidence.text), facts)
        return bool(statements) and all(statement.true for statement in statements)

    def _is_valid_past(self, evidence: Evidence, facts: ReasonFacts) -> bool:
        """Return whether evidence is of items that the person chose and did not dislike."""
        ids = evidence.item_ids or (evidence.item_id or "",)
        if any(item_id not in facts.past for item_id in ids):
            return False
        if evidence.kind != "co_consumed" and any(facts.past[item_id] is False for item_id in ids):
            return False
        cited = self.truth.items[ids[0]]
        if evidence.kind == "relation":
            return any(link.item_id == cited.id for link in self.truth.relations.links(facts.item.id))
        return evidence.kind == "group" or self.title(cited) == self.grammar.titled(evidence.text)

    def entities_at(self, text: str, index: int, entities: Mapping[str, list[Entity]]) -> Iterator[Entity]:
        """Yield the entities in the text at an index, whole words only."""
        if index and _within_word(text, index):
            return
        folded = text[index : index + KEY].casefold()
        for length in range(1, KEY + 1):
            for entity in entities.get(folded[:length], ()) if len(folded) >= length else ():
                if (length < KEY) == (len(entity.text) < KEY) and _occurs(entity, text, index):
                    yield entity


def _words(title: str) -> list[str]:
    """Return the words of a title by which people name it."""
    return [word for word in re.findall(r"\w+", title.casefold()) if len(word) > 2]


def _index(entities: Iterable[Entity]) -> dict[str, list[Entity]]:
    by_key: dict[str, list[Entity]] = defaultdict(list)
    for entity in entities:
        if entity.text:
            by_key[entity.key].append(entity)
    return by_key


def _within_word(text: str, index: int) -> bool:
    """Return whether a word continues across this index."""
    return bool(
        index < len(text) and _WORD_CHARACTER.match(text[index - 1]) and _WORD_CHARACTER.match(text[index])
    )


def _occurs(entity: Entity, text: str, index: int) -> bool:
    span = text[index : index + len(entity.text)]
    same = span.casefold() == entity.text.casefold() if entity.folded else span == entity.text
    if not same and not index:  # the first letter of a sentence is capitalised
        same = span == entity.text[:1].upper() + entity.text[1:]
    return same and not _within_word(text, index + len(entity.text))


class _StatementReader:
    """One text with its entities replaced by marks."""

    def __init__(self, judge: Judge, text: str, facts: ReasonFacts, about: Item) -> None:
        self.judge, self.facts, self.about = judge, facts, about
        self.mentions: list[Entity] = []  # by the number of their mark
        self.read: list[Statement] = []
        self.claimed: set[int] = set()  # marks that a claim is about
        self.said: set[int] = set()  # marks of values that are read
        self.masked = self._mask(self._read_quotation(text))

    def statements(self) -> list[Statement]:
        for sentence in _STOP.split(self.masked):
            self._read(self.judge.aside.sub(self._read_aside, sentence))
        return self.read

    def _add(self, kind: str, text: str, true: bool) -> None:
        self.read.append(Statement(kind, text, true))

    def _read_quotation(self, text: str) -> str:
        """Record a passage that is said to be of the item's description; return the rest."""
        if match := self.judge.quotation.search(text):
            description = clean_text(self.about.description, len(self.about.description) + 1)
            self._add("passage", match["passage"], match["passage"] in description)
            return text[: match.start()] + text[match.end() :]
        return text

    # Entities

    def _mask(self, text: str) -> str:
        judge, masked, index, at_start = self.judge, "", 0, True
        of_request = _index(self._request_entities())
        while index < len(text):
            candidates = (
                *judge.entities_at(text, index, of_request),
                *judge.entities_at(text, index, judge.entities),
            )
            entities = [
                entity for name in candidates if (entity := self._resolve(name, text, index, at_start))
            ]
            character = text[index]
            if entities:
                best = min(entities, key=lambda e: (-len(e.text), _KIND_ORDER.index(e.kind)))
                masked += f"<{best.kind}{len(self.mentions)}>"
                self.mentions.append(best)
                index += len(best.text)
            else:
                masked += " " if character in "<>" else character
                index += 1
            at_start = character in _ENDS or (at_start and character.isspace())
        return masked

    def _request_entities(self) -> Iterator[Entity]:
        """Yield place, facts and wish of the request, and the distance of the item."""
        context, localize = self.facts.context, self.judge.grammar.localize
        if context.wish:
            yield Entity(f'"{clean_text(context.wish)}"', "W")
        place = context.place
        if place:
            parts = [place.name, place.city, place.state, place.country, *(place.city or "").split(", ")]
            yield from (Entity(clean_text(part), "C") for part in dict.fromkeys(parts) if part)
            yield Entity(localize("context", f"being in {place.name}"), "C")
        for name, value in context.extra.items():
            for text in (value, localize("context", f"{name} {value}")):
                yield Entity(clean_text(text), "C", True)
        if self.about.site:
            yield Entity(distance_text(self.about.site, context), "C")

    def _resolve(self, entity: Entity, text: str, index: int, at_start: bool) -> Entity | None:
        """Return what an entity means here; None for a title that is just words."""
        if entity.kind != "T":
            return entity
        facts = self.facts
        if facts.item.id in entity.ids:
            return replace(entity, kind="I")
        if past := tuple(item_id for item_id in entity.ids if item_id in facts.past):
            return replace(entity, kind="H", ids=past)
        if facts.other and facts.other.id in entity.ids:
            return replace(entity, kind="O", ids=(facts.other.id,))
        words = entity.text.casefold().split()
        just_words = at_start and self.judge.language.neutral.issuperset(words)
        year = entity.text.isdigit() and text[index - 1 : index] == "("
        return None if just_words or year else entity

    def _items(self, number: int) -> list[Item]:
        """Return the items that a mark may mean."""
        entity = self.mentions[number]
        if entity.kind == "I":
            return [self.about]
        return [self.judge.truth.items[item_id] for item_id in entity.ids]

    # Claims

    def _read(self, sentence: str) -> None:
        contrasted: set[int] = set()

        for claim, pattern in self.judge.language.claims:
            remaining = pattern.sub(partial(self._replace_claim, claim, contrasted), sentence)
            sentence = re.sub(r" +(?=[ ,.])", "", remaining)
        for name, forward, pattern in self.judge.relations:
            sentence = pattern.sub(partial(self._read_relation, name, forward), sentence)
        for names, pattern in self.judge.says:
            sentence = pattern.sub(partial(self._read_say, names, aside=False), sentence)
        self._read_marks(sentence, contrasted)
        self._read_words(sentence)

    def _replace_claim(self, claim: str, contrasted: set[int], match: re.Match[str]) -> str:
        """Record what a claim states; return the marks that the rest may use."""
        if claim in ("group", "again"):
            self._read_group(match)
            return " "
        if claim == "named":
            self._read_named(match)
            return " "
        marks = [int(number) for _, number in _MARK.findall(match.groupdict().get("of") or "")]
        self.claimed.update(marks)
        for number in marks:
            self._claim_about(claim, match.groupdict(), number)
        self._claim_about_item(claim, match)
        if claim == "contrast":
            contrasted.update(marks)
        if claim in _CONSUMED:
            return " "
        return " " + " ".join(mark[0] for mark in _MARK.finditer(match[0])) + " "

    def _read_aside(self, match: re.Match[str]) -> str:
        """Record what stands after the item's name: it is true of the item alone."""
        said = match["aside"]
        for names, pattern in self.judge.says:
            said = pattern.sub(partial(self._read_say, names, aside=True), said)
        for mark in _MARK.finditer(said):
            self._add_value(int(mark[2]))
        return f"{match['item']} "

    def _read_say(self, names: set[str], match: re.Match[str], *, aside: bool) -> str:
        """Record the values of an attribute of the item; several may be said alike.

        A place of the request is one only after the item's name: "it suits being in Boston" says no area.
        """
        if "<C" in match["of"] and not aside:
            return match[0]
        own = {fact.value for fact in facts_of(self.about) if fact.attribute in names}
        marks = [int(number) for _, number in _MARK.findall(match["of"])]
        for number in marks:
            entity = self.mentions[number]
            self._add("attribute", f"{min(names)}: {entity.text}", self._value(number) in own)
        self.said.update(marks)
        return f" {match['of']} "

    def _add_value(self, number: int) -> None:
        if number not in self.said:
            entity = self.mentions[number]
            self._add("attribute", entity.text, self._value(number) in values_of(self.about))
            self.said.add(number)

    def _has(self, item: Item, said: str) -> bool:
        """Return whether an item has everything that a phrase says of items."""
        facts = facts_of(item)
        for names, pattern in self.judge.says:
            own = {fact.value for fact in facts if fact.attribute in names}
            for match in pattern.finditer(said):
                if not own.issuperset(self._meanings(match["of"])):
                    return False
            said = pattern.sub(" ", said)
        return {fact.value for fact in facts}.issuperset(self._meanings(said))

    def _meanings(self, text: str) -> list[str]:
        return [self._value(int(number)) for _, number in _MARK.findall(text)]

    def _value(self, number: int) -> str:
        """Return the attribute value of a mark; the place of a request may be one too."""
        entity = self.mentions[number]
        return entity.meaning or entity.text

    def _read_group(self, match: re.Match[str]) -> None:
        """Record how many items of the past are said to have something in common."""
        table, items = self.judge.language.table, self.judge.truth.items
        liked = match.groupdict().get("did") in table["liked_words"].split()
        members = {
            item_id
            for item_id, rating in self.facts.past.items()
            if (rating is True if liked else rating is not False) and self._has(items[item_id], match["what"])
        }
        said = match["number"].casefold()
        number = int(said) if said.isdigit() else table["counts"][said]
        self._add("group", match[0].strip(), 0 < number <= len(members))
        for _, mark in _MARK.findall(match["of"]):
            entity = self.mentions[int(mark)]
            self.claimed.add(int(mark))
            self._add("past", entity.text, any(item_id in members for item_id in entity.ids))
        for _, mark in _MARK.findall(match["what"]):
            self._add_value(int(mark))

    def _read_named(self, match: re.Match[str]) -> None:
        """Record that the wish names items, by a word of their titles."""
        wish = self.facts.context.wish.casefold()
        for _, mark in _MARK.findall(match["of"]):
            title = self.mentions[int(mark)].text
            self.claimed.add(int(mark))
            self._add("wish", title, any(word in wish for word in _words(title)))

    def _read_relation(self, name: str, forward: bool, match: re.Match[str]) -> str:
        """Record how the item is said to be related to another."""
        value = self.mentions[int(match["value"])].meaning if "value" in match.groupdict() else ""
        number = int(match["title"])
        pairs = [(self.about.id, item.id) for item in self._items(number)]
        related = self.judge.truth.related
        true = any(related(*(pair if forward else pair[::-1]), name, value) for pair in pairs)
        self.claimed.add(number)
        self._add("relation", f"{name}: {self.mentions[number].text}", true)
        return " "

    def _claim_about(self, claim: str, groups: Mapping[str, str | None], number: int) -> None:
        """Record what a claim states about one mark."""
        entity, past, truth = self.mentions[number], self.facts.past, self.judge.truth
        in_past = any(item_id in past for item_id in entity.ids)
        match claim:
            case "liked" | "disliked":
                expected = claim == "liked"
                self._add(claim, entity.text, any(past.get(item_id) is expected for item_id in entity.ids))
                if common := groups.get("what") or groups.get("own"):
                    theirs = any(self._has(item, common) for item in self._items(number))
                    self._add("link", f"{common}: {entity.text}", theirs and self._has(self.about, common))
            case "chose":
                self._add("past", entity.text, in_past)
                if day := groups.get("weekday"):
                    self.claimed.add(int(day))
                    self._add("time", self.mentions[int(day)].text, self._chosen_on(entity, int(day)))
            case "co_consumed":
                if groups.get("user"):
                    self._add("past", entity.text, in_past)
                together = any(truth.co_consumed(item_id, self.about.id) for item_id in entity.ids)
                self._add("co_consumed", entity.text, together)
            case "contrast":
                if entity.kind != "I":
                    self._add("title", entity.text, entity.kind == "O")
            case "rare":
                self._add("attribute", entity.text, entity.meaning in values_of(self.about))
                self._add("rare", entity.text, self._is_rare(entity.meaning))

    def _chosen_on(self, entity: Entity, day: int) -> bool:
        """Return whether an item was chosen on that weekday, within the last days."""
        now, weekday = self.facts.context.time, self.mentions[day].meaning
        times = [time for id_ in entity.ids for time in self.facts.times_of(id_) if time is not None]
        moments = [dt.datetime.fromtimestamp(time, now.tzinfo) for time in times] if now else []
        return any(now and (now - at).days < WEEK and WEEKDAYS[at.weekday()] == weekday for at in moments)

    def _is_rare(self, value: str) -> bool:
        """Return whether few of the newest history items have an attribute value."""
        newest = [values_of(self.judge.truth.items[item_id]) for item_id in list(self.facts.past)[-LATELY:]]
        return sum(value in values for values in newest) / max(1, len(newest)) <= RARE_SHARE

    def _claim_about_item(self, claim: str, match: re.Match[str]) -> None:
        """Record what a claim states about the item or the request."""
        facts = self.facts
        match claim:
            case "repeat":
                self._read_repeat(match.groupdict())
            case "popular":
                self._add("popular", match[0].strip(), self.judge.truth.popular(self.about))
            case "profile":
                self._add("profile", match[0], bool(facts.profile))
            case "wish":
                self._add("wish", facts.context.wish, bool(facts.context.wish))

    def _read_repeat(self, groups: Mapping[str, str | None]) -> None:
        """Record how often, regularly and lately the item is said to be chosen."""
        times, now = self.facts.times_of(self.about.id), self.facts.context.time
        known = [time for time in times if time is not None]
        true = {"times": len(times)}
        if 1 < len(known) == len(times):
            true["every"] = max(1, round((known[-1] - known[0]) / (len(known) - 1) / DAY))
        if known and now:
            true["ago"] = int((now.timestamp() - known[-1]) / DAY)
        for name, said in groups.items():
            if said is not None and name in ("times", "every", "ago"):
                number = self.judge.language.table["numbers"].get(said)
                stated = int(said) if number is None else number
                self._add("repeat", f"{name}: {said}", true.get(name) == stated)

    def _read_marks(self, sentence: str, contrasted: set[int]) -> None:
        """Record what naming states: attributes are the item's, and linked items'."""
        marks = [(kind, int(number)) for kind, number in _MARK.findall(sentence)]
        times = time_names(self.facts.context)
        for kind, number in marks:
            entity = self.mentions[number]
            if kind == "A":
                self._add_value(number)
            elif kind == "C" and number not in self.claimed | self.said:
                is_time = bool(entity.meaning)
                self._add("time" if is_time else "place", entity.text, not is_time or entity.meaning in times)
            elif kind in "HOT" and number not in self.claimed:
                self._add("past" if kind == "H" else "title", entity.text, kind != "T")
        has_link = self.judge.language.links.search(sentence)
        linked = [number for kind, number in marks if kind == "H"] if has_link else []
        for value in (number for kind, number in marks if kind == "A"):
            for number in (*linked, *contrasted):
                self._read_link(value, number, number in contrasted)

    def _read_link(self, value: int, number: int, contrasted: bool) -> None:
        """Record that an item has an attribute, or where it is contrasted, lacks it."""
        entity = self.mentions[value]
        holds = any(entity.meaning in values_of(item) for item in self._items(number))
        kind, true = ("contrast", not holds) if contrasted else ("link", holds)
        self._add(kind, f"{entity.text}: {self.mentions[number].text}", true)

    def _read_words(self, sentence: str) -> None:
        """Record years, numbers, and a statement per stretch of unreadable words."""
        language, titled, stretch = self.judge.language, -1, list[tuple[str, str]]()
        before = ""
        for token in [*_TOKEN.findall(sentence), "."]:
            mark = _MARK.fullmatch(token)
            if mark or token in _ENDS:
                self._read_stretch(stretch)
                stretch = []
                titled = int(mark[2]) if mark and mark[1] in "IHOT" else titled
            elif token[0].isdigit():
                self._read_number(token, titled)
            elif re.match(f"[{_CJK}]", token):
                stretch += [("", word) for word in language.neutral_run.sub(" ", token).split()]
            elif token.casefold() not in language.neutral or (before and token != token.casefold()):
                stretch.append((before, token))
            before = token

    def _read_number(self, token: str, titled: int) -> None:
        """Record a number: the year of the title before it, or a number of the context."""
        in_context = {word for fact in self.facts.context.facts.values() for word in _TOKEN.findall(fact)}
        if token.isdigit() and int(token) in _YEARS and token not in in_context:
            items = [self.about] if titled < 0 else self._items(titled)
            self._add("year", token, any(str(item.year) == token for item in items))
        else:
            self._add("time" if ":" in token else "number", token, token in in_context)

    def _read_stretch(self, stretch: list[tuple[str, str]]) -> None:
        """Record a false statement for (word before, word) pairs that no pattern reads."""
        if not stretch:
            return
        words = {word.casefold() for _, word in stretch}
        before_names = [before for before, word in stretch if before and word != word.casefold()]
        kind = "other"
        if words & _PERSON:
            kind = "user"
        elif before_names:
            kind = "place" if before_names[0].casefold() in _BEFORE_PLACES else "title"
        self._add(kind, " ".join(word for _, word in stretch), False)
