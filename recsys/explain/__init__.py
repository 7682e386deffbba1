"""Reasons: evidence first, then words, then a check."""

from __future__ import annotations

from recsys.explain.evidence import ReasonCase, collect_evidence
from recsys.explain.grounding import ungrounded
from recsys.explain.verbalise import REASON_TEMPLATE, Reasons, render_reason, template_reason, write_reasons

__all__ = [
    "REASON_TEMPLATE",
    "ReasonCase",
    "Reasons",
    "collect_evidence",
    "render_reason",
    "template_reason",
    "ungrounded",
    "write_reasons",
]
