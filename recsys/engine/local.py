"""vLLM inside this program's care, on CPU or GPU. The only module that imports vLLM."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recsys.config import Settings
from recsys.engine.base import Generation, LabelScores, TokenIds, Tokenizer
from recsys.engine.checks import label_ids, require_effect
from recsys.errors import EngineDead, EngineError, MissingDependency, ModelError

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest

# Candidates differ only in a suffix of some twenty tokens. vLLM caches whole
# blocks, so its CPU default of 128 would leave most of a shared prefix uncached.
CPU_BLOCK_SIZE = 32
_WATCH_S = 0.2  # how often a waiting call looks whether the engine still lives


def bind_cpu_threads() -> None:
    """Let vLLM compute on every core it may use; by default it keeps one for itself.

    On two cores that default halves the speed. What the user has set stays.
    """
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, available_cores())))
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")


def available_cores() -> list[int]:
    """Ids of the cores this process may run on."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return sorted(allowed)


def quiet_libraries() -> None:
    """Keep vLLM and torch from logging, unless the user has set that. Only works before their import."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_LOGS", "-all")  # "-" means errors only


def on_gpu() -> bool:
    """Whether vLLM will run on a GPU. False where torch cannot be imported."""
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
def _quiet() -> Iterator[None]:
    """Silence the child's Python warnings, unless the user has set that themselves."""
    if "PYTHONWARNINGS" in os.environ:
        yield
        return
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        yield
    finally:
        del os.environ["PYTHONWARNINGS"]


class VllmEngine:
    """An in-process `vllm.LLM`. Start-up takes from 15 s (CPU, small model) to minutes."""

    kind = "vllm"

    def __init__(
        self,
        model: str | Path,
        settings: Settings,
        *,
        adapter: str | None = None,
        lora: Path | None = None,
    ) -> None:
        """`adapter` names what is merged into `model`, or what `lora` is, the folder of one to apply."""
        self._lock = threading.Lock()
        self._settings = settings
        self.model = settings.model
        self.adapter = adapter
        quiet_libraries()
        try:
            import torch
            import vllm
        except ImportError as error:
            raise MissingDependency(
                f"vLLM cannot be imported: {error}",
                hint="`make setup` in a clone; or pip install 'whyrec[gpu]'; `recsys doctor` finds what is wrong",
            ) from error
        gpu = torch.cuda.is_available()
        if not gpu:
            bind_cpu_threads()
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, math.ceil(settings.kv_cache_gb))))
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
        if not gpu:
            options["block_size"] = CPU_BLOCK_SIZE
        if lora:
            options |= {"enable_lora": True, "max_lora_rank": adapter_rank(lora)}
        before = set(multiprocessing.active_children())
        try:
            with _hidden_main_module(), _quiet():
                self._llm: vllm.LLM | None = vllm.LLM(**options)
        except Exception as error:  # vLLM raises many kinds while loading
            raise EngineError(
                f"vLLM did not start: {_first_line(error)}",
                hint="`recsys doctor --engine` checks model, memory and CPU features one by one",
            ) from error
        # A script that ends without `close` would wait for its engine for ever.
        atexit.register(self.close)
        self._processes = [child for child in multiprocessing.active_children() if child not in before]
        self.tokenizer = cast(Tokenizer, self._llm.get_tokenizer())
        self.max_model_len: int = self._llm.llm_engine.model_config.max_model_len
        self._lora: LoRARequest | None = None
        if lora:
            try:
                self._check_adapter(lora)
            except BaseException:
                self.close()
                raise

    def label_logprobs(self, prompts: Sequence[TokenIds], label_ids: Sequence[int]) -> list[LabelScores]:
        from vllm import SamplingParams

        ids = list(label_ids)
        sampling = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=ids, detokenize=False)
        results = []
        for output in self._run(prompts, [sampling] * len(prompts)):
            answer = output.outputs[0].logprobs[0]
            logprobs = tuple(float(answer[i].logprob) for i in ids)
            results.append(
                LabelScores(
                    logprobs=logprobs,
                    label_mass=min(1.0, math.fsum(map(math.exp, logprobs))),
                    prompt_tokens=len(output.prompt_token_ids),
                    cached_tokens=output.num_cached_tokens or 0,
                )
            )
        return results

    def generate(
        self,
        prompts: Sequence[TokenIds],
        *,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        def sampling(schema: Mapping[str, Any] | None) -> SamplingParams:
            held_to = StructuredOutputsParams(json=dict(schema)) if schema is not None else None
            return SamplingParams(
                max_tokens=max_tokens, temperature=temperature, seed=seed, structured_outputs=held_to
            )

        held: Sequence[Mapping[str, Any] | None] = schemas or [None] * len(prompts)
        params = [sampling(schema) for schema in held]
        return [
            Generation(
                text=output.outputs[0].text,
                truncated=output.outputs[0].finish_reason == "length",
                prompt_tokens=len(output.prompt_token_ids),
                cached_tokens=output.num_cached_tokens or 0,
                generated_tokens=len(output.outputs[0].token_ids),
            )
            for output in self._run(prompts, params)
        ]

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None

    def _run(self, prompts: Sequence[TokenIds], params: Sequence[Any]) -> list[Any]:
        """One batch through vLLM. Its `LLM` is not thread-safe, so one at a time."""
        if not prompts:
            return []
        from vllm.inputs import TokensPrompt

        with self._lock:
            if self._llm is None:
                raise EngineDead(
                    "the engine was closed or died", hint="open a new one: recsys.engine.open_engine"
                )
            llm = self._llm
            return self._supervised(
                lambda: llm.generate(
                    [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts],
                    list(params),
                    use_tqdm=False,
                    lora_request=self._lora,
                )
            )

    def _supervised(self, call: Callable[[], list[Any]]) -> list[Any]:
        """Run a vLLM call, but notice when the engine process dies or hangs.

        vLLM waits for ever on an engine that was killed, so the call runs in a
        thread of its own while this one watches process and clock.
        """
        outcome: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def run() -> None:
            try:
                outcome.put(call())
            except Exception as error:  # handed to the waiting thread, which raises it
                outcome.put(error)

        threading.Thread(target=run, name="whyrec-engine-call", daemon=True).start()
        deadline = time.monotonic() + self._settings.timeout_s
        while True:
            try:
                result = outcome.get(timeout=_WATCH_S)
                break
            except queue.Empty:
                if not self._alive():
                    raise self._died("the vLLM process died") from None
                if time.monotonic() > deadline:
                    raise self._died(f"no answer within {self._settings.timeout_s:g} s") from None
        if isinstance(result, Exception):
            if type(result).__name__ == "EngineDeadError" or not self._alive():
                raise self._died("the vLLM process died") from result
            raise EngineError(f"vLLM failed: {_first_line(result)}", hint="see the log above") from result
        return result

    def _alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def _died(self, what: str) -> EngineDead:
        """Give the engine up: what is left of it is killed, later calls fail at once."""
        self._llm = None
        for process in self._processes:
            process.kill()
        return EngineDead(what, hint="out of memory? the next request starts a new engine")

    def _check_adapter(self, folder: Path) -> None:
        from vllm.lora.request import LoRARequest

        prompt = self.tokenizer.encode("Would this person enjoy it? Answer:", add_special_tokens=False)
        ids = label_ids(self.tokenizer, ("Yes", "No"))
        without = self.label_logprobs([prompt], ids)[0]
        self._lora = LoRARequest(folder.name, 1, str(folder))
        require_effect(self.label_logprobs([prompt], ids)[0], without, folder.name)


def adapter_rank(folder: Path) -> int:
    """Rank of a PEFT LoRA folder, rounded up to one vLLM accepts.

    Raises ModelError for a folder that is not a safetensors LoRA.
    """
    import json

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{folder} holds no adapter_model.safetensors",
            hint="pickle (.bin) adapters are refused: convert them",
        )
    try:
        rank = int(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}/adapter_config.json: no readable rank 'r'", hint="save it again with peft"
        ) from error
    return next((size for size in (8, 16, 32, 64, 128, 256) if size >= rank), rank)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
