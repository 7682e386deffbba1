"""Conditions of a filter as people write them: "genre=Drama", "price<=5"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from recsys.errors import RequestError
from recsys.types import Comparison

_COMPARISON = re.compile(r"(?P<attribute>[^<>=]+?)\s*(?P<operator><=|>=|<|>)\s*(?P<value>.+)")
_EXPRESSION = re.compile(r"\bitem(\.\w|\s+in\b)")
_RANGE = re.compile(r"([^<>=]+?)\s*=\s*(\S.*?)\s*\.\.\s*(\S.*)")


class Conditions(NamedTuple):
    """Conditions, as fields of a `Filter`."""

    where: dict[str, tuple[str, ...]]
    compare: tuple[Comparison, ...]
    expressions: tuple[str, ...]


def parse_where(texts: Iterable[str]) -> Conditions:
    """Sort conditions into the values of each attribute, comparisons and expressions.

    A text that reads a field of `item` is an expression; the other forms are short for one.

    Raises:
        RequestError: A text is none of them.
    """
    equal: list[str] = []
    compared: list[Comparison] = []
    expressions: list[str] = []
    for text in texts:
        if _EXPRESSION.search(text):
            expressions.append(text)
        elif comparisons := _comparisons(text.strip()):
            compared += comparisons
        else:
            equal.append(text)
    return Conditions(values_by_attribute(equal), tuple(compared), tuple(expressions))


def values_by_attribute(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse ["genre=Drama", "genre=War"] to {"genre": ("Drama", "War")}.

    Raises:
        RequestError: A text is not of this form.
    """
    values: dict[str, tuple[str, ...]] = {}
    for text in texts:
        if _EXPRESSION.search(text):
            raise RequestError(f"'{text[:80]}' is an expression", hint="write !(...) under where")
        if _comparisons(text.strip()):
            raise RequestError(f"'{text[:80]}' is a comparison", hint="write the opposite one under where")
        name, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not value:
            hint = "write attribute=value, such as genre=Drama, or attribute<=value, or item.attribute < 5"
            raise RequestError(f"'{text[:80]}' is not a filter", hint=hint)
        values[name] = (*values.get(name, ()), value)
    return values


def _comparisons(text: str) -> list[Comparison]:
    """Parse "price<=5", or "price=2..5" to two of them; [] for any other text."""
    if match := _RANGE.fullmatch(text):
        name, low, high = match.groups()
        return [
            Comparison(attribute=name, operator=">=", value=low),
            Comparison(attribute=name, operator="<=", value=high),
        ]
    match = _COMPARISON.fullmatch(text)
    return [Comparison.model_validate(match.groupdict())] if match else []
