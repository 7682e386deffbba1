"""Check of a sentence with slots, before it is shown."""

from __future__ import annotations

import re

from recsys.explain.cases import ReasonCase
from recsys.explain.grammar import SLOT, Grammar, sentence_pattern


def grounding_failures(sentence: str, case: ReasonCase, grammar: Grammar) -> tuple[str, ...]:
    """Return the failures of a sentence with slots; () means it is grounded.

    - `unknown_evidence`: a slot that nothing fills
    - `not_about_item`: `{item}` missing or repeated
    - `repeated`: the same slot twice
    - `uncited_claim`: words outside the grammar, a claim without evidence
    """
    used = SLOT.findall(sentence)
    failures = [] if case.slots.keys() >= set(used) else ["unknown_evidence"]
    if used.count("item") != 1:
        failures.append("not_about_item")
    if len(set(used)) != len(used):
        failures.append("repeated")
    if not re.fullmatch(sentence_pattern(case, grammar), sentence):
        failures.append("uncited_claim")
    return tuple(failures)
