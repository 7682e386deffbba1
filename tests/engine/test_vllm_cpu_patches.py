"""What vLLM runs of ours on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
from vllm.distributed.device_communicators.shm_broadcast import MessageQueue

from recsys.engine.vllm_cpu_patches import POLL_MS, sleep_between_polls


def test_an_answer_is_found_although_its_wake_up_message_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = MessageQueue(n_reader=1, n_local_reader=1, max_chunk_bytes=4096)
    reader = MessageQueue.create_from_handle(queue.handle, 0)
    monkeypatch.setattr(queue._spin_condition, "notify", lambda: None)
    sleep_between_polls(reader._spin_condition)
    slept: list[Any] = []

    class Poller:
        def poll(self, timeout: int | None = None) -> list[Any]:
            slept.append(timeout)
            if len(slept) == 3:
                queue.enqueue("the answer")
            return []

    monkeypatch.setattr(reader._spin_condition, "poller", Poller())
    assert reader.dequeue(timeout=60) == "the answer"
    assert slept == [POLL_MS] * 3
