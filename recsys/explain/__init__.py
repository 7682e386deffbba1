"""Reasons: ablate, collect evidence, plan the list, write, check."""

from __future__ import annotations

from recsys.explain.ablation import AblationTable, Ablator
from recsys.explain.cases import ReasonCase
from recsys.explain.claims import Lexicon, claim_failures
from recsys.explain.evidence import MEASURE, MeasuredCandidate, describe_part
from recsys.explain.plan import plan_list
from recsys.explain.request_parts import RequestPart
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
)

__all__ = [
    "MEASURE",
    "REASON_TEMPLATE",
    "AblationTable",
    "Ablator",
    "Lexicon",
    "MeasuredCandidate",
    "ReasonCase",
    "Reasons",
    "RequestPart",
    "claim_failures",
    "describe_part",
    "drained",
    "grounding_failures",
    "in_language",
    "languages",
    "plan_list",
    "render_reason",
    "template_reason",
    "write_each",
]
