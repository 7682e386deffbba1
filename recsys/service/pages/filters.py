"""Figures and moments as people read them: the filters of the page templates."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

UNKNOWN, MINUS = "\u2013", "\u2212"
KINDS = {
    "history": "chosen before",
    "co_consumed": "often chosen together",
    "attribute": "what it has",
    "context": "now",
    "profile": "about this person",
    "wish": "wish",
    "popularity": "popular",
}


def figure(value: float | None, digits: int = 3) -> str:
    """0.123; a dash for what is not known."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """+0.42, with a real minus sign."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:+.{digits}f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """0.123 -> 12 %."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value * 100:.0f} %"


def seconds(value: float) -> str:
    """0.012 -> 12 ms; 1.2 -> 1.20 s."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def number(value: float) -> str:
    """12345 -> 12 345, narrow spaces between."""
    return f"{value:,.0f}".replace(",", "\u202f")


def moment(value: float) -> str:
    """Seconds since 1970 -> 2026-11-24 20:15:03 UTC."""
    return dt.datetime.fromtimestamp(value, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ordinal(value: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending}"


def kind(name: str) -> str:
    """An evidence kind in words."""
    return KINDS.get(name, name)


def share(value: float | None, longest: float, width: float = 100.0) -> str:
    """The length of a bar: `value` of `longest`, as a number from 0 to `width`."""
    if value is None or not longest or not math.isfinite(value):
        return "0"
    return f"{min(1.0, abs(value) / longest) * width:.2f}"


def model(name: str) -> str:
    """A model as people call it: of one in a folder the folder's name, for a path is nobody's business."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def pretty(value: Any) -> str:
    """JSON for a person."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def probability(log_odds: float | None) -> float | None:
    """p(Yes) of its log-odds."""
    if log_odds is None:
        return None
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


FILTERS: dict[str, Callable[..., Any]] = {
    "figure": figure,
    "signed": signed,
    "percent": percent,
    "seconds": seconds,
    "number": number,
    "moment": moment,
    "ordinal": ordinal,
    "kind": kind,
    "model": model,
    "share": share,
    "pretty": pretty,
    "probability": probability,
}
