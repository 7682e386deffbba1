"""What tables of docs/ have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_interval(figure: Mapping[str, float], sign: str = "", digits: int = 3) -> str:
    """A figure and its 95 % interval."""
    value, low, high = (f"{figure[name]:{sign}.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def environment_line(found: Mapping[str, Any]) -> str:
    """By what command, when and on what machine figures came about."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"`{found['command']}`, {found['date']}: {found['cores']} cores of {found['cpu']}, "
        f"{found['memory_gib']} GiB, Python {found['python']}, {versions}.\n"
    )
