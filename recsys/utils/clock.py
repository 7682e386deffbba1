"""Time for what expires, safe when the wall clock is set.

In doubt, it expires later.

The wall clock may be set while the process runs, forward or back. The process's own clock never jumps,
but is unknown to other processes, and stays wrong if the wall clock was wrong at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

elapsed: Callable[[], float] = time.monotonic
_STARTED = time.time() - elapsed()


def earliest_now() -> float:
    """Return the time by the clock that is behind: what has expired by it has expired."""
    return min(time.time(), _STARTED + elapsed())


def latest_now() -> float:
    """Return the time by the clock that is ahead: lifetimes are counted from it."""
    return max(time.time(), _STARTED + elapsed())
