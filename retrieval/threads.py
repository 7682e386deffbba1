"""How many threads numeric libraries use for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS and, as a rule, torch use one thread meanwhile.

    This holds for the calling thread. The work of a request is too small to share: its threads would
    wait for one another at every step, most of all where other requests hold the cores.
    """
    with _openmp().limit(limits=1):
        yield


@contextlib.contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Let torch use `n` threads meanwhile; None leaves it as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _openmp() -> Any:
    """Return the thread pools of the libraries, which are loaded by now."""
    import faiss  # noqa: F401
    import torch  # noqa: F401

    return ThreadpoolController().select(user_api="openmp")
