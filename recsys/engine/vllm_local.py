"""vLLM in this process, on CPU or GPU. Nothing outside this folder imports vLLM."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recsys.config import Settings
from recsys.engine.base import (
    CACHE_BLOCK,
    ContinuationScores,
    Generation,
    GenerationRequest,
    LabelScores,
    TokenIds,
    Tokenizer,
)
from recsys.engine.checkpoints.lora import adapter_rank
from recsys.engine.labels import label_ids, require_effect
from recsys.engine.scheduler import BatchScheduler, first_line
from recsys.errors import EngineError, MissingDependency

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.lora.request import LoRARequest

_STARTING = threading.Lock()  # a start hides the main module, and looks for its child processes


def prepare_cpu() -> None:
    """Let vLLM use every allowed core and keep few kernels; user settings stay.

    By default it keeps one core for itself, which on two cores halves the speed.
    """
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, available_cores())))
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    # Kernels of matrix products are kept by shape, some 1.5 MiB for each length of a step: keeping as
    # many as few steps need costs no time (docs/lab-notes.md), and memory does not grow.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def available_cores() -> list[int]:
    """List the ids of the cores this process may run on."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return sorted(allowed)


def quiet_libraries() -> None:
    """Silence vLLM and torch, unless the user has set that, before their import."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_LOGS", "-all")  # "-" means errors only


def on_gpu() -> bool:
    """Tell whether vLLM will run on a GPU. False where torch cannot be imported."""
    quiet_libraries()
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@contextmanager
def _hidden_main_module() -> Iterator[None]:
    """Keep vLLM's child process from running the caller's script again.

    On CPU vLLM spawns its engine, and Python's spawn imports the main module anew:
    a three-line script without an `if __name__ == "__main__"` would start itself.
    The child needs nothing of it.
    """
    main = sys.modules["__main__"]
    file, spec = main.__dict__.pop("__file__", None), main.__spec__
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


@contextmanager
def _quiet_children() -> Iterator[None]:
    """Silence Python warnings of child processes, unless PYTHONWARNINGS is set."""
    if "PYTHONWARNINGS" in os.environ:
        yield
        return
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        yield
    finally:
        del os.environ["PYTHONWARNINGS"]


class VllmEngine:
    """In-process `vllm.LLM`; starts in 15 s (CPU, small model) to minutes.

    Args:
        model: Folder of the checkpoint, or Hugging Face id.
        settings: Memory, types and time limits.
        adapter: Name of the adapter that is merged into `model`, or that `lora` holds.
        lora: Folder of an adapter for vLLM to apply.

    Raises:
        EngineError: vLLM does not start.
        ModelError: The adapter does not change the model.
        MissingDependency: vLLM is not installed.
    """

    kind = "vllm"

    def __init__(
        self, model: str | Path, settings: Settings, *, adapter: str | None = None, lora: Path | None = None
    ) -> None:
        self.model = settings.model
        self.adapter = adapter
        self.llm: LLM | None
        self.llm, processes = _start(model, settings, lora)
        # A script that ends without `close` would wait for its engine for ever.
        atexit.register(self.close)
        self._scheduler = BatchScheduler(self.llm, processes, settings.timeout_s)
        self.tokenizer = cast(Tokenizer, self.llm.get_tokenizer())
        self.max_model_len: int = self.llm.llm_engine.model_config.max_model_len
        self._lora: LoRARequest | None = None
        if lora:
            try:
                self._apply_adapter(lora)
            except BaseException:
                self.close()
                raise

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        """Score labels after each prompt: see `Engine`."""
        from vllm import SamplingParams

        ids = list(label_ids)
        sampling = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=ids, detokenize=False)
        scores = []
        for output in self._run(prompts, [sampling] * len(prompts), exact=exact):
            by_id = output.outputs[0].logprobs[0]
            logprobs = tuple(float(by_id[i].logprob) for i in ids)
            scores.append(
                LabelScores(
                    logprobs=logprobs,
                    label_mass=min(1.0, math.fsum(map(math.exp, logprobs))),
                    prompt_tokens=len(output.prompt_token_ids),
                    cached_tokens=output.num_cached_tokens or 0,
                )
            )
        return scores

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        """Score a continuation after each prompt: see `Engine`."""
        outputs = self._prompt_logprobs(prompts, continuations, range(len(prompts)), cached=True)
        # vLLM has no log-probs of tokens that it read from its cache, so by default a request for
        # them reads nothing. Here only those of the continuation matter: when its first tokens are
        # in a cached block, as after an equal request, it is computed anew.
        unscored = [i for i, output in outputs.items() if (output.num_cached_tokens or 0) >= len(prompts[i])]
        outputs |= self._prompt_logprobs(prompts, continuations, unscored, cached=False)
        return [
            ContinuationScores(
                # Rows before the continuation may be missing or, where cached, unset memory.
                logprobs=tuple(
                    float(row[token].logprob)
                    for row, token in zip(outputs[i].prompt_logprobs[-len(tokens) :], tokens, strict=True)
                ),
                prompt_tokens=len(outputs[i].prompt_token_ids),
                cached_tokens=outputs[i].num_cached_tokens or 0,
            )
            for i, tokens in enumerate(continuations)
        ]

    def generate(self, request: GenerationRequest) -> list[Generation]:
        """Continue each prompt: see `Engine`."""
        return [_generation(output) for output in self._run(request.prompts, _sampling(request))]

    def stream(self, request: GenerationRequest) -> Iterator[tuple[int, Generation]]:
        """Yield answers while others are still decoded.

        A slow reader does not hold others up; one that leaves frees the engine of the rest.
        """
        for index, output in self._answers(request.prompts, _sampling(request)):
            yield index, _generation(output)

    def close(self) -> None:
        """Free the model."""
        atexit.unregister(self.close)
        self._scheduler.close()
        if self.llm is not None:
            self.llm.llm_engine.engine_core.shutdown()
            self.llm = None

    def _prompt_logprobs(
        self,
        prompts: Sequence[TokenIds],
        continuations: Sequence[TokenIds],
        indices: Sequence[int],
        *,
        cached: bool,
    ) -> dict[int, Any]:
        """Run some prompts with their continuations; vLLM's outputs by index."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            detokenize=False,
            skip_reading_prefix_cache=not cached,
        )
        whole = [[*prompts[i], *continuations[i]] for i in indices]
        return dict(zip(indices, self._run(whole, [sampling] * len(whole)), strict=True))

    def _run(self, prompts: Sequence[TokenIds], params: Sequence[Any], *, exact: bool = False) -> list[Any]:
        """Return vLLM's output for each prompt, in their order."""
        outputs = dict(self._answers(prompts, params, exact=exact))
        return [outputs[index] for index in range(len(prompts))]

    def _answers(
        self, prompts: Sequence[TokenIds], params: Sequence[Any], *, exact: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Yield (index of the prompt, vLLM's output) as each is finished.

        `exact`: alone in the engine, and from an empty cache: a salt of its own is part of
        the key of every block, so that no blocks match but those that this call fills.
        """
        from vllm.inputs import TokensPrompt

        inputs = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
        if exact:
            salt = secrets.token_hex(8)
            for prompt in inputs:
                prompt["cache_salt"] = salt
        return self._scheduler.answers(inputs, params, lora=self._lora, alone=exact)

    def _apply_adapter(self, folder: Path) -> None:
        """Use a LoRA from now on. Raise ModelError if it does not change the model."""
        from vllm.lora.request import LoRARequest

        prompt = self.tokenizer.encode("Would this person enjoy it? Answer:", add_special_tokens=False)
        ids = label_ids(self.tokenizer, ("Yes", "No"))
        without = self.label_logprobs([prompt], ids)[0]
        self._lora = LoRARequest(folder.name, 1, str(folder))
        require_effect(self.label_logprobs([prompt], ids)[0], without, folder.name)


def _start(model: str | Path, settings: Settings, lora: Path | None) -> tuple[LLM, list[Any]]:
    """Start vLLM; the engine, and the child processes that it runs in."""
    gpu = on_gpu()
    try:
        import vllm
    except ImportError as error:
        raise MissingDependency(
            f"vLLM cannot be imported: {error}",
            hint="`make setup` in a clone; or pip install 'whyrec[gpu]'; `recsys doctor` finds what is wrong",
        ) from error
    options = _common_options(model, settings, lora)
    if not gpu:
        options |= _cpu_options(settings)
    with _STARTING, _hidden_main_module(), _quiet_children():
        before = set(multiprocessing.active_children())
        try:
            llm = vllm.LLM(**options)
            if not gpu:
                llm.collective_rpc("keep_head")
        except Exception as error:  # vLLM raises many kinds while loading
            raise EngineError(
                f"vLLM did not start: {first_line(error)}",
                hint="`recsys doctor --engine` checks model, memory and CPU features one by one",
            ) from error
        return llm, [child for child in multiprocessing.active_children() if child not in before]


def _common_options(model: str | Path, settings: Settings, lora: Path | None) -> dict[str, Any]:
    """Arguments of `vllm.LLM` on every machine."""
    options: dict[str, Any] = {
        "model": str(model),
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "enforce_eager": not settings.compile,
        "enable_prefix_caching": True,
        "trust_remote_code": False,
        "max_logprobs": 128,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # In bf16 the logits of two candidates fall on the same eighth of a nat and
        # tie; the head alone in fp32 tells them apart at almost no cost.
        "hf_overrides": {"head_dtype": "float32"},
        # Without this a small model fills its token budget with blanks.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if settings.quantization == "fp8":  # other kinds are stated in the checkpoint itself
        options["quantization"] = "fp8"
    if lora:
        options |= {"enable_lora": True, "max_lora_rank": adapter_rank(lora)}
    return options


def _cpu_options(settings: Settings) -> dict[str, Any]:
    """Prepare the environment for a CPU; more arguments of `vllm.LLM`."""
    prepare_cpu()
    # The scheduler in this process: one process less to start, and to talk to at every step.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, math.ceil(settings.kv_cache_gb))))
    return {
        # Candidates differ only in a suffix of some twenty tokens: vLLM's default
        # on a CPU, 128, would leave most of what they share uncached.
        "block_size": CACHE_BLOCK,
        "distributed_executor_backend": "recsys.engine.vllm_cpu_patches.SleepingExecutor",
        "worker_extension_cls": "recsys.engine.vllm_cpu_patches.HeadInFloat32",
    }


def _sampling(request: GenerationRequest) -> list[Any]:
    """Convert a request to vLLM's parameters of each prompt."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    return [
        SamplingParams(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            structured_outputs=StructuredOutputsParams(json=dict(schema)) if schema is not None else None,
        )
        for _, schema in request.pairs()
    ]


def _generation(output: Any) -> Generation:
    """Convert vLLM's output for one prompt."""
    return Generation(
        text=output.outputs[0].text,
        truncated=output.outputs[0].finish_reason == "length",
        prompt_tokens=len(output.prompt_token_ids),
        cached_tokens=output.num_cached_tokens or 0,
        generated_tokens=len(output.outputs[0].token_ids),
    )
