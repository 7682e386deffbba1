"""A request uses one thread, and leaves FAISS as it was."""

from __future__ import annotations

import faiss

from retrieval.threads import one_thread


def test_faiss_has_one_thread_meanwhile() -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        with one_thread():
            assert faiss.omp_get_max_threads() == 1
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
