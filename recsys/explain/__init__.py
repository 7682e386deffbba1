"""Reasons: evidence first, then words, then a check."""

from __future__ import annotations

from recsys.explain.ablation import Ablation, RequestPart
from recsys.explain.claims import Lexicon, unsupported
from recsys.explain.evidence import MEASURE, ReasonCase, collect_evidence, describe_part
from recsys.explain.verifier import ungrounded
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
    "ReasonCase",
    "Reasons",
    "RequestPart",
    "collect_evidence",
    "describe_part",
    "drained",
    "in_language",
    "languages",
    "render_reason",
    "template_reason",
    "ungrounded",
    "unsupported",
    "write_each",
    "write_reasons",
]
