"""A filter against the catalogue: errors are noticed, and typed values compared."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from weakref import WeakKeyDictionary

from recsys.config.attributes import AttributeType
from recsys.data.catalog import Catalog
from recsys.errors import RequestError
from recsys.knowledge.typed_values import TypedValue, WrongValue, read_value
from recsys.types import Comparison, Filter, Item

MAX_NAMED = 8  # values named in a hint

Kinds = Mapping[str, AttributeType]

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_amounts_by_catalog: WeakKeyDictionary[Catalog, dict[str, Mapping[str, float]]] = WeakKeyDictionary()


def resolve_filter(rule: Filter, catalog: Catalog, kinds: Kinds | None = None) -> Filter:
    """Check a filter's attributes, values and years, and resolve what is typed.

    Values of typed attributes may be written in any form that an import accepts. Comparisons become
    the ids of the items that pass.

    Raises:
        RequestError: with the nearest name that would work.
    """
    if rule.year_from is not None and rule.year_to is not None and rule.year_from > rule.year_to:
        raise RequestError(
            f"years from {rule.year_from} to {rule.year_to}: nothing lies between them",
            hint=f"from {rule.year_to} to {rule.year_from}?",
        )
    typed = {name.casefold(): (name, kind) for name, kind in (kinds or {}).items()}
    where = {name: _as_shown(name, values, typed) for name, values in rule.where.items()}
    without = {name: _as_shown(name, values, typed) for name, values in rule.without.items()}
    named = {name.casefold(): name for name in catalog.attributes}
    for conditions in (where, without):
        for name, values in conditions.items():
            _check_name(name, catalog)
            _check_values(name, values, catalog.attributes[named[name.casefold()]])
    only = rule.only
    for comparison in rule.compare:
        passing = _passing(comparison, catalog, typed)
        only = passing if only is None else only & passing
    return rule.model_copy(update={"where": where, "without": without, "only": only, "compare": ()})


def _as_shown(
    name: str, values: tuple[str, ...], typed: Mapping[str, tuple[str, AttributeType]]
) -> tuple[str, ...]:
    """Return values as the catalogue shows them: "$2.49" for "2.49"."""
    if name.casefold() not in typed:
        return values
    return tuple(_read(value, *typed[name.casefold()]).shown for value in values)


def _passing(
    comparison: Comparison, catalog: Catalog, typed: Mapping[str, tuple[str, AttributeType]]
) -> frozenset[str]:
    """Return the ids of the items for which a comparison holds."""
    _check_name(comparison.attribute, catalog)
    name, kind = typed.get(comparison.attribute.casefold(), (comparison.attribute, None))
    if kind is None or not kind.ordered:
        ordered = [other for other, of in typed.values() if of.ordered]
        raise RequestError(
            f"values of {name[:60]} cannot be compared",
            hint=f"these can: {', '.join(ordered)}" if ordered else f"write {name[:60]}=value",
        )
    bound = _read(comparison.value, name, kind)
    holds = _OPERATORS[comparison.operator]
    limit = (bound.last if comparison.operator in ("<=", ">") else bound.first) or 0.0
    amounts = _amounts(catalog, name, kind)
    return frozenset(item_id for item_id, amount in amounts.items() if holds(amount, limit))


def _amounts(catalog: Catalog, name: str, kind: AttributeType) -> Mapping[str, float]:
    """Return what the items' values of an attribute are compared by, computed once."""
    by_name = _amounts_by_catalog.setdefault(catalog, {})
    if name not in by_name:
        amounts = {item.id: _amount(item, name, kind) for item in catalog}
        by_name[name] = {item_id: amount for item_id, amount in amounts.items() if amount is not None}
    return by_name[name]


def _amount(item: Item, name: str, kind: AttributeType) -> float | None:
    try:
        return min(
            (read_value(text, name, kind).first or 0.0 for text in item.attributes[name]), default=None
        )
    except (KeyError, WrongValue):  # wrong: stored before the attribute had a type
        return None


def _read(text: str, name: str, kind: AttributeType) -> TypedValue:
    try:
        return read_value(text, name, kind.model_copy(update={"least": -math.inf, "most": None}))
    except WrongValue as wrong:
        raise RequestError(f"{name}: {wrong}", hint=f"write {wrong.expected}") from wrong


def _check_name(name: str, catalog: Catalog) -> None:
    if name.casefold() not in {other.casefold() for other in catalog.attributes}:
        raise RequestError(
            f"no item has an attribute '{name[:60]}'", hint=_suggestion(name, catalog.attributes)
        )


def _check_values(name: str, values: Iterable[str], known: frozenset[str]) -> None:
    folded = {value.casefold() for value in known}
    for value in values:
        if value.casefold() not in folded:
            raise RequestError(f"no item has the {name} '{value[:60]}'", hint=_suggestion(value, known))


def _suggestion(text: str, known: Iterable[str] | Mapping[str, object]) -> str:
    spelled = {name.casefold(): name for name in known}
    close = get_close_matches(text.casefold()[:100], spelled, n=3, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(spelled[name] for name in close)}?"
    names = sorted(spelled.values())
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"there are: {', '.join(names[:MAX_NAMED])}{more}" if names else "the catalogue has none"
