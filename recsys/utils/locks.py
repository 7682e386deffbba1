"""What must not happen twice at once, in this process or another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def only_one(lock: Path, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Wait until no other thread or process holds this lock file; `waiting` is called if one does.

    A process that dies lets go. Where files cannot be locked, or not be written, nobody waits:
    the value is False then.
    """
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(lock.open("a"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        except (ImportError, OSError):
            alone = False
        yield alone
