"""What rules do to a ranked list: leave out, move, and say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recsys.config import Rule
from recsys.knowledge.rules import CheckedRule, Gate
from recsys.types import Candidate, Item

_ACTION_ORDER = ("boost", "bury", "quota", "at_least", "pin")


@dataclass(frozen=True)
class Refusal:
    """Why an item is not in a list."""

    rule: CheckedRule
    other: Item | None = None  # the item of the list that it cannot stand beside


@dataclass(frozen=True)
class RerankedList:
    """The final order, and the rules that acted on each candidate."""

    order: list[int]  # positions best first, without those left out
    rules: Mapping[int, tuple[str, ...]]  # position -> names of the rules that moved it
    refused: Mapping[int, Refusal] = field(default_factory=dict)  # position -> why it is left out
    on_trial: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # as `rules`, of rules on trial


def apply_rules(
    gate: Gate,
    candidates: Sequence[Candidate],
    order: Sequence[int],
    scores: Sequence[float],
    k: int | None = None,
) -> RerankedList:
    """Leave out what hard rules forbid, then boost, bury, limit, lift and pin.

    `boost` multiplies the score by `factor`, for the order alone; `bury` moves items behind all others;
    `quota` keeps `n` items among the `first` and moves the surplus behind these; `at_least` lifts the
    best items into the `first` until `n` are there; `pin` puts items at rank `first`, several one after
    another. Rules of one kind apply as written, pins by rank. Rules about pairs, and limits, are decided
    from the top down, pinned items first, and what they keep may stand in any order. A soft rule whose
    expression cannot be decided does not act. Scores stay as they are.

    Args:
        gate: The rules in force.
        candidates: In the order of the request.
        order: Positions best first.
        scores: From 0 to 1, one per candidate.
        k: How many are returned: rules about pairs hold in so many; None: in all.
    """
    items = [candidate.item for candidate in candidates]
    refusals = {p: gate.refusal(items[p]) for p in order if not gate.allows(items[p])}
    refused = {position: Refusal(rule) for position, rule in refusals.items() if rule}
    ranked = [position for position in order if position not in refusals]
    soft = sorted((rule for rule in gate.rules if rule.rule.moves), key=_precedence)
    matched = {rule: {p for p in ranked if gate.holds(rule, items[p])} for rule in soft}
    pinned = {p for rule in soft if rule.rule.do == "pin" and not rule.rule.trial for p in matched[rule]}
    by_score = [rule for rule in soft if rule.rule.do in ("boost", "bury")]
    applied: dict[bool, dict[int, tuple[str, ...]]] = {False: {}, True: {}}  # by whether it is on trial
    for rule in by_score:
        ranked = _act(rule, ranked, matched[rule], scores, applied[rule.rule.trial])
    moves = any(not rule.rule.trial and matched[rule] for rule in soft[len(by_score) :])
    ranked, conflicts = _compatible(gate, items, ranked, pinned, None if moves else k)
    for rule in soft[len(by_score) :]:
        ranked = _act(rule, ranked, matched[rule].intersection(ranked), scores, applied[rule.rule.trial])
    return RerankedList(ranked, applied[False], refused | conflicts, applied[True])


def _precedence(rule: CheckedRule) -> tuple[int, int]:
    return _ACTION_ORDER.index(rule.rule.do), rule.rule.first if rule.rule.do == "pin" else 0


def _act(
    rule: CheckedRule,
    ranked: list[int],
    matched: set[int],
    scores: Sequence[float],
    applied: dict[int, tuple[str, ...]],
) -> list[int]:
    """Return the order after a rule, and note what it moved; on trial the order stays."""
    order, moved = _moved(rule.rule, ranked, matched, scores)
    for position in moved:
        applied[position] = (*applied.get(position, ()), rule.name)
    return ranked if rule.rule.trial else order


def _moved(
    rule: Rule, ranked: list[int], matched: set[int], scores: Sequence[float]
) -> tuple[list[int], set[int]]:
    others = [position for position in ranked if position not in matched]
    chosen = [position for position in ranked if position in matched]
    match rule.do:
        case "boost":
            return _boost(ranked, matched, scores, rule.factor), matched
        case "bury":
            return others + chosen, matched
        case "quota":
            return _limit(ranked, matched, rule.n, rule.first)
        case "at_least":
            return _lift(ranked, matched, rule.n, rule.first)
    index = rule.first - 1
    return others[:index] + chosen + others[index:], matched


def _compatible(
    gate: Gate, items: Sequence[Item], ranked: list[int], pinned: set[int], k: int | None
) -> tuple[list[int], dict[int, Refusal]]:
    """Keep from the top what can stand beside all that is kept, pinned first.

    Once k are kept, the others stay behind them unasked.
    """
    if not gate.has_pairs:
        return ranked, {}
    kept: list[int] = []
    refused: dict[int, Refusal] = {}
    for position in sorted(ranked, key=lambda position: position not in pinned):
        if len(kept) == k:
            break
        clash = ((gate.conflict(items[position], items[other]), items[other]) for other in kept)
        rule, other = next(((rule, other) for rule, other in clash if rule), (None, None))
        rule = rule or gate.over_limit(items[position], [items[other] for other in kept])
        if rule is None:
            kept.append(position)
        else:
            refused[position] = Refusal(rule, other)
    return [position for position in ranked if position not in refused], refused


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


def _lift(order: list[int], matched: set[int], n: int, first: int) -> tuple[list[int], set[int]]:
    """Move the best of `matched` into the `first` until n are there."""
    head, tail = order[:first], order[first:]
    missing = n - sum(position in matched for position in head)
    lifted = [position for position in tail if position in matched][: max(0, missing)]
    replaceable = [position for position in head if position not in matched]
    out = replaceable[max(0, len(replaceable) - len(lifted)) :]
    lifted = lifted[: len(out)]
    stay = [position for position in head if position not in out]
    return stay + lifted + out + [position for position in tail if position not in lifted], set(lifted)
