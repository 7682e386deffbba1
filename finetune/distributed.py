"""Several processes that train one model: what only the main one does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def is_main() -> bool:
    """Return whether this process measures and publishes, or is the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process go first; the others then find what it imported and fitted."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield
