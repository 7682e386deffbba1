"""What a business decides about a list: applied last, and named in the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config import Rule
from recsys.types import Candidate, Item

_IN_TURN = ("hide", "boost", "bury", "quota", "pin")


@dataclass(frozen=True)
class RerankedList:
    """Positions best first without those that are hidden; the rules that acted on each, hidden ones too."""

    order: list[int]
    rules: Mapping[int, tuple[str, ...]]


def apply_rules(
    rules: Sequence[Rule], candidates: Sequence[Candidate], order: Sequence[int], scores: Sequence[float]
) -> RerankedList:
    """The order after all rules: what is hidden stays so, and what is pinned comes where it is pinned.

    `hide` takes out; `boost` multiplies the score (0 to 1, one per candidate) by `factor` for the
    order alone; `bury` puts behind all others; `quota` leaves `n` among the `first` and puts
    the surplus behind these; `pin` puts at place `first`, several one after another. Rules of
    one kind act as they are written, pins by place. Scores stay what the model said.
    """
    found: list[int] = list(order)
    acted: dict[int, tuple[str, ...]] = {}
    for rule in sorted(rules, key=_turn):
        hit = {position for position in found if matches(rule, candidates[position].item)}
        moved = set(hit)
        others = [position for position in found if position not in hit]
        chosen = [position for position in found if position in hit]
        match rule.do:
            case "hide":
                found = others
            case "boost":
                found = _boosted(found, hit, scores, rule.factor)
            case "bury":
                found = others + chosen
            case "quota":
                found, moved = _limited(found, hit, rule.n, rule.first)
            case "pin":
                place = rule.first - 1
                found = others[:place] + chosen + others[place:]
        for position in moved:
            acted[position] = (*acted.get(position, ()), rule.name)
    return RerankedList(found, acted)


def _turn(rule: Rule) -> tuple[int, int]:
    return _IN_TURN.index(rule.do), rule.first if rule.do == "pin" else 0


def matches(rule: Rule, item: Item) -> bool:
    """Whether a rule is about this item: one of its ids, or one of the values of every attribute named."""
    if item.id in rule.items:
        return True
    held = {
        name.casefold(): {value.casefold() for value in values} for name, values in item.attributes.items()
    }
    return bool(rule.where) and all(
        held.get(name.casefold(), set()).intersection(value.casefold() for value in values)
        for name, values in rule.where.items()
    )


def _boosted(order: list[int], hit: set[int], scores: Sequence[float], factor: float) -> list[int]:
    """Each boosted one moves up past those it now outscores; the others stay in their order, whatever made it."""
    score = {position: scores[position] * (factor if position in hit else 1) for position in order}
    found: list[int] = []
    for position in order:
        weaker = (place for place, other in enumerate(found) if score[other] < score[position])
        found.insert(next(weaker, len(found)) if position in hit else len(found), position)
    return found


def _limited(order: list[int], hit: set[int], n: int, first: int) -> tuple[list[int], set[int]]:
    """At most n of `hit` among the `first`, where there are others to take their places."""
    kept: list[int] = []
    surplus: list[int] = []
    for position in order:
        full = len(kept) < first and position in hit and sum(one in hit for one in kept) >= n
        (surplus if full else kept).append(position)
    return kept[:first] + surplus + kept[first:], set(surplus)
