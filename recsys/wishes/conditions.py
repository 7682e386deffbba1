"""What was found in a wish as conditions: alternatives joined, no doubles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.types import WishCondition
from recsys.wishes.lexicon import Lexicon, Target
from recsys.wishes.query import ORDERS


@dataclass(frozen=True)
class Found:
    """One thing found in a wish."""

    target: Target
    wanted: bool
    soft: bool  # it is said to be a preference
    must: bool  # by "only", a negation or a bound; what is only named is no must
    joined: bool  # "or" stands before it
    is_end: bool = False  # one end of a range
    said_soft: bool = False  # by a word such as "ideally", not by what it is itself

    @property
    def hard(self) -> bool:
        """Whether items without it are left out."""
        return self.must and not self.soft and self.target.operator not in ORDERS


def conditions_of(found: Sequence[Found], lexicon: Lexicon) -> tuple[WishCondition, ...]:
    """Return the conditions, in the order of the wish."""
    joined: list[Found] = []
    for one in [_as_before(one, found) for one in found]:
        last = joined[-1] if joined else None
        if last is not None and _are_alternatives(last, one, lexicon):
            values = tuple(dict.fromkeys((*last.target.values, *one.target.values)))
            joined[-1] = dataclasses.replace(last, target=dataclasses.replace(last.target, values=values))
        else:
            joined.append(one)
    conditions = [
        WishCondition(
            attribute=one.target.attribute,
            operator=one.target.operator,
            values=one.target.values,
            wanted=one.wanted,
            hard=one.hard,
            rather=one.soft and one.target.operator not in ORDERS,
        )
        for one in joined
    ]
    return tuple(_without_doubles(conditions))


def _as_before(one: Found, found: Sequence[Found]) -> Found:
    """Return a bound as a preference that says what another means: "ideally old"."""
    before = found[: found.index(one)]
    preferred = any(
        other.said_soft
        and other.target.attribute == one.target.attribute
        and other.target.operator[0] == one.target.operator[0]
        for other in before
    )
    return dataclasses.replace(one, soft=True) if preferred and one.target.operator != "is" else one


def _are_alternatives(last: Found, one: Found, lexicon: Lexicon) -> bool:
    """Return whether two finds are values of one condition.

    An attribute that has one value cannot have two.
    """
    first, second = last.target, one.target
    same = first.attribute == second.attribute and first.operator == second.operator == "is"
    if not same or last.wanted != one.wanted:
        return False
    kind = lexicon.domain.attributes.get(first.attribute)
    single = first.attribute == "year" or (kind is not None and kind.type in ("text", "category"))
    return one.joined or (single and one.wanted) or not one.wanted


def _without_doubles(conditions: Sequence[WishCondition]) -> list[WishCondition]:
    """Drop what is said twice, and the "not gory" of "scary, not gory"."""
    kept: list[WishCondition] = []
    for one in conditions:
        same = next((other for other in kept if _says_the_same(other, one)), None)
        if same is None:
            kept.append(one)
        elif _degree(one) > _degree(same):
            kept[kept.index(same)] = one
    kept = [one for one in kept if not any(_is_stricter(other, one, kept) for other in kept)]
    wanted = {(one.attribute, value) for one in kept if one.wanted for value in one.values}
    return [
        one
        for one in kept
        if one.wanted
        or one.operator != "is"
        or wanted.isdisjoint((one.attribute, value) for value in one.values)
    ]


def _is_stricter(one: WishCondition, other: WishCondition, kept: Sequence[WishCondition]) -> bool:
    """Return whether a bound says all that a vaguer preference before it says."""
    return (
        other.rather
        and (not one.rather or kept.index(one) > kept.index(other))
        and one.attribute == other.attribute
        and one.operator[0] == other.operator[0]
        and one.operator[0] in "<>"
    )


def _degree(one: WishCondition) -> int:
    return 2 if one.hard else 0 if one.rather else 1


def _says_the_same(one: WishCondition, other: WishCondition) -> bool:
    return (one.attribute, one.operator, one.wanted, one.values) == (
        other.attribute,
        other.operator,
        other.wanted,
        other.values,
    )
