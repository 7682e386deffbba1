"""A wish as a query, which is written as CEL and as a line of words."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config import Domain
from recsys.config.attributes import AttributeType
from recsys.knowledge.typed_values import WrongValue, read_value
from recsys.types import Understood, WishCondition

ORDERS = ("lowest", "highest")
_SIGNS = {"<": "under", "<=": "at most", ">": "over", ">=": "at least"}
_OF_YEARS = {"<": "before", "<=": "until", ">": "after", ">=": "from"}


@dataclass(frozen=True)
class TypedQuery:
    """What a wish asks for."""

    conditions: tuple[WishCondition, ...] = ()
    like: tuple[str, ...] = ()  # ids of items named as examples
    rest: str = ""  # what could not be tied to the catalogue
    topic: str = ""  # words that tell a category, and are also searched for
    unwanted_rest: str = ""  # the same, where it is not wanted: never searched for
    anything: bool = False  # it asks for nothing in particular
    without_model: bool = False  # the model should have read too, and could not

    @property
    def hard(self) -> tuple[WishCondition, ...]:
        """Conditions that must hold."""
        return tuple(one for one in self.conditions if one.hard and one.operator not in ORDERS)

    @property
    def plain(self) -> tuple[WishCondition, ...]:
        """Conditions that are just named: what keeps more of them comes first."""
        return tuple(
            one for one in self.conditions if not (one.hard or one.rather) and one.operator not in ORDERS
        )

    @property
    def preferences(self) -> tuple[WishCondition, ...]:
        """Conditions that order what keeps as many of the plain ones."""
        return tuple(one for one in self.conditions if one.rather and one.operator not in ORDERS)

    @property
    def orders(self) -> tuple[WishCondition, ...]:
        """Attributes by which the items are ordered."""
        return tuple(one for one in self.conditions if one.operator in ORDERS)

    def relaxed(self, condition: WishCondition) -> TypedQuery:
        """Return the query where a condition is a preference."""
        changed = condition.model_copy(update={"hard": False, "rather": True})
        conditions = tuple(changed if one == condition else one for one in self.conditions)
        return dataclasses.replace(self, conditions=conditions)


def expression_of(condition: WishCondition, domain: Domain) -> str:
    """Write a condition as CEL, as `--where` and rules do."""
    name = "item." + re.sub(r"\W", "_", condition.attribute)
    kind = domain.attributes.get(condition.attribute)
    whole = condition.attribute == "year" and "year" not in domain.attribute_names
    if condition.operator != "is":
        bound = condition.values[0]
        text = f"{name} {condition.operator} {_literal(bound, kind, whole)}"
    elif whole:
        text = " || ".join(f"{name} == {int(value)}" for value in condition.values)
    elif kind is not None and kind.type == "flag":
        text = name if condition.values != ("no",) else f"!{name}"
    elif kind is not None and kind.ordered:
        text = " || ".join(f"{name} == {_literal(value, kind, False)}" for value in condition.values)
    elif kind is None or kind.type == "list":
        text = " || ".join(f"{_quoted(value)} in {name}" for value in condition.values)
    elif len(condition.values) == 1:
        text = f"{name} == {_quoted(condition.values[0])}"
    else:
        text = f"{name} in [{', '.join(map(_quoted, condition.values))}]"
    return text if condition.wanted else f"!({text})"


def describe(
    query: TypedQuery, domain: Domain, titles: Mapping[str, str], relaxed: Sequence[WishCondition] = ()
) -> Understood:
    """Say how a wish was read.

    Args:
        titles: Names of the items in `query.like`, by id.
        relaxed: Conditions that hold for no item together with the others, now preferences.
    """
    parts = _merged_words(query.conditions, domain)
    parts += [f"like: {titles.get(item_id, item_id)}" for item_id in query.like]
    unknown = ", ".join(filter(None, (query.rest, query.unwanted_rest)))
    if query.anything and not parts:
        parts.append(f"any {domain.noun}")
    parts += [f"not known here: '{unknown}'"] if unknown else []
    parts += ["read without the model, which does not run"] if query.without_model else []
    gone = tuple(words_of_condition(one, domain) for one in relaxed)
    parts += [f"nothing fits all of it, so less: {', '.join(gone)}"] if gone else []
    return Understood(
        text=" \xb7 ".join(parts),
        conditions=query.conditions,
        like=query.like,
        unknown=unknown,
        relaxed=gone,
    )


def words_of_condition(condition: WishCondition, domain: Domain) -> str:
    """Say a condition in words: "runtime: under 80 minutes"."""
    name = condition.attribute.replace("_", " ")
    if condition.operator in ORDERS:
        return f"{condition.operator} {name} first"
    kind = domain.attributes.get(condition.attribute)
    shown = " or ".join(_shown(value, condition.attribute, kind) for value in condition.values)
    if condition.operator != "is":
        of_time = condition.attribute == "year" or (kind is not None and kind.type in ("date", "time"))
        words = _OF_YEARS if of_time else _SIGNS
        shown = f"{words[condition.operator]} {shown}"
    said = shown if kind is not None and kind.type == "flag" else f"{name}: {shown}"
    said = said if condition.wanted else f"not {said}"
    return f"{_degree(condition)}{said}"


def _degree(condition: WishCondition) -> str:
    """Return "only" or "rather"; negations and bounds are musts as they are."""
    if condition.rather:
        return "rather "
    return "only " if condition.hard and condition.wanted and condition.operator == "is" else ""


def _merged_words(conditions: Sequence[WishCondition], domain: Domain) -> list[str]:
    """Say all conditions; both ends of a range as one."""
    said: list[str] = []
    waiting = list(conditions)
    while waiting:
        one = waiting.pop(0)
        other = next((last for last in waiting if _closes(one, last)), None)
        if other is None:
            said.append(words_of_condition(one, domain))
            continue
        waiting.remove(other)
        kind = domain.attributes.get(one.attribute)
        low, high = one.values[0], _shown(other.values[0], one.attribute, kind)
        name = one.attribute.replace("_", " ")
        said.append(f"{_degree(one)}{name}: {low} to {high}")
    return said


def _closes(low: WishCondition, high: WishCondition) -> bool:
    return (
        (low.attribute, low.hard, low.rather) == (high.attribute, high.hard, high.rather)
        and low.wanted
        and high.wanted
        and low.operator == ">="
        and high.operator == "<="
    )


def _shown(value: str, name: str, kind: AttributeType | None) -> str:
    """Return a value as items show it: "80 minutes"."""
    if kind is None or not kind.ordered:
        return value
    try:
        return read_value(
            value, name, kind.model_copy(update={"least": None, "most": None})
        ).shown.removesuffix(", 00:00")
    except (WrongValue, ValueError):
        return value


def _literal(value: str, kind: AttributeType | None, whole: bool) -> str:
    if whole:
        return str(int(float(value)))
    if kind is not None and kind.type in ("date", "time"):
        return f'timestamp("{value}T00:00:00Z")'
    return repr(float(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
