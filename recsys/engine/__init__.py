"""Language models behind one small protocol: vLLM here, or vLLM elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recsys.config import Settings
from recsys.engine.base import ContinuationScores, Engine, Generation, LabelScores, Tokenizer
from recsys.errors import MissingDependency, ModelError

if TYPE_CHECKING:
    from recsys.adapters import Adapter

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
    from recsys.engine.weights import prepare_model

    if settings.engine.startswith(("http://", "https://")):
        from recsys.engine.remote import RemoteEngine

        return RemoteEngine(settings, lambda: load_tokenizer(str(prepare_model(settings, progress))))
    from recsys.adapters import named_adapter
    from recsys.engine.local import VllmEngine

    adapter = adapter or named_adapter(settings)
    base = prepare_model(settings, progress)
    if adapter is None:
        return VllmEngine(base, settings)
    model, lora = _with_adapter(base, adapter, settings, progress or (lambda _line: None))
    return VllmEngine(model, settings, adapter=adapter.ref, lora=lora)


def _with_adapter(
    base: Path | str, adapter: Adapter, settings: Settings, progress: Callable[[str], None]
) -> tuple[Path, Path | None]:
    """The checkpoint to load, and the LoRA folder to apply to it where it is not merged in."""
    from recsys.adapters import check
    from recsys.engine.local import on_gpu
    from recsys.engine.lora import read_lora
    from recsys.engine.merge import merged_model
    from recsys.engine.weights import model_fingerprint, model_folder

    check(adapter, base)
    folder = model_folder(base)
    if on_gpu() and not read_lora(adapter.folder, folder).special:  # vLLM knows plain LoRA only
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
