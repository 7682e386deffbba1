"""Cells and lines that the tables in docs/ share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_interval(figure: Mapping[str, float], sign: str = "", digits: int = 3) -> str:
    """Format a figure with its 95 % interval."""
    value, low, high = (f"{figure[name]:{sign}.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def environment_line(environment: Mapping[str, Any]) -> str:
    """Format the command, date and machine of a measurement."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"`{environment['command']}`, {environment['date']}: {environment['cores']} cores of "
        f"{environment['cpu']}, {environment['memory_gib']} GiB, "
        f"Python {environment['python']}, {versions}.\n"
    )
