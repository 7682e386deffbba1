"""A bounded dictionary drops what came first, and only that."""

from __future__ import annotations

import pytest

from recsys.utils.bounded import make_room


@pytest.mark.parametrize(
    ("there", "most", "left"), [(3, 3, [1, 2]), (3, 8, [0, 1, 2]), (5, 2, [4]), (0, 4, [])]
)
def test_the_oldest_give_room_to_one_more(there: int, most: int, left: list[int]) -> None:
    """Beyond half of `most`, entries were dropped although there was room."""
    kept = dict.fromkeys(range(there))
    make_room(kept, most)
    assert list(kept) == left
