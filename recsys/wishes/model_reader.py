"""The model as a reader: a wish and the schema of its domain, to conditions.

What the model writes is linked to the catalogue as the words of a wish are. It says what is asked for, never
how much: a condition is a must only where words of the wish say so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, get_args

from recsys.config.attributes import AttributeType
from recsys.engine.base import Engine, GenerationRequest, Tokenizer
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.prompting.parsing import parse_json
from recsys.types import ConditionOperator, Item, WishCondition
from recsys.utils.bounded import make_room
from recsys.wishes.language import CueKind, language
from recsys.wishes.lexicon import Lexicon
from recsys.wishes.query import TypedQuery
from recsys.wishes.reader import NOTHING, Beside, ReadsWishes
from recsys.wishes.scope import item_called
from recsys.wishes.tokens import clean, phrase_of, tokens_of

TEMPLATE = "read/wish"
MAX_TOKENS = 80  # of an answer; most have 10 to 40
SHOWN_VALUES = 20  # an attribute with more is shown by some
SOME_VALUES = 3
LISTED_VALUES = 400  # an attribute with more has names, which are written freely
MAX_WISH = 300  # characters that the model is shown
KEPT = 1000  # answers that are kept
_BOUND = re.compile(r"(<=|>=|<|>)?(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")
_BOUND_PATTERN = r"^((<=|>=|<|>)?\d{1,6}(\.\d{1,2})?|\d{1,6}-\d{1,6})$"
_CHOICES = ("category", "list", "flag")
_AMOUNTS = ("number", "money", "duration", "year")

Ask = Callable[[str], str | None]
"""From a wish to what the model writes; None without an engine."""


@dataclass(frozen=True)
class ShownAttribute:
    """An attribute as the model is told of it."""

    name: str
    about: str  # "Comedy, Drama", "minutes"
    values: tuple[str, ...] = ()  # all there are; () for amounts and names
    is_amount: bool = False


@dataclass(frozen=True)
class ReadingTask:
    """What the model is asked in one domain, and what its answers mean."""

    lexicon: Lexicon
    prompts: PromptLibrary

    @cached_property
    def attributes(self) -> tuple[ShownAttribute, ...]:
        """The attributes, in the order of answers."""
        names = dict.fromkeys((*self.lexicon.domain.attribute_names, *self.lexicon.kinds))
        shown = (self._shown(name) for name in names)
        return tuple(one for one in shown if one is not None)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""
        schemas = {one.name: _value_schema(one) for one in self.attributes}
        choices = {one.name: schemas[one.name] for one in self.attributes if not one.is_amount}
        title = {"type": "string", "maxLength": 60}
        return _object(
            {
                **schemas,
                "not": _object(choices),
                "like": {"type": "array", "items": title, "minItems": 1, "maxItems": 2},
            }
        )

    def render(self, wishes: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> RenderedPrompt:
        """Render the prompts of some wishes, which have all but their ends in common."""
        variables = {"noun": self.lexicon.domain.noun, "attributes": self.attributes}
        suffixes = [{"wish": wish[:MAX_WISH]} for wish in wishes]
        return self.prompts.render(TEMPLATE, tokenizer, variables, suffixes, max_tokens=max_tokens)

    def ask(self, engine: Engine, wish: str) -> str:
        """Return what the model writes for a wish. Raises EngineError, PromptError."""
        prompt = self.render([wish], engine.tokenizer, engine.max_model_len - MAX_TOKENS)
        request = GenerationRequest(prompt.token_ids, max_tokens=MAX_TOKENS, schemas=[self.schema])
        return engine.generate(request)[0].text

    def read(self, wish: str, answer: str) -> TypedQuery:
        """Return what an answer says, of what is known in the catalogue."""
        parsed, _ = parse_json(answer)
        written: Mapping[str, Any] = parsed if isinstance(parsed, dict) else {}
        unwanted = written.get("not")
        said = _said(wish)
        conditions = [
            condition
            for one in self.attributes
            for condition in (
                *self._conditions(one, written.get(one.name), said, wanted=True),
                *self._conditions(
                    one, unwanted.get(one.name) if isinstance(unwanted, dict) else None, said, wanted=False
                ),
            )
        ]
        like = tuple(item.id for title in _texts(written.get("like")) for item in self._items(title))
        return TypedQuery(tuple(dict.fromkeys(conditions)), like)

    def _shown(self, name: str) -> ShownAttribute | None:
        kind = self.lexicon.domain.attributes.get(name)
        if self.lexicon.kinds.get(name) in _AMOUNTS:
            return ShownAttribute(name, unit_of(kind) or "number", is_amount=True)
        counts = self.lexicon.counts.get(name)
        if not counts or (kind is not None and kind.type not in _CHOICES):
            return None
        common = [value for value, _ in counts.most_common()]
        shown = ", ".join(common if len(common) <= SHOWN_VALUES else [*common[:SOME_VALUES], "..."])
        return ShownAttribute(name, shown, tuple(common) if len(common) <= LISTED_VALUES else ())

    def _conditions(
        self, attribute: ShownAttribute, written: Any, said: frozenset[CueKind], *, wanted: bool
    ) -> Iterable[WishCondition]:
        name = attribute.name
        rather = bool(said & {"soft", "soft_after"})
        if attribute.is_amount:
            hard = bool(said & {"before", "after", "between", "nothing_but"}) and not rather
            for operator, bound in _bounds(written):
                yield WishCondition(
                    attribute=name, operator=operator, values=(bound,), hard=hard, rather=rather
                )
            return
        if not wanted and not said & {"negation", "negation_once", "negation_after"}:
            return
        hard = (not wanted or "nothing_but" in said) and not rather
        for text in _texts(written):
            if values := self._linked(attribute, text):
                yield WishCondition(attribute=name, values=values, wanted=wanted, hard=hard, rather=rather)

    def _linked(self, attribute: ShownAttribute, text: str) -> tuple[str, ...]:
        """Return the values that a text names."""
        if text in attribute.values:
            return (text,)
        phrase = phrase_of(text)
        tables = (self.lexicon.values, self.lexicon.parts)
        named = [one for table in tables if (found := table.get(phrase)) for one in found.alternatives]
        return next((one.values for one in named if one.attribute == attribute.name), ())

    def _items(self, title: str) -> tuple[Item, ...]:
        items = self.lexicon.titles.get(phrase_of(title))
        return (item_called(title, items),) if items else ()


@dataclass
class ModelAnswers:
    """Answers of one engine, kept. Safe to share between threads."""

    task: ReadingTask
    _kept: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def ask(self, engine: Engine, wish: str) -> str:
        """Return what the model writes, or wrote before; raises as `ReadingTask.ask`."""
        key = f"{engine.model}@{engine.adapter}", self.task.prompts.get(TEMPLATE).hash, wish
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept[key] = self._kept.pop(key)  # the latest used comes last
                return known
        answer = self.task.ask(engine, wish)
        with self._lock:
            make_room(self._kept, KEPT)
            self._kept[key] = answer
        return answer


@dataclass(frozen=True)
class JointReader:
    """The dictionary first; the model for what it does not know, or for all of a wish."""

    dictionary: ReadsWishes
    task: ReadingTask
    ask: Ask
    only_rest: bool = True

    @property
    def lexicon(self) -> Lexicon:
        """What words may name."""
        return self.dictionary.lexicon

    def read(self, wish: str, beside: Beside = NOTHING) -> TypedQuery:
        """Read a wish as `WishReader.read`."""
        known = self.dictionary.read(wish, beside)
        if not self.only_rest:
            return self._by_model(wish, known)
        if not known.rest:
            return known
        if (answer := self.ask(known.rest)) is None:
            return dataclasses.replace(known, without_model=True)
        taken = {one.attribute for one in known.conditions}
        read = self.task.read(known.rest, answer)
        new = [one for one in read.conditions if one.wanted and one.attribute not in taken]
        if not new:
            return known
        further = tuple(one.model_copy(update={"hard": False, "rather": True}) for one in new)
        return _told(dataclasses.replace(known, conditions=(*known.conditions, *further)))

    def _by_model(self, wish: str, known: TypedQuery) -> TypedQuery:
        """Take the model's conditions; the dictionary's where it says nothing."""
        if known.anything:
            return known
        if (answer := self.ask(wish)) is None:
            return dataclasses.replace(known, without_model=True)
        if not (read := self.task.read(wish, answer)).conditions:
            return known
        like = tuple(dict.fromkeys((*known.like, *read.like)))
        return _told(dataclasses.replace(known, conditions=read.conditions, like=like))


def _told(query: TypedQuery) -> TypedQuery:
    """Return the query where the words left are read, and searched for too."""
    topic = " ".join(filter(None, (query.topic, query.rest)))
    return dataclasses.replace(query, topic=topic, rest="", anything=False)


def unit_of(kind: AttributeType | None) -> str:
    """Return the unit of an attribute's amounts; "" for a bare number."""
    if kind is None:
        return ""
    return kind.span if kind.type == "duration" else kind.unit or kind.currency or ""


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _value_schema(attribute: ShownAttribute) -> dict[str, Any]:
    if attribute.is_amount:
        return {"type": "string", "pattern": _BOUND_PATTERN}
    value: dict[str, Any] = {"type": "string", "maxLength": 40}
    if attribute.values:
        value = {"enum": list(attribute.values)}
    return {"type": "array", "items": value, "minItems": 1, "maxItems": 3}


def _said(wish: str) -> frozenset[CueKind]:
    """Return what the words of a wish do, whatever they do it to."""
    tokens = tokens_of(clean(wish))
    found = (language().cues.longest(tokens, position) for position in range(len(tokens)))
    return frozenset(cue.kind for one in found if one is not None for cue in one[1])


def _texts(written: Any) -> list[str]:
    return [text for text in written if isinstance(text, str)] if isinstance(written, list) else []


def _bounds(written: Any) -> Iterable[tuple[ConditionOperator, str]]:
    match = _BOUND.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        return
    sign, low, high = match.groups()
    if high is not None:
        yield from ((">=", low), ("<=", high))
        return
    yield next((one for one in get_args(ConditionOperator) if one == sign), "is"), low
