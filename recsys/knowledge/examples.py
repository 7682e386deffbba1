"""The examples beside each rule: what it lets through, and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recsys.config import Example
from recsys.errors import ConfigError
from recsys.knowledge.rules import CheckedRule, RuleBook


@dataclass(frozen=True)
class CheckedExample:
    """An example of a rule, and what the rule does to it."""

    rule: str
    field: str  # "allows" or "forbids"
    number: int  # from 1
    holds: bool | None  # what `when` is; None: it cannot be decided
    right: bool


def check_examples(book: RuleBook) -> list[CheckedExample]:
    """Ask every rule about its examples.

    Raises:
        ConfigError: An example names what there is not.
    """
    return [example for rule in book.rules for example in _checked(rule)]


def _checked(rule: CheckedRule) -> Iterator[CheckedExample]:
    for field, wanted in (("allows", False), ("forbids", True)):
        examples: tuple[Example, ...] = getattr(rule.rule, field)
        for number, example in enumerate(examples, start=1):
            place = f"rule '{rule.name}', {field}, example {number}"
            ways = [_value(rule, one, place) for one in _orders(rule, example)]
            left_out = any(rule.leaves_out(holds) for holds in ways)
            holds = next((holds for holds in ways if rule.leaves_out(holds)), ways[0])
            yield CheckedExample(rule.name, field, number, holds, left_out == wanted)


def _orders(rule: CheckedRule, example: Example) -> list[Example]:
    """Return the orders in which a rule about a pair is asked."""
    swapped = example.model_copy(update={"item": example.other, "other": example.item})
    return [example, swapped] if rule.of_pairs else [example]


def _value(rule: CheckedRule, example: Example, place: str) -> bool | None:
    try:
        values = rule.fields.of_example(example)
    except KeyError as error:
        names = ", ".join(sorted(rule.expression.names))
        raise ConfigError(f"{place}: there is no {error}", hint=f"the rule reads {names}") from error
    return rule.expression.holds(rule.vocabulary.activation(values))
