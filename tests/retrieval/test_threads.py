"""A request uses one thread, and leaves the libraries as they were."""

from __future__ import annotations

import faiss  # noqa: F401
import torch  # noqa: F401
from threadpoolctl import ThreadpoolController

from retrieval.threads import one_thread


def openmp_threads() -> list[int]:
    return [pool["num_threads"] for pool in ThreadpoolController().select(user_api="openmp").info()]


def test_libraries_have_one_thread_meanwhile() -> None:
    with ThreadpoolController().limit(limits=2):
        assert set(openmp_threads()) == {2}
        with one_thread():
            assert set(openmp_threads()) == {1}
        assert set(openmp_threads()) == {2}
