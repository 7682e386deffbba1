"""Filters of the page templates: numbers, times and names in readable form."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

UNKNOWN, MINUS, NARROW_SPACE = "\u2013", "\u2212", "\u202f"
EVIDENCE_LABELS = {
    "history": "chosen before",
    "group": "several chosen before",
    "co_consumed": "often chosen together",
    "relation": "related",
    "repeat": "chosen again",
    "attribute": "attribute",
    "context": "context",
    "profile": "user profile",
    "wish": "wish",
    "popularity": "popularity",
    "passage": "its own words",
}


def decimal(value: float | None, digits: int = 3) -> str:
    """Write 0.123; a dash for an unknown value."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Write +0.42, with a typographic minus sign."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:+.{digits}f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """Write 0.123 as 12 %."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value * 100:.0f} %"


def duration(seconds: float) -> str:
    """Write 0.012 as 12 ms, 1.2 as 1.20 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def grouped(value: float) -> str:
    """Write 12345 as 12 345, with a narrow space."""
    return f"{value:,.0f}".replace(",", NARROW_SPACE)


def utc_time(timestamp: float) -> str:
    """Write seconds since 1970 as 2026-11-24 20:15:03 UTC."""
    return dt.datetime.fromtimestamp(timestamp, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ordinal(value: int) -> str:
    """Write 1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending}"


def evidence_label(kind: str) -> str:
    """Name a kind of evidence."""
    return EVIDENCE_LABELS.get(kind, kind)


def bar_length(value: float | None, longest: float, full: float = 100.0) -> str:
    """Scale |value| to the length of a bar, of which `full` stands for `longest`."""
    if value is None or not longest or not math.isfinite(value):
        return "0"
    return f"{min(1.0, abs(value) / longest) * full:.2f}"


def model_name(name: str) -> str:
    """Shorten the path of a model to its name: paths of the server stay private."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def pretty_json(value: Any) -> str:
    """Write indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def sigmoid(log_odds: float | None) -> float | None:
    """Convert log-odds to a probability."""
    if log_odds is None:
        return None
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        bar_length,
        decimal,
        duration,
        evidence_label,
        grouped,
        model_name,
        ordinal,
        percent,
        pretty_json,
        sigmoid,
        signed,
        utc_time,
    )
}
