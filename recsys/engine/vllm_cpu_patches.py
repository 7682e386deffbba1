"""What vLLM runs of ours on a CPU, where two of its habits cost a small machine half of its time.

vLLM loads both classes by name, where its scheduler and its worker run; nothing else here imports this module.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

NAP_MS = 1


class HeadInFloat32:
    """Added to vLLM's worker: the LM head's weights in fp32 once, not anew at every step.

    With `head_dtype` float32 the CPU path casts all of them (57 MB for the default model) before each
    product, which takes longer than the product.
    """

    model_runner: Any

    def keep_head(self) -> bool:
        """Replace the head by a copy of it in fp32; False for a model that has none by the usual name."""
        model = self.model_runner.model
        head = getattr(model, "lm_head", None)
        weight = getattr(head, "weight", None)
        if head is None or not isinstance(weight, torch.nn.Parameter) or not weight.is_floating_point():
            return False
        kept = copy.copy(head)  # often the input embedding itself, which stays as it is
        cast = torch.nn.Parameter(weight.float(), requires_grad=False)
        kept._parameters = {**head._parameters, "weight": cast}
        kept.cast_from = [head]  # in a list, which PyTorch does not take for a part
        model.lm_head = kept
        return True

    def head_kept(self) -> bool:
        """Whether the head is such a copy."""
        return hasattr(getattr(self.model_runner.model, "lm_head", None), "cast_from")

    def give_head_back(self) -> None:
        """Undo `keep_head`: to compare."""
        (self.model_runner.model.lm_head,) = self.model_runner.model.lm_head.cast_from


class PatientExecutor(MultiprocExecutor):
    """Waits for the worker asleep.

    vLLM's own polls for its answer without rest, on a core that the worker computes on
    (vllm-project/vllm pull request 51950 tells of it).
    """

    def _init_executor(self) -> None:
        super()._init_executor()
        for queue in self.response_mqs:
            be_patient(queue._spin_condition)


def be_patient(condition: SpinCondition) -> None:
    """Let a reader sleep at once between looks at its queue, and look every millisecond at least.

    The look is what counts. The message that wakes a reader is dropped where another went out just
    before it, as with the two answers of one step: who waits for that message alone waits 5 s.
    """
    condition.busy_loop_s = 0.0
    wait = condition.wait
    condition.wait = lambda timeout_ms=None: wait(NAP_MS)  # type: ignore[method-assign]
