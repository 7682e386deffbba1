"""From settings to an engine: the checkpoint, its adapter and its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recsys.config import Settings
from recsys.engine.base import Engine, Tokenizer
from recsys.errors import MissingDependency, ModelError

if TYPE_CHECKING:
    from recsys.engine.adapters import Adapter

Progress = Callable[[str], None]


def open_engine(
    settings: Settings, progress: Progress | None = None, adapter: Adapter | None = None
) -> Engine:
    """Start the configured engine, or connect to it.

    On a CPU an adapter is merged into its base model once (seconds), on a GPU vLLM applies it.
    A remote engine must answer before anything loads, and is asked for WHYREC_ADAPTER by that name.

    Args:
        settings: Names the model, and where it runs.
        progress: Gets a line before something takes time.
        adapter: By default the one that WHYREC_ADAPTER names. It is checked before anything loads.

    Raises:
        EngineError: It does not start.
        ModelError: The weights cannot be used.
        MissingDependency: A library is missing; the hint has the pip command.
    """
    if settings.is_remote:
        from recsys.engine.checkpoints.weights import prepare_model
        from recsys.engine.vllm_remote import RemoteEngine

        return RemoteEngine(settings, lambda: load_tokenizer(str(prepare_model(settings, progress))))
    from recsys.engine.adapters import named_adapter
    from recsys.engine.vllm_local import VllmEngine

    adapter = adapter or named_adapter(settings)
    model, lora = prepare_checkpoint(settings, adapter, progress)
    return VllmEngine(model, settings, adapter=adapter.ref if adapter else None, lora=lora)


def prepare_checkpoint(
    settings: Settings, adapter: Adapter | None, progress: Progress | None = None
) -> tuple[Path | str, Path | None]:
    """Make the checkpoint that these settings load, if it is not in the cache.

    Returns:
        Its folder or Hugging Face id, and the LoRA folder to apply where it is not merged in.

    Raises:
        ModelError: The weights, the adapter and the quantisation do not go together.
        MissingDependency: A library is missing.
    """
    from recsys.engine.checkpoints.trimming import int8_model, quantization_of
    from recsys.engine.checkpoints.weights import model_folder, prepare_model
    from recsys.engine.vllm_local import on_gpu

    report = progress or (lambda _line: None)
    model, quantization = prepare_model(settings, progress), settings.quantization
    lora: Path | None = None
    if quantization == "fp8" and not on_gpu():
        raise ModelError("fp8 needs a GPU", hint="set WHYREC_QUANTIZATION=int8, or leave it out")
    if quantization in ("awq", "gptq") and (present := quantization_of(model_folder(model))) != quantization:
        raise ModelError(
            f"{settings.model} is not quantised by {quantization}, but {present or 'not at all'}",
            hint="set WHYREC_MODEL to such a checkpoint, or leave WHYREC_QUANTIZATION out",
        )
    if adapter:
        model, lora = _with_adapter(model, adapter, settings, report)
    if quantization == "int8":
        model = int8_model(model_folder(model), settings, report)
    return model, lora


def _with_adapter(
    base: Path | str, adapter: Adapter, settings: Settings, progress: Progress
) -> tuple[Path, Path | None]:
    """Return the checkpoint to load, and the LoRA folder to apply if not merged."""
    from recsys.engine.adapters import check
    from recsys.engine.checkpoints.lora import check_lora
    from recsys.engine.checkpoints.merge import merged_model
    from recsys.engine.checkpoints.weights import model_fingerprint, model_folder
    from recsys.engine.vllm_local import on_gpu

    check(adapter, base)
    folder = model_folder(base)
    # vLLM applies plain LoRA only, and int8 weights are made of merged ones.
    if on_gpu() and settings.quantization != "int8" and not check_lora(adapter.folder, folder):
        return folder, adapter.folder
    fingerprint = model_fingerprint(base)
    return merged_model(folder, fingerprint, adapter.folder, adapter.sha, settings, progress), None


def load_tokenizer(model: str) -> Tokenizer:
    """Load the tokenizer of a folder or Hugging Face id, without the model.

    Raises:
        ModelError: There is none.
        MissingDependency: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            f"transformers cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'",
        ) from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer for '{model}'", hint="set WHYREC_MODEL to a folder or an id that exists"
        ) from error
    return cast(Tokenizer, tokenizer)
