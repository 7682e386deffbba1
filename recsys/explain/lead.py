"""What all items of a list share, said once above it."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.explain.causes import TELLING
from recsys.explain.evidence import CONTEXT_KINDS, PROFILE, MeasuredCandidate, describe_part
from recsys.explain.grammar import Grammar
from recsys.explain.phrases import Fact, FactCounts, Phrases, facts_of
from recsys.explain.request_parts import RequestPart
from recsys.types import EvidenceKind

LEAD = 3  # items of a list that must share something, for it to be said above


def common_facts(measured: Sequence[MeasuredCandidate], counts: FactCounts) -> list[Fact]:
    """Return what all listed items of a list share, in the order of the first."""
    listed = [one for one in measured if one.listed]
    if len(listed) < LEAD:
        return []
    first, *others = [facts_of(one.item) for one in listed]
    allowed = {fact for fact in listed[0].facts if counts.bits(fact) >= TELLING}
    return [fact for fact in first if fact in allowed and all(fact in facts for facts in others)]


def common_moment(measured: Sequence[MeasuredCandidate]) -> list[RequestPart]:
    """Return what speaks for all items listed: one part of the moment, the profile."""
    listed = [one for one in measured if one.listed]
    if len(listed) < LEAD:
        return []
    parts = [part for part in listed[0].effects if part.kind in (*CONTEXT_KINDS, PROFILE.kind)]
    parts = [part for part in parts if said(part, listed[0])]
    parts = [part for part in parts if all(one.effect(part) > one.noise for one in listed)]
    moment = [part for part in parts if part.kind in CONTEXT_KINDS]
    moment.sort(key=lambda part: -sum(one.effect(part) for one in listed))
    return [*moment[:1], *([PROFILE] if PROFILE in parts else [])]


def lead_of(measured: Sequence[MeasuredCandidate], phrases: Phrases, counts: FactCounts) -> str:
    """Say what all items share: "Five comedies, for a Friday evening"; or ""."""
    shared, moment, grammar = common_facts(measured, counts), common_moment(measured), phrases.grammar
    nouns = [fact for fact in shared if phrases.is_noun(fact)][:1]
    others = [fact for fact in shared if not phrases.is_noun(fact)][:1]
    forms, number = grammar.table["lead"], sum(one.listed for one in measured)
    if not nouns and not others:
        if not moment:
            return ""
        suits = grammar.joined([_shown(part, measured[0], grammar) for part in moment])
        return grammar.fill(forms["all"], {"suits": suits})
    texts = {"many": phrases.many(number, [*nouns, *others])}
    wished = any(set(one.asked) & {*nouns, *others} for one in measured)
    form: str = forms["asked"] if wished else forms["what"]
    for slot in ("now", "suits"):
        parts = [part for part in moment if (part.kind == "time") == (slot == "now")]
        if parts:
            texts[slot] = grammar.joined([_shown(part, measured[0], grammar) for part in parts])
            form += forms[slot]
    return grammar.fill(form, texts)


def _shown(part: RequestPart, measured: MeasuredCandidate, grammar: Grammar) -> str:
    [(kind, text)] = said(part, measured)
    return grammar.localize(kind, text)


def said(part: RequestPart, measured: MeasuredCandidate) -> list[tuple[EvidenceKind, str]]:
    """Describe a part of the moment, or the profile, in words, if there are any."""
    return describe_part(part, {}, measured.context, ("", ""))
