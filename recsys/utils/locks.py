"""A lock between the threads and processes of one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive_lock(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold a lock file; wait while another thread or process holds it.

    A process that dies releases it. Where files cannot be locked or written nobody waits.

    Args:
        path: The lock file; it is not removed.
        on_wait: Called before waiting.

    Yields:
        Whether the lock is held.
    """
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock outlives its process
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except (NotImplementedError, OSError):
        pass
    try:
        yield lock.is_locked
    finally:
        lock.release()
