"""Dictionaries that keep what is new."""

from __future__ import annotations

from typing import Any, TypeVar

_Key = TypeVar("_Key")


def make_room(kept: dict[_Key, Any], most: int) -> None:
    """Drop the entries that came first until one more makes at most `most`.

    Other threads may drop or add entries meanwhile.
    """
    for oldest in list(kept)[: max(0, len(kept) + 1 - most)]:
        kept.pop(oldest, None)
