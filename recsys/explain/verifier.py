"""Checks of a sentence against the evidence it cites, before it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recsys.explain.evidence import ReasonCase, attribute_values
from recsys.explain.grammar import PLACEHOLDER, STYLES, contrast_attributes, sentence_pattern
from recsys.types import Evidence


def grounding_failures(sentence: str, case: ReasonCase, grammar: Path) -> tuple[str, ...]:
    """Return the failures of a sentence with placeholders; () means it is grounded.

    - those of `placeholder_failures`
    - `uncited_claim`: words outside the grammar, a claim without evidence
    """
    failures = placeholder_failures(sentence, case)
    if not any(re.fullmatch(sentence_pattern(case, grammar, style=style), sentence) for style in STYLES):
        failures += ("uncited_claim",)
    return failures


def placeholder_failures(text: str, case: ReasonCase) -> tuple[str, ...]:
    """Return the failures that the placeholders alone show, whatever the words.

    - `unknown_evidence`: a placeholder without evidence
    - `not_about_item`: `{item}` missing or repeated
    - `repeated`: the same evidence twice
    - `false_link`: an attribute in one sentence with a history item that lacks it, or with the other
      item, which has it too
    """
    used = PLACEHOLDER.findall(text)
    cited = [name for name in used if name != "item"]
    known = {entry.id for entry in (*case.evidence, *case.against)} | ({"other"} if case.other else set())
    failures: list[str] = []
    if not known.issuperset(cited):
        failures.append("unknown_evidence")
    if used.count("item") != 1:
        failures.append("not_about_item")
    if len(set(cited)) != len(cited):
        failures.append("repeated")
    linkable = {**case.shared, "other": tuple(contrast_attributes(case))}
    for sentence in re.split(r"(?<=[.!?。\uff01\uff1f])", text):
        names = set(PLACEHOLDER.findall(sentence))
        attributes = {entry.id for entry in case.by_kind("attribute")} & names
        if any(not attributes.issubset(linkable[name]) for name in names if name in linkable):
            failures.append("false_link")
            break
    return tuple(failures)


def fits_all(cited: Sequence[Evidence], others: Sequence[ReasonCase]) -> bool:
    """Return whether everything cited also holds for all others (the swap test).

    A sentence that fits all others is not specific to its item. False where there are no others.
    """

    def holds(entry: Evidence, case: ReasonCase) -> bool:
        if entry.kind == "attribute":
            return entry.text in attribute_values(case.item)
        known = (*case.evidence, *case.against)
        return any((entry.kind, entry.text) == (theirs.kind, theirs.text) for theirs in known)

    return bool(others) and all(holds(entry, case) for case in others for entry in cited)
