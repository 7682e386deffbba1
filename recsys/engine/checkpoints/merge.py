"""A LoRA adapter merged into its base model, once, into the cache.

vLLM applies adapters on a CPU 5 to 12 times slower than plain weights; a merged checkpoint
costs nothing at run time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from recsys.config import Settings
from recsys.engine.checkpoints.cache import CheckpointSource, Progress, cached_checkpoint
from recsys.engine.checkpoints.gguf import quiet_transformers
from recsys.engine.checkpoints.lora import check_lora
from recsys.engine.checkpoints.weights import check_folder, copy_all_but_weights, model_cache
from recsys.errors import MissingDependency, ModelError

FORMAT = 1
"""Raise it when merging changes: checkpoints merged before are merged again."""


def merged_model(
    base: Path, base_fingerprint: str, adapter: Path, sha: str, settings: Settings, progress: Progress
) -> Path:
    """Return `base` with an adapter merged in, cached or made now (about 10 s).

    Its name holds the base and the adapter, both by content, so that it is never stale.

    Raises:
        ModelError: As `merge_adapter` does, and if there is no room.
        MissingDependency: PEFT is not installed.
    """
    folder = model_cache(settings) / f"{Path(settings.model).name or base.name}-{base_fingerprint}+{sha}"
    identity = hashlib.sha256(f"{base_fingerprint}\0{sha}".encode()).hexdigest()
    try:
        return cached_checkpoint(
            folder,
            CheckpointSource(folder.name, identity, FORMAT),
            lambda staging: merge_adapter(base, adapter, staging),
            progress,
            f"merging the adapter {sha} into {settings.model} (once, some seconds)",
        )
    except OSError as error:
        raise ModelError(
            f"the merged model cannot be written into {settings.cache_dir}: {error.strerror or error}",
            hint="it is as large as the base model: free some space, or set WHYREC_CACHE_DIR to another",
        ) from error


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write the checkpoint `base`, with the LoRA in `adapter` merged in, to `out`.

    PEFT adds in float32 (6 bytes of memory a parameter); each weight is rounded once, to the base's type.

    Raises:
        ModelError: The adapter does not fit, is not finite or changes nothing.
        MissingDependency: PEFT is not installed.
        OSError: The folder cannot be written.
    """
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise MissingDependency(
            f"PEFT, which merges adapters, cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'",
        ) from error
    check_lora(adapter, base)
    out.mkdir(parents=True, exist_ok=True)
    copy_all_but_weights(base, out)
    with quiet_transformers():
        dtype = AutoConfig.from_pretrained(base).dtype or torch.float32
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = {name: weight.detach().to(dtype) for name, weight in model.named_parameters()}
        try:
            merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True).to(dtype)
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            raise ModelError(
                f"{adapter} cannot be merged: {str(error).splitlines()[0][:200]}",
                hint="save it again with peft, or fine-tune it again with a lower rate",
            ) from error
        if all(torch.equal(weight, before[name]) for name, weight in merged.named_parameters()):
            raise ModelError(
                f"adapter '{adapter.name}' does not change the model",
                hint="it may belong to another base model, or was not fine-tuned at all",
            )
        (out / "model.safetensors.index.json").unlink(missing_ok=True)  # it names the base's shards
        merged.save_pretrained(out)
    check_folder(out)
