"""Readings of a wish as sets of single statements, to compare two of them.

"year 1960 to 1969" is two statements, "not Horror or War" too. Whether a bound itself counts ("before 1970",
"until 1970") is not compared, nor is what holds for every item of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from recsys.config import Domain
from recsys.errors import RequestError
from recsys.knowledge.typed_values import WrongValue, read_value
from recsys.types import StrictModel, Understood, WishCondition

_OPERATORS = {
    "is": "is",
    "=": "is",
    "==": "is",
    "in": "is",
    "has": "is",
    "contains": "is",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "between": "between",
    "range": "between",
    "lowest": "lowest",
    "min": "lowest",
    "highest": "highest",
    "max": "highest",
    "!=": "not",
    "not": "not",
}
_INVERSE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class MeantCondition(StrictModel):
    """A condition that a reader should find; `hard` unless it is said as a preference."""

    attribute: str
    operator: str
    value: Any
    wanted: bool = True
    hard: bool = True


@dataclass(frozen=True)
class Atom:
    """One statement about an attribute."""

    attribute: str
    operator: str
    values: frozenset[str] | float
    wanted: bool
    asked: bool  # False: only preferred

    def softened(self) -> Atom:
        """Return it without how it is said."""
        return replace(self, asked=False)


def atoms_of_reading(understood: Understood, domain: Domain, *, only_musts: bool = False) -> frozenset[Atom]:
    """Return what was read; what was relaxed is a preference."""
    conditions = (one for one in understood.conditions if one.hard or not only_musts)
    return frozenset(atom for one in conditions for atom in _atoms(one, domain))


def atoms_of_case(meant: Iterable[MeantCondition], domain: Domain) -> frozenset[Atom]:
    """Return what should be read. Raises RequestError for an unknown operator."""
    found: set[Atom] = set()
    for one in meant:
        operator = _OPERATORS.get(one.operator)
        if operator is None:
            raise RequestError(
                f"wishes: there is no operator '{one.operator}'", hint=f"there are: {', '.join(_OPERATORS)}"
            )
        values = one.value if isinstance(one.value, list | tuple) else [one.value]
        texts = tuple(_text(value) for value in values if value is not None)
        wanted = one.wanted != (operator == "not")
        if operator == "between":
            pairs: list[tuple[str, tuple[str, ...]]] = [(">=", texts[:1]), ("<=", texts[1:])]
        else:
            pairs = [("is" if operator == "not" else operator, texts)]
        for sign, of_sign in pairs:
            condition = WishCondition.model_validate(
                {
                    "attribute": one.attribute,
                    "operator": sign,
                    "values": of_sign,
                    "wanted": wanted,
                    "rather": not one.hard,
                }
            )
            found.update(_atoms(condition, domain))
    return frozenset(found)


def _atoms(condition: WishCondition, domain: Domain) -> list[Atom]:
    attribute, operator, wanted = condition.attribute, condition.operator, condition.wanted
    asked = not condition.rather
    if operator in ("lowest", "highest"):
        return [Atom(attribute, operator, frozenset(), True, False)]
    if operator == "is" and not _is_amount(attribute, domain):
        values = frozenset(value.casefold() for value in condition.values)
        sets = [values] if wanted else [frozenset([value]) for value in values]
        return [Atom(attribute, "is", one, wanted, asked) for one in sets]
    amounts = [_amount(value, attribute, domain) for value in condition.values]
    if operator == "is":
        if len(amounts) > 1 or not wanted:
            return [Atom(attribute, "is", frozenset(map(str, amounts)), wanted, asked)]
        return [Atom(attribute, sign, amounts[0], True, asked) for sign in ("<=", ">=")]
    sign = operator if wanted else _INVERSE[operator]
    return [_closed(Atom(attribute, sign, amounts[0], True, asked), domain)]


def _closed(atom: Atom, domain: Domain) -> Atom:
    """Write "over 0 Oscars" as "at least 1", and "before" as "until"."""
    kind = domain.attributes.get(atom.attribute)
    whole = kind is not None and kind.type == "number"
    if whole and isinstance(atom.values, float) and atom.operator in ("<", ">") and atom.values.is_integer():
        step = -1.0 if atom.operator == "<" else 1.0
        return replace(atom, operator=atom.operator + "=", values=atom.values + step)
    return replace(atom, operator=atom.operator[0] + "=")


def _is_amount(attribute: str, domain: Domain) -> bool:
    kind = domain.attributes.get(attribute)
    return kind.ordered if kind is not None else attribute == "year"


def _amount(value: str, attribute: str, domain: Domain) -> float:
    kind = domain.attributes.get(attribute)
    if kind is None:
        return float(value)
    try:
        return (
            read_value(value, attribute, kind.model_copy(update={"least": None, "most": None})).first or 0.0
        )
    except WrongValue as wrong:
        raise RequestError(f"wishes: {attribute}: {wrong}") from wrong


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)
