"""Reasons: evidence first, then words, then a check."""

from __future__ import annotations

from recsys.explain.ablation import Ablation, RequestPart
from recsys.explain.claims import Lexicon, claim_failures
from recsys.explain.evidence import (
    MEASURE,
    MeasuredCandidate,
    ReasonCase,
    collect_evidence,
    describe_part,
)
from recsys.explain.verifier import grounding_failures
from recsys.explain.writer import (
    REASON_TEMPLATE,
    Reasons,
    drained,
    in_language,
    languages,
    render_reason,
    template_reason,
    write_each,
    write_reasons,
)

__all__ = [
    "MEASURE",
    "REASON_TEMPLATE",
    "Ablation",
    "Lexicon",
    "MeasuredCandidate",
    "ReasonCase",
    "Reasons",
    "RequestPart",
    "claim_failures",
    "collect_evidence",
    "describe_part",
    "drained",
    "grounding_failures",
    "in_language",
    "languages",
    "render_reason",
    "template_reason",
    "write_each",
    "write_reasons",
]
