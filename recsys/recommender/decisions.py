"""What rules decided in a request: for answer, explanation and log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recsys.knowledge.fields import is_personal
from recsys.knowledge.reordering import Refusal
from recsys.knowledge.rules import CheckedRule, Gate
from recsys.knowledge.saying import in_words, listing
from recsys.types import Item, LeftOut, RuleAction

MAX_VALUES = 5  # of a list, shown
MAX_TEXT = 80  # characters of a value, shown


def rule_actions(
    gate: Gate,
    found: Iterable[Item],
    conflicts: Iterable[tuple[Item, Refusal]],
    moved: Iterable[tuple[Item, Iterable[str]]],
    listed: Sequence[Item],
) -> tuple[RuleAction, ...]:
    """Return what each rule did.

    Args:
        gate: The rules in force.
        found: What retrieval would have returned without rules.
        conflicts: Candidates that could not stand beside another.
        moved: Candidates and the names of the rules that moved them, or would have.
        listed: The items that are returned.
    """
    acted: dict[CheckedRule, list[tuple[Item, Item | None]]] = {rule: [] for rule in gate.rules}
    for item in found:
        for rule in gate.refusals(item):
            acted[rule].append((item, None))
    for item, refusal in conflicts:
        acted[refusal.rule].append((item, refusal.other))
    for item, other, rule in gate.trial_conflicts(listed):
        acted[rule].append((item, other))
    for item in listed:
        for rule in remarking(gate, item, listed):
            acted[rule].append((item, None))
    named = {rule.name: rule for rule in gate.rules}
    for item, names in moved:
        for name in names:
            acted[named[name]].append((item, None))
    return tuple(_action(gate, rule, pairs) for rule, pairs in acted.items() if pairs)


def _action(gate: Gate, rule: CheckedRule, acted: Sequence[tuple[Item, Item | None]]) -> RuleAction:
    values = shown_values(gate, rule, *acted[0])
    return RuleAction(
        rule=rule.name,
        do=rule.rule.do,
        items=len(acted),
        version=rule.rule.version,
        trial=rule.rule.trial,
        values={name: value for name, value in values.items() if not is_personal(name)},
    )


def remarking(gate: Gate, item: Item, listed: Sequence[Item]) -> list[CheckedRule]:
    """Return the rules that remark on an item of a list."""
    return [rule for rule in gate.remarks if _remarked_beside(gate, rule, item, listed) is not None]


def remarks(
    gate: Gate, item: Item, listed: Sequence[Item], profile: Mapping[str, str], language: str
) -> tuple[str, ...]:
    """Return what rules say of an item of a list, in sentences.

    Args:
        gate: The rules in force.
        item: The item.
        listed: The items that are returned.
        profile: Of the person, with personal data masked.
        language: Of the sentences; English where a rule has no words of it.
    """
    said = []
    for rule in gate.remarks:
        if (others := _remarked_beside(gate, rule, item, listed)) is not None:
            values = _said_values(gate, rule, item, others, profile)
            said.append(in_words(rule.rule, values, language))
    return tuple(text if text[-1] in ".!?\u3002" else f"{text}." for text in said if text)


def _remarked_beside(gate: Gate, rule: CheckedRule, item: Item, listed: Sequence[Item]) -> list[Item] | None:
    """Return beside which items a remark holds; None if it does not hold."""
    if not rule.of_pairs:
        return [] if gate.holds(rule, item) else None
    others = [other for other in listed if other.id != item.id and gate.holds(rule, item, other)]
    return others or None


def _said_values(
    gate: Gate, rule: CheckedRule, item: Item, others: Sequence[Item], profile: Mapping[str, str]
) -> dict[str, str]:
    """Return the values that the words of a rule may have in their braces."""
    values = _told_values(gate, rule, item, others[0] if others else None, profile)
    related = gate.related_history(rule, item)
    return values | {
        "item": item.name[:MAX_TEXT],
        "other": listing([other.name[:MAX_TEXT] for other in others[:MAX_VALUES]]),
        "history": listing([one.name[:MAX_TEXT] for one in related[:MAX_VALUES]]),
    }


def _told_values(
    gate: Gate, rule: CheckedRule, item: Item, other: Item | None, profile: Mapping[str, str]
) -> dict[str, str]:
    """Return what a rule read, in words; of the person what their masked profile says."""
    values = shown_values(gate, rule, item, other)
    return values | {
        name: profile.get(name.removeprefix("user."), "private") for name in values if name[:5] == "user."
    }


def left_out(
    gate: Gate, item: Item, refusal: Refusal | None, profile: Mapping[str, str], language: str = "en"
) -> LeftOut | None:
    """Say why an item is not in a list; None if no rule keeps it out.

    Args:
        gate: The rules in force.
        item: The item.
        refusal: What the list says of it, if it was a candidate.
        profile: Of the person, with personal data masked.
        language: Of the words that the rule has of its own.
    """
    rule = gate.refusal(item) or (refusal and refusal.rule)
    if not rule:
        return None
    other = refusal.other if refusal and refusal.rule is rule else None
    values = _told_values(gate, rule, item, other, profile)
    said = in_words(rule.rule, _said_values(gate, rule, item, [other] if other else [], profile), language)
    told = [f"{name} = {value}" for name, value in values.items()]
    missing = sorted(rule.expression.names - values.keys() - {"item", "other"})
    told += [f"{name} is missing" for name in missing]
    beside = f" beside {other.name[:80]}" if other else ""
    text = f"left out{beside}: rule {rule.name}" + (f" ({', '.join(told)})" if told else "")
    text = f"left out: {said}" if said else text
    return LeftOut(item=item.id, rule=rule.name, version=rule.rule.version, values=values, text=text)


def shown_values(gate: Gate, rule: CheckedRule, item: Item, other: Item | None = None) -> dict[str, str]:
    """Return what a rule read, in words; an attribute as the item shows it."""
    shown = {}
    for name, value in gate.values(rule, item, other).items():
        root, _, field = name.partition(".")
        of = {"item": item, "other": other}.get(root)
        texts = gate.texts(of, field) if of is not None else None
        shown[name] = ", ".join(texts[:MAX_VALUES]) if texts else _shown(name, value)
    return {name: value[:MAX_TEXT] for name, value in shown.items()}


def _shown(name: str, value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dt.datetime():
            clock = f" {value:%H:%M}" if (value.hour, value.minute) != (0, 0) else ""
            return f"{value.day} {value:%B %Y}{clock}"
        case dt.timedelta():
            days = value.total_seconds() / 86_400
            return f"{days:.3g} day{'' if days == 1 else 's'}"
        case list():
            return f"{len(value)} items" if name == "history" else ", ".join(map(str, value[:MAX_VALUES]))
    return str(value)
