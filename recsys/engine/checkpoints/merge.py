"""A LoRA adapter written into its base model, once, into the cache.

vLLM applies adapters on a CPU 5 to 12 times slower than plain weights; a merged checkpoint
costs nothing at run time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.config import Settings
from recsys.engine.checkpoints.cache import CheckpointSource, Progress, make_once
from recsys.engine.checkpoints.lora import WEIGHTS, Lora, LoraLayer, read_lora
from recsys.engine.checkpoints.weights import check_folder, copy_all_but_weights, model_cache
from recsys.errors import MissingDependency, ModelError

if TYPE_CHECKING:
    import torch

FORMAT = 1
"""Raise it when merging changes: checkpoints merged before are merged again."""


def merged_model(
    base: Path, base_fingerprint: str, adapter: Path, sha: str, settings: Settings, say: Progress
) -> Path:
    """The checkpoint `base` with an adapter merged in, from the cache or made now (about 5 s).

    Its name tells the base and the adapter, both by content, so that it is never stale.
    Raises ModelError as `merge_adapter` does, and if there is no room.
    """
    folder = model_cache(settings) / f"{Path(settings.model).name or base.name}-{base_fingerprint}+{sha}"
    identity = hashlib.sha256(f"{base_fingerprint}\0{sha}".encode()).hexdigest()
    try:
        return make_once(
            folder,
            CheckpointSource(folder.name, identity, FORMAT),
            lambda staging: merge_adapter(base, adapter, staging),
            say,
            f"merging the adapter {sha} into {settings.model} (once, some seconds)",
        )
    except OSError as error:
        raise ModelError(
            f"the merged model cannot be written into {settings.cache_dir}: {error.strerror or error}",
            hint="it is as large as the base model: free some space, or set WHYREC_CACHE_DIR to another folder",
        ) from error


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write the checkpoint `base` with the LoRA in `adapter` merged in to the folder `out`.

    Sums are made in float32 and rounded once, to the base's type. Plain and rank-stabilised
    LoRA need no PEFT; DoRA and other kinds are merged by it. Raises ModelError for an
    adapter that does not fit, is not finite or changes nothing, MissingDependency if PEFT
    is needed and not installed, OSError if the folder cannot be written.
    """
    lora = read_lora(adapter, base)
    out.mkdir(parents=True, exist_ok=True)
    copy_all_but_weights(base, out)
    if lora.special:
        _merge_with_peft(base, lora, out)
    else:
        _merge_by_hand(base, lora, out)
    check_folder(out)


def _merge_by_hand(base: Path, lora: Lora, out: Path) -> None:
    try:
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file
    except ImportError as error:
        raise MissingDependency(
            f"safetensors cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'",
        ) from error
    tensors = load_file(lora.folder / WEIGHTS)
    layers = {layer.weight: layer for layer in lora.layers}
    changed = 0
    for path in sorted(base.glob("*.safetensors")):  # a shard at a time: a base may be large
        with safe_open(path, framework="pt") as shard:
            metadata = shard.metadata() or {"format": "pt"}
            weights = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        for name in weights.keys() & layers.keys():
            merged = _sum(weights[name], tensors, layers[name], lora)
            changed += int((merged != weights[name]).sum())
            weights[name] = merged
        save_file(weights, out / path.name, metadata)
    if not changed:
        raise _idle(lora)


def _sum(
    weight: torch.Tensor, tensors: dict[str, torch.Tensor], layer: LoraLayer, lora: Lora
) -> torch.Tensor:
    """W + scale * B @ A, in float32, in W's own type."""
    delta = lora.scale * (tensors[layer.b].float() @ tensors[layer.a].float())
    if not delta.isfinite().all():
        raise ModelError(
            f"{lora.folder}: {layer.a} or its B is not finite", hint="tune it anew, with a lower rate"
        )
    return (weight.float() + delta).to(weight.dtype)


def _merge_with_peft(base: Path, lora: Lora, out: Path) -> None:
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise MissingDependency(
            f"the adapter {lora.folder} needs PEFT to be merged ({lora.special})",
            hint="pip install 'whyrec[train]', or tune a plain LoRA",
        ) from error
    dtype = AutoConfig.from_pretrained(base).dtype or torch.float32
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = {name: weight.detach().to(dtype) for name, weight in model.named_parameters()}
    try:
        merged = PeftModel.from_pretrained(model, lora.folder).merge_and_unload(safe_merge=True).to(dtype)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{lora.folder} cannot be merged: {str(error).splitlines()[0][:200]}",
            hint="save it again with peft",
        ) from error
    if all(torch.equal(weight, before[name]) for name, weight in merged.named_parameters()):
        raise _idle(lora)
    (out / "model.safetensors.index.json").unlink(missing_ok=True)  # it names the base's shards
    merged.save_pretrained(out)


def _idle(lora: Lora) -> ModelError:
    return ModelError(
        f"adapter '{lora.folder.name}' does not change the model",
        hint="it may belong to another base model, or was not tuned at all",
    )
