"""What tables of docs/ have in common."""

from __future__ import annotations

from collections.abc import Mapping


def with_interval(figure: Mapping[str, float], sign: str = "", digits: int = 3) -> str:
    """A figure and its 95 % interval."""
    value, low, high = (f"{figure[name]:{sign}.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
