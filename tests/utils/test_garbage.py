"""The garbage collector runs again after a pause, whatever happened in it."""

from __future__ import annotations

import gc

import pytest

from recsys.utils.garbage import garbage_collection_paused


def test_collection_is_paused_inside_and_goes_on_after_an_error() -> None:
    with garbage_collection_paused():
        with garbage_collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), garbage_collection_paused():
        1 / 0  # noqa: B018
    assert gc.isenabled()
