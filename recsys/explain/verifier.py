"""Is the sentence supported by what it cites? Checked before anything is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recsys.explain.evidence import ReasonCase, attribute_values
from recsys.explain.grammar import PLACEHOLDER, STYLES, lacking, sentence_pattern
from recsys.types import Evidence


def ungrounded(sentence: str, case: ReasonCase, grammar: Path) -> tuple[str, ...]:
    """Kinds of failure found in a sentence with placeholders; () means it holds.

    - those of `false_links`
    - `uncited_claim`: words outside the grammar, so a claim that no evidence carries
    """
    failures = false_links(sentence, case)
    if not any(re.fullmatch(sentence_pattern(case, grammar, style=style), sentence) for style in STYLES):
        failures += ("uncited_claim",)
    return failures


def false_links(text: str, case: ReasonCase) -> tuple[str, ...]:
    """Failures that can be read off the placeholders alone, whatever the words.

    - `unknown_evidence`: a placeholder that names nothing
    - `not_about_item`: `{item}` missing or said twice
    - `repeated`: the same evidence twice
    - `false_link`: an attribute in one sentence with a history item that does not have it,
      or with the other item, which has it too
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
    holders = {**case.shared, "other": tuple(lacking(case))}
    for sentence in re.split(r"(?<=[.!?。\uff01\uff1f])", text):
        names = set(PLACEHOLDER.findall(sentence))
        attributes = {entry.id for entry in case.by_kind("attribute")} & names
        if any(not attributes.issubset(holders[name]) for name in names if name in holders):
            failures.append("false_link")
            break
    return tuple(failures)


def fits_all(cited: Sequence[Evidence], others: Sequence[ReasonCase]) -> bool:
    """The swap test: whether everything cited holds for every one of the others as well.

    Such a sentence says nothing of its item. False where there are no others.
    """

    def holds(entry: Evidence, case: ReasonCase) -> bool:
        if entry.kind == "attribute":
            return entry.text in attribute_values(case.item)
        known = (*case.evidence, *case.against)
        return any((entry.kind, entry.text) == (theirs.kind, theirs.text) for theirs in known)

    return bool(others) and all(holds(entry, case) for case in others for entry in cited)
