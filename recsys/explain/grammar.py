"""The sentences a reason may be, as one regular expression per case.

The forms live in `prompts/explain/grammar.toml`; here their slots are filled with
the placeholders that are true together. A model chooses evidence, form and words;
it has no way to say something that no evidence supports.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

from recsys.explain.evidence import ReasonCase

PLACEHOLDER = re.compile(r"\{([a-z]+\d*)\}")
_FORMS_AT_ONCE = 2  # of a kind's forms, so that neighbouring reasons differ


@lru_cache(maxsize=8)
def _grammar(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def sentence_pattern(case: ReasonCase, path: Path, attempt: int | None = None) -> str:
    """The regular expression of all sentences that are true of `case`.

    With `attempt`, only some of the forms, chosen by `case.variant + attempt`: what
    generation is given, for variety. Without, all of them: what the check accepts.
    """
    grammar = _grammar(path)

    attributes = _ids(case, "attribute")

    def forms(kind: str) -> list[str]:
        every = [form for form in grammar[kind]["forms"] if attributes or "{A}" not in form]
        if attempt is None:
            return every
        start = case.variant + attempt * _FORMS_AT_ONCE
        return [every[(start + n) % len(every)] for n in range(min(_FORMS_AT_ONCE, len(every)))]

    sentences: list[str] = []
    if wish := _ids(case, "wish"):
        sentences += [_slots(form, W=wish, A=_pairs(attributes)) for form in forms("wish")]
    elif past := _ids(case, "history"):
        for liked, common in _links(case, past):
            kind = "history_shared" if common else "history"
            several = " and " in liked
            number = {"them": ["them" if several else "it"], "were": ["were" if several else "was"]}
            sentences += [_slots(form, H=[liked], A=_pairs(common), **number) for form in forms(kind)]
    elif popular := _ids(case, "popularity"):
        sentences += [_slots(form, P=popular, A=_pairs(attributes)) for form in forms("popularity")]
    elif attributes:
        sentences += [_slots(form, A=_pairs(attributes)) for form in forms("attribute")]
    body = "|".join(filter(None, sentences))
    situation = _ids(case, "context")
    ending = f"({_slots(grammar['situation'], C=situation)})?" if situation else ""
    return rf"^({body}){ending}\.$"


def _ids(case: ReasonCase, kind: str) -> list[str]:
    return [f"{{{entry.id}}}" for entry in case.by_kind(kind)]


def _links(case: ReasonCase, past: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
    """("{h1} and {h2}", the attributes all of them share with the item), strongest first.

    Where any link shares something, links that share nothing are left out: they say less.
    """
    found = []
    for size in (2, 1):
        for group in permutations(past, size):
            held = [set(case.shared[name.strip("{}")]) for name in group]
            common = sorted(set.intersection(*held))
            found.append((" and ".join(group), [f"{{{name}}}" for name in common]))
    telling = [link for link in found if link[1]]
    return telling or found


def _pairs(names: Sequence[str]) -> list[str]:
    """Each name, and each two of them in either order: "{a1}", "{a1} and {a2}"."""
    return [*names, *(" and ".join(pair) for pair in permutations(names, 2))]


def _slots(form: str, **slots: Sequence[str]) -> str:
    """Fill the slots of a form; "" if one has nothing to be filled with."""
    text = form
    for slot, choices in slots.items():
        marker = f"{{{slot}}}"
        if marker in text:
            if not choices:
                return ""
            text = text.replace(marker, f"({'|'.join(choices)})")
    # What is left in braces are placeholders: literal in a regular expression.
    return PLACEHOLDER.sub(r"\\{\1\\}", text)
