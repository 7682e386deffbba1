"""Lifetimes by two clocks, the wall's and the process's own: where they differ, what is kept lives longer.

A wall clock may be set while the process runs, forward or back; the process's own never jumps, but
means nothing to other processes, and stays wrong where the wall clock was wrong at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

elapsed: Callable[[], float] = time.monotonic
_STARTED = time.time() - elapsed()


def surely() -> float:
    """Seconds since 1970 that have passed by both clocks: what ends by then has ended."""
    return min(time.time(), _STARTED + elapsed())


def at_most() -> float:
    """Seconds since 1970 by the clock that is ahead: what lasts from then lasts at least so long."""
    return max(time.time(), _STARTED + elapsed())
