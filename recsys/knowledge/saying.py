"""What a rule says in words of its own: `say` in a rule, with values in braces.

A value stands where its name does and is never read as a template itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from recsys.config import Rule
from recsys.knowledge.expressions import Expression

ALWAYS_SAID = ("item", "other", "history")
"""The names of the item, of the one it cannot stand beside, of the related ones of the history."""

_NAME = re.compile(r"\{([^{}]*)\}")


def unknown_names(rule: Rule, expression: Expression) -> list[str]:
    """Return what the words of a rule name that it does not read."""
    named = [name for text in rule.say.values() for name in _NAME.findall(text)]
    return [name for name in named if name not in expression.names and name not in ALWAYS_SAID]


def in_words(rule: Rule, values: Mapping[str, str], language: str = "en") -> str:
    """Return what a rule says of an item; "" where a value is missing."""
    text = rule.say.get(language) or rule.say.get("en") or next(iter(rule.say.values()), "")
    if any(not values.get(name) for name in _NAME.findall(text)):
        return ""
    return _NAME.sub(lambda match: values[match[1]], text)


def listing(names: Sequence[str]) -> str:
    """Return names as a list in words: "A", "A and B", "A, B and C"."""
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last
