"""Changes to vLLM on a CPU, which halve its time on a small machine.

vLLM loads both classes by name, in its scheduler and its worker; nothing else here imports this module.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

POLL_MS = 1


class HeadInFloat32:
    """Extension of vLLM's worker: the LM head is converted to fp32 only once.

    With `head_dtype` float32 the CPU path casts all of them (57 MB for the default model) before each
    product, which takes longer than the product.
    """

    model_runner: Any

    def keep_head(self) -> bool:
        """Replace the head by an fp32 copy; return False if it has no usual name."""
        model = self.model_runner.model
        head = getattr(model, "lm_head", None)
        weight = getattr(head, "weight", None)
        if head is None or not isinstance(weight, torch.nn.Parameter) or not weight.is_floating_point():
            return False
        converted = copy.copy(head)  # often the input embedding itself, which stays as it is
        parameter = torch.nn.Parameter(weight.float(), requires_grad=False)
        converted._parameters = {**head._parameters, "weight": parameter}
        converted.cast_from = [head]  # in a list, which PyTorch does not register as a submodule
        model.lm_head = converted
        return True

    def head_kept(self) -> bool:
        """Tell whether the head is such a copy."""
        return hasattr(getattr(self.model_runner.model, "lm_head", None), "cast_from")

    def give_head_back(self) -> None:
        """Undo `keep_head`, for comparisons."""
        (self.model_runner.model.lm_head,) = self.model_runner.model.lm_head.cast_from


class SleepingExecutor(MultiprocExecutor):
    """Sleeps while the worker computes.

    vLLM's own polls for the answer without rest, on a core that the worker computes on
    (see vllm-project/vllm pull request 51950).
    """

    def _init_executor(self) -> None:
        super()._init_executor()
        for queue in self.response_mqs:
            sleep_between_polls(queue._spin_condition)


def sleep_between_polls(condition: SpinCondition) -> None:
    """Let a reader sleep between polls of its queue, and poll every millisecond.

    The poll is what counts. The message that wakes a reader is dropped where another went out just
    before it, as with the two answers of one step: a reader that waits for that message alone waits 5 s.
    """
    condition.busy_loop_s = 0.0
    wait = condition.wait
    condition.wait = lambda timeout_ms=None: wait(POLL_MS)  # type: ignore[method-assign]
