"""Business rules about lists: applied last, and named in the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config import Rule
from recsys.types import Candidate, Item

_ACTION_ORDER = ("hide", "boost", "bury", "quota", "pin")


@dataclass(frozen=True)
class RerankedList:
    """The final order, and the rules that acted on each candidate."""

    order: list[int]  # positions best first, without hidden ones
    rules: Mapping[int, tuple[str, ...]]  # position, also of hidden ones -> names of rules


def apply_rules(
    rules: Sequence[Rule], candidates: Sequence[Candidate], order: Sequence[int], scores: Sequence[float]
) -> RerankedList:
    """Apply the rules of all kinds, in the order hide, boost, bury, quota, pin.

    `hide` removes items; `boost` multiplies the score by `factor`, for the order alone; `bury` moves
    items behind all others; `quota` keeps `n` items among the `first` and moves the surplus behind
    these; `pin` puts items at rank `first`, several one after another. Rules of one kind apply as
    written, pins by rank. Scores stay as they are.

    Args:
        rules: The rules of the domain.
        candidates: In the order of the request.
        order: Positions best first.
        scores: From 0 to 1, one per candidate.
    """
    ranked: list[int] = list(order)
    applied: dict[int, tuple[str, ...]] = {}
    for rule in sorted(rules, key=_precedence):
        matched = {position for position in ranked if matches(rule, candidates[position].item)}
        moved = set(matched)
        others = [position for position in ranked if position not in matched]
        chosen = [position for position in ranked if position in matched]
        match rule.do:
            case "hide":
                ranked = others
            case "boost":
                ranked = _boost(ranked, matched, scores, rule.factor)
            case "bury":
                ranked = others + chosen
            case "quota":
                ranked, moved = _limit(ranked, matched, rule.n, rule.first)
            case "pin":
                index = rule.first - 1
                ranked = others[:index] + chosen + others[index:]
        for position in moved:
            applied[position] = (*applied.get(position, ()), rule.name)
    return RerankedList(ranked, applied)


def _precedence(rule: Rule) -> tuple[int, int]:
    return _ACTION_ORDER.index(rule.do), rule.first if rule.do == "pin" else 0


def matches(rule: Rule, item: Item) -> bool:
    """Return whether a rule is about an item, by id or by all attributes in `where`."""
    if item.id in rule.items:
        return True
    held = {
        name.casefold(): {value.casefold() for value in values} for name, values in item.attributes.items()
    }
    return bool(rule.where) and all(
        held.get(name.casefold(), set()).intersection(value.casefold() for value in values)
        for name, values in rule.where.items()
    )


def _boost(order: list[int], matched: set[int], scores: Sequence[float], factor: float) -> list[int]:
    """Move each matched position up past those it now outscores."""
    boosted = {position: scores[position] * (factor if position in matched else 1) for position in order}
    result: list[int] = []
    for position in order:
        weaker = (index for index, other in enumerate(result) if boosted[other] < boosted[position])
        result.insert(next(weaker, len(result)) if position in matched else len(result), position)
    return result


def _limit(order: list[int], matched: set[int], n: int, first: int) -> tuple[list[int], set[int]]:
    """Keep at most n of `matched` among the `first`, if others can replace them."""
    kept: list[int] = []
    surplus: list[int] = []
    for position in order:
        full = len(kept) < first and position in matched and sum(p in matched for p in kept) >= n
        (surplus if full else kept).append(position)
    return kept[:first] + surplus + kept[first:], set(surplus)
