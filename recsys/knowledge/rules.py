"""Rules of a domain: checked when loaded, asked about items in each request.

A `forbid` or `require` holds in every answer, whatever ranked it; the other kinds order the list:
`recsys.knowledge.reordering`. An expression that names `other` is about two items of one list, and is
asked in both orders.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from recsys.config import Domain, Rule
from recsys.config.domain import RULES_FILE
from recsys.config.knowledge import MAX_EXPRESSION
from recsys.errors import ConfigError, RequestError
from recsys.knowledge.expressions import Expression, Related, Vocabulary, WrongExpression
from recsys.knowledge.fields import OF_THE_HISTORY, Fields, Moment
from recsys.knowledge.limits import Limit
from recsys.knowledge.saying import ALWAYS_SAID, unknown_names
from recsys.types import Filter, Item
from recsys.utils.bounded import make_room

MAX_REMEMBERED = 200_000  # decisions about values of items that a rule keeps for each kind of request
MAX_REQUESTS = 64  # kinds of requests, by the values that a rule reads of them
MAX_EXPRESSIONS = 20  # of one filter
MAX_FILTERS = 256  # checked expressions of filters that are kept


@dataclass(frozen=True, eq=False)
class CheckedRule:
    """A rule, or a filter's condition, whose expression fits the domain."""

    rule: Rule
    expression: Expression
    fields: Fields
    vocabulary: Vocabulary
    _remembered: dict[tuple[str, ...], dict[Any, bool | None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What answers call it."""
        return self.rule.name

    @cached_property
    def of_item(self) -> tuple[str, ...]:
        """The fields of `item` that it reads; "" is the item itself."""
        return _fields_of("item", self.expression)

    @cached_property
    def of_other(self) -> tuple[str, ...]:
        """The fields of `other` that it reads."""
        return _fields_of("other", self.expression)

    @property
    def of_pairs(self) -> bool:
        """Whether it is about two items of one list."""
        return bool(self.of_other)

    @cached_property
    def fixed(self) -> bool:
        """Whether it reads an item alone, so that its decision is always the same."""
        return not self.of_pairs and self.of_request == ()

    def leaves_out(self, holds: bool | None) -> bool:
        """Return whether a hard rule leaves an item out whose expression is so.

        Of a soft rule: whether it is not about the item.
        """
        if holds is None:
            return self.rule.missing != "allow"
        return holds == (self.rule.do == "forbid")

    @property
    def key(self) -> CheckedRule:
        """What its decisions depend on, beside the items."""
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of an item that it reads."""
        return self.of_item

    @property
    def made_once(self) -> bool:
        """Whether it decides alike in all requests: that it is fixed."""
        return True

    def read(self, item: Item) -> Hashable:
        """Return what it reads of an item; without what depends on the person."""
        read: Hashable = self.key_of({name: self.fields.raw(item, name, {}) for name in self.of_item})
        return read

    @cached_property
    def of_request(self) -> tuple[str, ...] | None:
        """The names it reads beside the item's; None if it changes all the time."""
        names = {name for name in self.expression.names if name.partition(".")[0] not in ("item", "other")}
        changing = self.expression.asks_relations or {"now", "history"} & names
        of_history = set(OF_THE_HISTORY).intersection((*self.of_item, *self.of_other))
        return None if changing or of_history else tuple(sorted(names))

    @cached_property
    def key_of(self) -> Callable[[Mapping[str, Any]], Any]:
        """Returns what it reads of an item, from what all rules read of it."""
        return _picker(self.of_item)

    @cached_property
    def key_of_other(self) -> Callable[[Mapping[str, Any]], Any]:
        """Returns what it reads of the other item."""
        return _picker(self.of_other)

    def decisions(self, values: Mapping[str, Any]) -> dict[Any, bool | None]:
        """Return what it decided in requests with these values, by what it reads of items."""
        if self.of_request is None:
            return {}
        request = tuple(repr(values.get(name)) for name in self.of_request)
        known = self._remembered.get(request)
        if known is None or len(known) >= MAX_REMEMBERED:
            make_room(self._remembered, MAX_REQUESTS)
            known = self._remembered[request] = {}
        return known

    def passes(self, item: Item) -> bool:
        """Return whether a fixed rule lets an item through, or a soft one is about it."""
        decided = self.decisions({})
        key = self.read(item)
        if key not in decided:
            values = item_values(self.fields, "item", self.of_item, item, {})
            decided[key] = self.expression.holds(self.vocabulary.activation(values))
        return not self.leaves_out(decided[key])


@dataclass(frozen=True)
class BoundRule:
    """A rule with the values that it reads of one request."""

    rule: CheckedRule
    values: tuple[str, ...]
    gate: Gate

    @property
    def key(self) -> tuple[CheckedRule, tuple[str, ...]]:
        """What its decisions depend on, beside the items."""
        return self.rule, self.values

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of an item that it reads."""
        return self.rule.of_item

    @property
    def made_once(self) -> bool:
        """Whether it decides alike in all requests."""
        return False

    def read(self, item: Item) -> Hashable:
        """Return what it reads of an item."""
        return self.rule.read(item)

    def passes(self, item: Item) -> bool:
        """Return whether it lets an item through."""
        return not self.rule.leaves_out(self.gate.decided(self.rule, self.read(item), item))


class RuleBook:
    """The rules of a domain.

    Raises:
        ConfigError: An expression is wrong; with its place in the file.
    """

    def __init__(self, domain: Domain) -> None:
        self.fields = Fields(domain)
        inverses = (relation.inverse for relation in domain.relations.values())
        relations = [*domain.relations, *filter(None, inverses)]
        self.vocabulary = Vocabulary(self.fields.kinds(), relations)
        self.rules = tuple(self._checked(rule, domain.folder) for rule in domain.rules)
        self._filters: dict[str, CheckedRule] = {}

    def of_filter(self, rule: Filter) -> tuple[CheckedRule, ...]:
        """Return a filter's expressions as rules that items have to pass.

        Raises:
            RequestError: One is wrong, or there are too many.
        """
        if len(rule.expressions) > MAX_EXPRESSIONS or any(
            len(text) > MAX_EXPRESSION for text in rule.expressions
        ):
            raise RequestError(
                "the filter has too many or too long expressions",
                hint=f"write at most {MAX_EXPRESSIONS}, each of at most {MAX_EXPRESSION} characters",
            )
        return tuple(map(self._filter, rule.expressions))

    def gate(
        self, moment: Moment, conditions: Sequence[CheckedRule] = (), related: Related | None = None
    ) -> Gate:
        """Return the rules in force; `related` tells what items are to each other."""
        today = dt.datetime.now(dt.UTC).date()
        rules = tuple(rule for rule in self.rules if rule.rule.holds_on(today))
        return Gate(self, moment, rules, conditions, related)

    def _checked(self, rule: Rule, folder: Path) -> CheckedRule:
        try:
            checked = CheckedRule(rule, self.vocabulary.expression(rule.when), self.fields, self.vocabulary)
            if checked.of_pairs and not (rule.hard or rule.do == "remark"):
                raise WrongExpression(f"'{rule.do}' is about one item, and cannot read other")
        except WrongExpression as wrong:
            place = _place(rule, folder, wrong)
            raise ConfigError(f"{place}: rule '{rule.name}': {wrong.problem}", hint=wrong.hint) from None
        if unknown := unknown_names(rule, checked.expression):
            hint = f"there are: {', '.join(sorted({*checked.expression.names, *ALWAYS_SAID}))}"
            raise ConfigError(f"rule '{rule.name}': say has no '{{{unknown[0][:60]}}}'", hint=hint)
        return checked

    def _filter(self, text: str) -> CheckedRule:
        if text not in self._filters:
            try:
                expression = self.vocabulary.expression(text)
            except WrongExpression as wrong:
                raise RequestError(
                    f"'{text[:80]}', {_position(wrong)}: {wrong.problem}", hint=wrong.hint
                ) from None
            if any(name.partition(".")[0] == "other" for name in expression.names):
                raise RequestError(f"'{text[:80]}': a filter is about one item", hint="leave out other")
            if len(self._filters) >= MAX_FILTERS:
                self._filters.clear()
            rule = Rule(name="filter", do="require", when=text, missing="forbid")
            self._filters[text] = CheckedRule(rule, expression, self.fields, self.vocabulary)
        return self._filters[text]


class Gate:
    """The rules in force for a request, and what they decide; each asked once.

    Items that are alike in what a rule reads share its decision.
    """

    def __init__(
        self,
        book: RuleBook,
        moment: Moment,
        rules: Sequence[CheckedRule],
        conditions: Sequence[CheckedRule] = (),
        related: Related | None = None,
    ) -> None:
        self.moment, self.rules, self._related = moment, rules, related
        self._fields, self._vocabulary = book.fields, book.vocabulary
        self._hard = [rule for rule in rules if rule.rule.hard and not rule.of_pairs]
        self._in_force = [rule for rule in self._hard if not rule.rule.trial]
        self._pairs = [rule for rule in rules if rule.of_pairs and rule.rule.hard]
        self._limits = {
            rule: Limit(rule.rule, moment.chosen, partial(self._counts, rule))
            for rule in rules
            if rule.rule.do == "limit"
        }
        self.remarks = [rule for rule in rules if rule.rule.do == "remark" and not rule.rule.trial]
        self._wanted = [rule for rule in conditions if not rule.fixed]
        self.filters = [rule for rule in conditions if rule.fixed]
        self._values = self._fields.of_moment(moment)
        asked = (*rules, *conditions)
        self._item_names = {name for rule in asked for name in (*rule.of_item, *rule.of_other)}
        self._read: dict[str, dict[str, Any]] = {}  # by item id, what the rules read of it
        self._decided = {rule: rule.decisions(self._values) for rule in asked}
        self._of_request = {
            rule: {name: self._values[name] for name in rule.expression.names if name in self._values}
            for rule in asked
        }
        self._allowed: dict[str, bool] = {}  # by item id
        # those that remember requests come first, for they cost least
        self._decisive = sorted((*self._wanted, *self._in_force), key=lambda rule: rule.of_request is None)

    @property
    def masks(self) -> list[CheckedRule | BoundRule]:
        """What decides about an item, for this person at this moment."""
        rules = [*self._wanted, *self._in_force]
        bound = [
            BoundRule(rule, tuple(repr(self._values.get(name)) for name in rule.of_request), self)
            for rule in rules
            if not rule.fixed and rule.of_request is not None
        ]
        return [*(rule for rule in rules if rule.fixed), *bound]

    @property
    def at_least(self) -> list[tuple[CheckedRule, int]]:
        """What must be among the candidates for a rule to lift it, and how many of them."""
        rules = [rule for rule in self.rules if rule.rule.do == "at_least" and rule.fixed]
        return [(rule, rule.rule.n) for rule in rules if not rule.rule.trial]

    def allows(self, item: Item) -> bool:
        """Return whether no hard rule and no condition of the filter leaves an item out."""
        if item.id not in self._allowed:
            left_out = any(rule.leaves_out(self.holds(rule, item)) for rule in self._decisive)
            self._allowed[item.id] = not left_out and self.over_limit(item) is None
        return self._allowed[item.id]

    def refusal(self, item: Item) -> CheckedRule | None:
        """Return the first hard rule in force that leaves an item out."""
        return next((rule for rule in self.refusals(item) if not rule.rule.trial), None)

    def refusals(self, item: Item) -> list[CheckedRule]:
        """Return the hard rules that leave an item out, those on trial included."""
        refusing = [rule for rule in self._hard if rule.leaves_out(self.holds(rule, item))]
        limits = (self.over_limit(item, trial=trial) for trial in (False, True))
        return [*refusing, *filter(None, limits)]

    def over_limit(self, item: Item, kept: Sequence[Item] = (), *, trial: bool = False) -> CheckedRule | None:
        """Return the first limit that an item would break, beside others of the list."""
        broken = (rule for rule, limit in self._limits.items() if limit.is_broken(item, kept))
        return next((rule for rule in broken if rule.rule.trial == trial), None)

    def _counts(self, rule: CheckedRule, item: Item) -> bool:
        return bool(self.holds(rule, item))

    def conflict(self, item: Item, other: Item, *, trial: bool = False) -> CheckedRule | None:
        """Return the first rule by which two items cannot stand in one list."""
        for rule in self._pairs:
            if rule.rule.trial == trial and any(
                rule.leaves_out(self.holds(rule, first, second))
                for first, second in ((item, other), (other, item))
            ):
                return rule
        return None

    def trial_conflicts(self, items: Sequence[Item]) -> list[tuple[Item, Item | None, CheckedRule]]:
        """Return which items a rule on trial would leave out, and for which other."""
        found: list[tuple[Item, Item | None, CheckedRule]] = []
        for number, item in enumerate(items):
            clashes = ((other, self.conflict(item, other, trial=True)) for other in items[:number])
            found += [(item, other, rule) for other, rule in clashes if rule][:1]
            if rule := self.over_limit(item, items[:number], trial=True):
                found.append((item, None, rule))
        return found

    @property
    def has_pairs(self) -> bool:
        """Whether any rule in force is about pairs, or what a list has in all."""
        return any(not rule.rule.trial for rule in (*self._pairs, *self._limits))

    def holds(self, rule: CheckedRule, item: Item, other: Item | None = None) -> bool | None:
        """Return the value of a rule's expression; None if it cannot be decided."""
        key = rule.key_of(self._raw(item))
        if other is not None:
            key = (key, rule.key_of_other(self._raw(other)))
        return self.decided(rule, key, item, other)

    def decided(self, rule: CheckedRule, key: Any, item: Item, other: Item | None = None) -> bool | None:
        """Return the value of an expression of items that it reads as `key`."""
        decided = self._decided[rule]
        if key not in decided:
            values = self._all_values(rule, item, other)
            decided[key] = rule.expression.holds(self._vocabulary.activation(values), self._related)
        return decided[key]

    def values(self, rule: CheckedRule, item: Item, other: Item | None = None) -> dict[str, Any]:
        """Return what a rule read, by name; what is missing is left out."""
        values = self._all_values(rule, item, other)
        return {name: values[name] for name in sorted(rule.expression.names) if name in values}

    def related_history(self, rule: CheckedRule, item: Item) -> list[Item]:
        """Return the items of the history that the rule finds related to an item."""
        names = rule.expression.relations_to_history
        asked = self._related
        if asked is None:
            return []
        past = (entry.item for entry in self.moment.chosen.values())
        return [one for one in past if any(asked(item.id, one.id, name) for name in names)]

    def texts(self, item: Item, name: str) -> tuple[str, ...]:
        """Return the values of an attribute as shown; () for any other field."""
        return self._fields.texts(item, name)

    def _raw(self, item: Item) -> dict[str, Any]:
        if item.id not in self._read:
            chosen = self.moment.chosen
            self._read[item.id] = {name: self._fields.raw(item, name, chosen) for name in self._item_names}
        return self._read[item.id]

    def _all_values(self, rule: CheckedRule, item: Item, other: Item | None) -> dict[str, Any]:
        chosen = self.moment.chosen
        values = self._of_request[rule] | item_values(self._fields, "item", rule.of_item, item, chosen)
        if other is not None:
            values |= item_values(self._fields, "other", rule.of_other, other, chosen)
        return values


def item_values(
    fields: Fields, root: str, names: Iterable[str], item: Item, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of an item that are known, by full name: "item.price"."""
    found = ((f"{root}.{name}" if name else root, fields.of_item(item, name, chosen)) for name in names)
    return {name: value for name, value in found if value is not None}


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    return itemgetter(*names) if names else lambda _: ()


def _fields_of(root: str, expression: Expression) -> tuple[str, ...]:
    named = (name.partition(".") for name in sorted(expression.names))
    return tuple(rest for first, _, rest in named if first == root)


def _position(wrong: WrongExpression) -> str:
    return f"column {wrong.column}" if wrong.line == 1 else f"line {wrong.line}, column {wrong.column}"


def _place(rule: Rule, folder: Path, wrong: WrongExpression) -> str:
    """Return the place in the file: "domain.toml, line 83, column 21"."""
    for name in (RULES_FILE, "domain.toml"):
        text = (folder / name).read_text(encoding="utf-8-sig") if (folder / name).is_file() else ""
        begin = text.find(rule.when)
        if begin >= 0:
            lines = text[:begin].splitlines() or [""]
            column = wrong.column + (len(lines[-1]) if wrong.line == 1 else 0)
            return f"{folder / name}, line {len(lines) + wrong.line - 1}, column {column}"
    return f"{folder / 'domain.toml'}: `when`, {_position(wrong)}"
