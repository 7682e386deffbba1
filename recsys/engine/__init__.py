"""Language models behind one small protocol: vLLM here, or vLLM elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recsys.config import Settings
from recsys.engine.base import ContinuationScores, Engine, Generation, LabelScores, Tokenizer
from recsys.errors import MissingDependency, ModelError

if TYPE_CHECKING:
    from recsys.engine.adapters import Adapter

__all__ = [
    "ContinuationScores",
    "Engine",
    "Generation",
    "LabelScores",
    "Tokenizer",
    "load_tokenizer",
    "open_engine",
]


def open_engine(
    settings: Settings, progress: Callable[[str], None] | None = None, adapter: Adapter | None = None
) -> Engine:
    """Start (or connect to) the configured engine. A remote one must answer before anything loads.

    `adapter` is the one to use, by default what WHYREC_ADAPTER names. It is checked before
    anything loads; on a CPU it is merged into its base model once (seconds), on a GPU vLLM
    applies it. A remote engine is asked for WHYREC_ADAPTER by that name.
    Raises EngineError when it does not start, ModelError for unusable weights,
    MissingDependency with the pip command.
    """
    if settings.engine.startswith(("http://", "https://")):
        from recsys.engine.checkpoints.weights import prepare_model
        from recsys.engine.vllm_remote import RemoteEngine

        return RemoteEngine(settings, lambda: load_tokenizer(str(prepare_model(settings, progress))))
    from recsys.engine.adapters import named_adapter
    from recsys.engine.vllm_local import VllmEngine

    adapter = adapter or named_adapter(settings)
    model, lora = prepare_checkpoint(settings, adapter, progress)
    return VllmEngine(model, settings, adapter=adapter.ref if adapter else None, lora=lora)


def prepare_checkpoint(
    settings: Settings, adapter: Adapter | None, progress: Callable[[str], None] | None = None
) -> tuple[Path | str, Path | None]:
    """The checkpoint that these settings load, and the LoRA folder to apply to it where it is not merged in.

    Raises ModelError, MissingDependency.
    """
    from recsys.engine.checkpoints.trimming import int8_model, quantization_of
    from recsys.engine.checkpoints.weights import model_folder, prepare_model
    from recsys.engine.vllm_local import on_gpu

    say = progress or (lambda _line: None)
    model, wanted = prepare_model(settings, progress), settings.quantization
    lora: Path | None = None
    if wanted == "fp8" and not on_gpu():
        raise ModelError("fp8 needs a GPU", hint="set WHYREC_QUANTIZATION=int8, or leave it out")
    if wanted in ("awq", "gptq") and (found := quantization_of(model_folder(model))) != wanted:
        raise ModelError(
            f"{settings.model} is not quantised by {wanted}, but {found or 'not at all'}",
            hint="set WHYREC_MODEL to such a checkpoint, or leave WHYREC_QUANTIZATION out",
        )
    if adapter:
        model, lora = _with_adapter(model, adapter, settings, say)
    if wanted == "int8":
        model = int8_model(model_folder(model), settings, say)
    return model, lora


def _with_adapter(
    base: Path | str, adapter: Adapter, settings: Settings, progress: Callable[[str], None]
) -> tuple[Path, Path | None]:
    """The checkpoint to load, and the LoRA folder to apply to it where it is not merged in."""
    from recsys.engine.adapters import check
    from recsys.engine.checkpoints.lora import read_lora
    from recsys.engine.checkpoints.merge import merged_model
    from recsys.engine.checkpoints.weights import model_fingerprint, model_folder
    from recsys.engine.vllm_local import on_gpu

    check(adapter, base)
    folder = model_folder(base)
    # vLLM knows plain LoRA only, and int8 weights are made of what is merged.
    if on_gpu() and settings.quantization != "int8" and not read_lora(adapter.folder, folder).special:
        return folder, adapter.folder
    fingerprint = model_fingerprint(base)
    return merged_model(folder, fingerprint, adapter.folder, adapter.sha, settings, progress), None


def load_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a folder or Hugging Face id, without the model."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            f"transformers cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'",
        ) from error
    try:
        loaded: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer for '{model}'", hint="set WHYREC_MODEL to a folder or an id that exists"
        ) from error
    return cast(Tokenizer, loaded)
