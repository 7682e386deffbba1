"""Promotion of an adapter to its domain's default: the gate and the record."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.engine.adapters.manifest import Adapter
from recsys.errors import ModelError
from recsys.utils.files import write_text

BASE = "base"
"""Name of the base model alone where an incumbent is named."""

MIN_REASONS_PASSED = 0.95
STATE = "promoted.json"


class Promotion(BaseModel):
    """One promotion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: str
    at: str  # ISO 8601
    replaced: str  # a ref or "base"
    forced: bool = False
    objections: tuple[str, ...] = ()  # of `gate`, overridden by force


class Promotions(BaseModel):
    """The promotions of a domain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: tuple[Promotion, ...] = ()  # oldest first; the last is in force
    rolled_back: tuple[Promotion, ...] = ()

    @property
    def ref(self) -> str:
        """The ref in force, "" if none is."""
        return self.history[-1].ref if self.history else ""


def gate(candidate: Adapter, incumbent: Adapter | None) -> list[str]:
    """List what stands against an adapter as the default; empty if nothing does.

    It must be better than the incumbent (None: the base model alone) on validation, with the
    whole interval above 0, and its reasons must pass their checks. One that was fine-tuned
    with items held out is for measuring only.
    """
    against = incumbent.ref if incumbent else BASE
    if candidate.manifest is None:
        return ["it has no manifest, so nothing is known of its quality"]
    objections = []
    comparison = candidate.manifest.comparison
    if comparison is None:
        objections.append(f"it was not compared with {against} on validation")
    elif comparison.incumbent != against:
        objections.append(f"it was compared with {comparison.incumbent}, but the default now is {against}")
    elif not comparison.low > 0:  # a NaN is no evidence either
        objections.append(
            f"it is not clearly better than {against}: {comparison.metric} "
            f"{comparison.value:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}]"
        )
    reasons = candidate.manifest.reason_checks
    if reasons is not None and not (reasons.total and reasons.passed / reasons.total >= MIN_REASONS_PASSED):
        objections.append(
            f"{reasons.passed} of {reasons.total} reasons passed their checks, {MIN_REASONS_PASSED:.0%} must"
        )
    if share := candidate.manifest.options.get("examples", {}).get("held_items"):
        objections.append(
            f"it was fine-tuned without {share:.0%} of the items: it is for measuring new items"
        )
    return objections


def read_promotions(folder: Path) -> Promotions:
    """Read the promotions of a domain from its adapters' folder.

    Raises:
        ModelError: They are unreadable.
    """
    path = folder / STATE
    try:
        return Promotions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Promotions()
    except (OSError, ValidationError) as error:
        raise ModelError(
            f"{path} is unreadable", hint="remove it, and promote the adapter again that was the default"
        ) from error


def write_promotions(folder: Path, promotions: Promotions) -> None:
    """Replace the record of promotions in `folder`.

    Raises:
        OSError: It cannot be written.
    """
    write_text(folder / STATE, promotions.model_dump_json(indent=2) + "\n")


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
