"""Is the sentence supported by what it cites? Checked before anything is shown."""

from __future__ import annotations

import re
from pathlib import Path

from recsys.explain.evidence import ReasonCase, shown_title
from recsys.explain.grammar import PLACEHOLDER, sentence_pattern


def ungrounded(sentence: str, case: ReasonCase, grammar: Path) -> tuple[str, ...]:
    """Kinds of failure found in a sentence with placeholders; () means it holds.

    - those of `false_links`
    - `uncited_claim`: words outside the grammar, so a claim that no evidence carries
    """
    failures = false_links(sentence, case)
    if not re.fullmatch(sentence_pattern(case, grammar), sentence):
        failures += ("uncited_claim",)
    return failures


def false_links(sentence: str, case: ReasonCase) -> tuple[str, ...]:
    """Failures that can be read off the placeholders alone, whatever the words.

    - `unknown_evidence`: a placeholder that names nothing
    - `not_about_item`: `{item}` missing or said twice
    - `repeated`: the same evidence twice
    - `false_link`: an attribute beside a history item that does not have it
    """
    used = PLACEHOLDER.findall(sentence)
    cited = [name for name in used if name != "item"]
    known = {entry.id for entry in case.evidence}
    failures: list[str] = []
    if not known.issuperset(cited):
        failures.append("unknown_evidence")
    if used.count("item") != 1:
        failures.append("not_about_item")
    if len(set(cited)) != len(cited):
        failures.append("repeated")
    attributes = {entry.id for entry in case.by_kind("attribute")}.intersection(cited)
    if any(not attributes.issubset(case.shared[name]) for name in cited if name in case.shared):
        failures.append("false_link")
    return tuple(failures)


def fill(sentence: str, case: ReasonCase) -> str:
    """Put catalogue text in place of the placeholders, and a capital at the start."""
    texts = {entry.id: entry.text for entry in case.evidence}
    texts["item"] = shown_title(case.item, case.nouns[0])
    filled = PLACEHOLDER.sub(lambda match: texts.get(match.group(1), ""), sentence.strip())
    return filled[:1].upper() + filled[1:]
