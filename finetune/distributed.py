"""Several processes that tune one model (`accelerate launch`): who does what must be done once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def is_main() -> bool:
    """Whether this process measures, publishes and speaks. True where it is the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def main_first() -> Iterator[None]:
    """The main process first, the others when it is through: they find what it imported and fitted."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield
