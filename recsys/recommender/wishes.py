"""A wish that was read, applied to a query: musts, order, what is relaxed."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from recsys.config import Domain
from recsys.config.wishes import ReaderName
from recsys.data.catalog import Catalog
from recsys.engine import Engine
from recsys.errors import EngineError, MissingDependency, ModelError, RequestError
from recsys.explain.evidence import AskedFor
from recsys.explain.phrases import YEAR, Fact, facts_of
from recsys.knowledge.rules import CheckedRule, RuleBook
from recsys.prompting.library import PromptLibrary
from recsys.types import Candidate, Conversation, Filter, HistoryEntry, Item, Understood, WishCondition
from recsys.wishes.followups import Turn, examples_of, next_turn
from recsys.wishes.linking import LinkingReader
from recsys.wishes.model_reader import JointReader, ModelAnswers, ReadingTask
from recsys.wishes.query import TypedQuery, describe, expression_of, words_of_condition
from recsys.wishes.reader import Beside, ReadsWishes, WishReader
from retrieval import Embedder, HybridRetriever, Query
from retrieval.arrays import BoolArray
from retrieval.channels.text import TextChannel
from retrieval.table import Condition, ItemRows

_readers: WeakKeyDictionary[Catalog, tuple[Domain, WishReader]] = WeakKeyDictionary()
_linking: WeakKeyDictionary[Catalog, tuple[Embedder, LinkingReader]] = WeakKeyDictionary()
_answers: WeakKeyDictionary[WishReader, tuple[PromptLibrary, ModelAnswers]] = WeakKeyDictionary()

Key = tuple[float, ...]

MANY_PREFERENCES = 3
"""With more, candidates are not asked for at every number of them that is kept."""


def reader_of(domain: Domain, catalog: Catalog) -> WishReader:
    """Return the dictionary reader of a domain's items, built once for a catalogue."""
    known = _readers.get(catalog)
    if known is None or known[0] is not domain:
        known = domain, WishReader(domain, catalog)
        _readers[catalog] = known
    return known[1]


def linking_reader(domain: Domain, catalog: Catalog, retriever: HybridRetriever) -> ReadsWishes:
    """Return the dictionary, with the nearest values where texts are embedded."""
    dictionary, text = reader_of(domain, catalog), retriever.state.channels.get("text")
    if not isinstance(text, TextChannel):
        return dictionary
    known = _linking.get(catalog)
    if known is None or known[0] is not text.embedder or known[1].dictionary is not dictionary:
        known = text.embedder, LinkingReader(dictionary, text.embedder.embed)
        _linking[catalog] = known
    return known[1]


def model_reader(
    without_model: ReadsWishes,
    catalog: Catalog,
    prompts: PromptLibrary,
    name: ReaderName,
    engine: Callable[[], Engine],
) -> ReadsWishes:
    """Return what reads wishes; an engine is started only where the model is asked."""
    if name not in ("both", "model"):
        return without_model
    answers = _answers_of(reader_of(without_model.lexicon.domain, catalog), prompts)

    def ask(wish: str) -> str | None:
        try:
            return answers.ask(engine(), wish)
        except (EngineError, ModelError, MissingDependency):
            return None

    return JointReader(without_model, answers.task, ask, name == "both")


def reading_task(domain: Domain, catalog: Catalog, prompts: PromptLibrary) -> ReadingTask:
    """Return what the model is asked where it reads."""
    return _answers_of(reader_of(domain, catalog), prompts).task


def _answers_of(dictionary: WishReader, prompts: PromptLibrary) -> ModelAnswers:
    known = _answers.get(dictionary)
    if known is None or known[0] is not prompts:
        known = prompts, ModelAnswers(ReadingTask(dictionary.lexicon, prompts))
        _answers[dictionary] = known
    return known[1]


@dataclass(frozen=True)
class ReadWish:
    """A wish as conditions that this domain can ask of its items."""

    typed: TypedQuery
    asked: TypedQuery  # before anything was relaxed
    understood: Understood
    plain: tuple[CheckedRule, ...] = ()
    preferences: tuple[CheckedRule, ...] = ()
    orders: tuple[tuple[Callable[[Item], float | None], int], ...] = ()  # and 1 or -1
    asked_for: tuple[tuple[CheckedRule, str], ...] = ()  # all but preferences, each with its words
    rejected: tuple[str, ...] = ()  # ids that the conversation turned down
    alike: tuple[frozenset[tuple[str, str]], ...] = ()  # what the items named as examples have

    def key(self, item: Item) -> Key:
        """Return what items are ordered by before their score: lower comes first."""
        by_amount = tuple(
            np.inf if (amount := of(item)) is None else sign * amount for of, sign in self.orders
        )
        plain, kept = (sum(rule.passes(item) for rule in rules) for rules in (self.plain, self.preferences))
        return (-float(plain), -float(kept), *by_amount, -self._likeness(item))

    def not_met(self, item: Item) -> list[str]:
        """Return what was asked for and an item does not meet, in words; no preferences."""
        return [words for rule, words in self.asked_for if not rule.passes(item)]

    def told_of(self, items: Iterable[Item]) -> AskedFor:
        """Return which facts of items the wish asks for, and the items that it names."""
        return AskedFor({item.id: self._asked_of(item) for item in items}, frozenset(self.typed.like))

    def _asked_of(self, item: Item) -> list[Fact]:
        typed, rules = self.typed, [*(rule for rule, _ in self.asked_for), *self.preferences]
        conditions = (*typed.hard, *typed.plain, *typed.preferences)
        met = [one for one, rule in zip(conditions, rules, strict=True) if one.wanted and rule.passes(item)]
        return list(dict.fromkeys(fact for one in (*met, *self.typed.orders) for fact in _asked(one, item)))

    def _likeness(self, item: Item) -> float:
        own = _features(item, {name for example in self.alike for name, _ in example})
        shares = [len(own & example) / len(own | example) for example in self.alike if own | example]
        return max(shares, default=0.0)


@dataclass(frozen=True)
class WishWorld:
    """What a wish is read and checked with."""

    domain: Domain
    catalog: Catalog
    book: RuleBook
    table: ItemRows
    gates: Sequence[Condition] = ()  # what the domain's rules let through, of which nothing is relaxed
    reader: ReadsWishes | None = None  # None: the dictionary


def apply_wish(
    wish: str, query: Query, n: int, world: WishWorld, conversation: Conversation | None = None
) -> tuple[Query, ReadWish]:
    """Return the query of a wish, and how the wish was read.

    Args:
        wish: In plain words.
        query: The query without the wish.
        n: How many items are retrieved.
        world: What it is read with.
        conversation: What was asked before; the wish is then a follow-up.

    Raises:
        RequestError: A condition of the conversation is none of this domain.
    """
    domain, catalog, table = world.domain, world.catalog, world.table
    reader = world.reader or reader_of(domain, catalog)
    today = (query.context.time or dt.datetime.now(dt.UTC)).date()
    if conversation:
        turn = next_turn(wish, conversation, reader, catalog, today)
    else:
        turn = Turn(reader.read(wish, Beside(today=today)))
    asked = typed = turn.query
    examples = examples_of(typed.like, catalog)
    query = dataclasses.replace(
        query,
        wish=_searched(typed, wish),
        history=(*query.history, *(HistoryEntry(item=item, liked=True) for item in examples)),
        exclude=query.exclude.union(typed.like, turn.rejected),
    )
    check = _checker(domain, world.book)

    def fits(conditions: Sequence[WishCondition]) -> bool:
        masks = (*query.conditions, *world.gates, *map(check, conditions))
        return bool(table.allowed(query.filter, query.exclude, masks).any())

    typed, relaxed = relax(typed, fits)
    names = {item.id: item.name for item in examples}
    read = ReadWish(
        typed,
        asked,
        describe(typed, domain, names, relaxed),
        asked_for=tuple((check(one), words_of_condition(one, domain)) for one in (*typed.hard, *typed.plain)),
        rejected=turn.rejected,
        plain=tuple(map(check, typed.plain)),
        preferences=tuple(map(check, typed.preferences)),
        orders=tuple(
            (_amount_of(reader, one.attribute), 1 if one.operator == "lowest" else -1) for one in typed.orders
        ),
        alike=tuple(_features(item, domain.ranker.attributes) for item in examples),
    )
    query = dataclasses.replace(query, wished=tuple(map(check, typed.hard)))
    return _with_preferred(query, read, n, table), read


def _searched(typed: TypedQuery, wish: str) -> str:
    """Return what texts are compared with: all of a wish that names nothing."""
    read = typed.conditions or typed.like or typed.unwanted_rest or typed.anything
    return " ".join(filter(None, (typed.topic, typed.rest))) if read else wish


def preferred_first(
    order: Iterable[int], candidates: Sequence[Candidate], read: ReadWish | None
) -> list[int]:
    """Return positions as a wish orders their items; ties keep their order."""
    if read is None:
        return list(order)
    return sorted(order, key=lambda position: read.key(candidates[position].item))


def wished_scores(
    scores: Sequence[float], candidates: Sequence[Candidate], read: ReadWish | None
) -> tuple[float, ...]:
    """Scale scores so that they fall in the order of a wish; their sum stays.

    Candidates that keep as much of it keep their proportions. Those that keep less are scaled down until the
    best of them has no more than the last that keeps more.
    """
    if read is None or not candidates:
        return tuple(scores)
    tiers: dict[Key, list[int]] = {}
    for position, candidate in enumerate(candidates):
        tiers.setdefault(read.key(candidate.item), []).append(position)
    scaled, least = list(scores), np.inf
    for _, positions in sorted(tiers.items()):
        best = max(scores[position] for position in positions)
        factor = min(1.0, least / best) if best else 1.0
        for position in positions:
            scaled[position] = scores[position] * factor
        least = min(scaled[position] for position in positions)
    total = sum(scaled)
    return tuple(score * sum(scores) / total for score in scaled) if total else tuple(scaled)


def relax(
    typed: TypedQuery, fits: Callable[[Sequence[WishCondition]], bool]
) -> tuple[TypedQuery, tuple[WishCondition, ...]]:
    """Turn what was asked for into preferences, one at a time, until something fits.

    Musts that hold for no item together are relaxed among themselves, then what was said plainly.
    Bounds come first, then values, then what is not wanted; of alike ones the last of the wish. The
    first one without which something fits is relaxed; if there is none, the first of all, and so on.
    """
    relaxed: list[WishCondition] = []
    while typed.hard and not fits(typed.hard):
        relaxed.append(_least(typed.hard, (), fits))
        typed = typed.relaxed(relaxed[-1])
    while typed.plain and not fits((*typed.hard, *typed.plain)):
        relaxed.append(_least(typed.plain, typed.hard, fits))
        typed = typed.relaxed(relaxed[-1])
    return typed, tuple(relaxed)


def _least(
    conditions: Sequence[WishCondition],
    others: Sequence[WishCondition],
    fits: Callable[[Sequence[WishCondition]], bool],
) -> WishCondition:
    """Return the condition to give up first."""
    waiting = list(reversed(conditions))
    waiting.sort(key=_importance)
    alone = (one for one in waiting if fits((*others, *(two for two in conditions if two != one))))
    return next(alone, waiting[0])


def _importance(condition: WishCondition) -> int:
    return 2 if not condition.wanted else 0 if condition.operator != "is" else 1


def _with_preferred(query: Query, read: ReadWish, n: int, table: ItemRows) -> Query:
    """Ask only for the first `n` items in the order of the wish, ties included."""
    allowed = query.allowed(table)
    if read.orders or read.alike:
        first: Condition = _Among(_first(allowed, read, n, table))
    elif read.plain or read.preferences:
        preferred = tuple((_Keeping(read.plain, read.preferences, level), n) for level in _levels(read))
        return dataclasses.replace(query, preferred=preferred)
    else:
        return query
    return dataclasses.replace(query, wished=(*query.wished, first))


def _levels(read: ReadWish) -> list[int]:
    """Return how much items may keep, most first; of many preferences some steps."""
    most = len(read.preferences)
    kept = {most, most // 2, 0} if most > MANY_PREFERENCES else range(most + 1)
    levels = (plain * (most + 1) + one for plain in range(len(read.plain) + 1) for one in kept)
    return sorted(filter(None, levels), reverse=True)


@dataclass(frozen=True)
class _Keeping:
    """That an item keeps enough: a plain condition counts more than all preferences."""

    plain: tuple[CheckedRule, ...]
    preferences: tuple[CheckedRule, ...]
    least: int
    made_once: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """What its decisions depend on, beside the items."""
        return self.plain, self.preferences, self.least

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of an item that it reads."""
        rules = (*self.plain, *self.preferences)
        return tuple(dict.fromkeys(name for rule in rules for name in rule.of_item))

    def read(self, item: Item) -> tuple[object, ...]:
        """Return what it reads of an item."""
        fields = (*self.plain, *self.preferences)[0].fields
        return tuple(fields.raw(item, name, {}) for name in self.reads)

    def passes(self, item: Item) -> bool:
        """Return whether an item keeps enough."""
        plain, kept = (sum(rule.passes(item) for rule in rules) for rules in (self.plain, self.preferences))
        return plain * (len(self.preferences) + 1) + kept >= self.least


@dataclass(frozen=True)
class _Among:
    """That an item is one of some."""

    ids: frozenset[str]
    made_once: bool = True

    @property
    def key(self) -> frozenset[str]:
        """What its decisions depend on, beside the items."""
        return self.ids

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of an item that it reads."""
        return ("id",)

    def read(self, item: Item) -> str:
        """Return what it reads of an item."""
        return item.id

    def passes(self, item: Item) -> bool:
        """Return whether an item is one of them."""
        return item.id in self.ids


def _first(allowed: BoolArray, read: ReadWish, n: int, table: ItemRows) -> frozenset[str]:
    """Return the ids of the first items in the order of the wish, ties included."""
    items = [table.items[row] for row in np.flatnonzero(allowed).tolist()]
    keys = sorted((read.key(item), item.id) for item in items)
    if len(keys) <= n:
        return frozenset(item_id for _, item_id in keys)
    last = keys[n - 1][0]
    return frozenset(item_id for key, item_id in keys if key <= last)


def _checker(domain: Domain, book: RuleBook) -> Callable[[WishCondition], CheckedRule]:
    def check(condition: WishCondition) -> CheckedRule:
        try:
            text = expression_of(condition, domain)
        except (ValueError, IndexError, OverflowError):
            raise RequestError(
                f"'{', '.join(condition.values)[:60]}' is no value of {condition.attribute[:60]}",
                hint="send conditions as an answer has them",
            ) from None
        return book.of_filter(Filter(expressions=(text,)))[0]

    return check


def _amount_of(reader: ReadsWishes, attribute: str) -> Callable[[Item], float | None]:
    return lambda item: reader.lexicon.amount_of(item, attribute)


def _features(item: Item, names: Sequence[str] | set[str] | None) -> frozenset[tuple[str, str]]:
    return frozenset(
        (name, value)
        for name, values in item.attributes.items()
        if names is None or name in names
        for value in values
    )


def _asked(condition: WishCondition, item: Item) -> list[Fact]:
    """Return the facts of an item that a condition is about."""
    name = condition.attribute
    if name not in item.attributes:
        return [Fact(YEAR, str(item.year))] if name == YEAR and item.year else []
    facts = [fact for fact in facts_of(item) if fact.attribute == name]
    named = [fact for fact in facts if fact.value in condition.values]
    return named or facts
