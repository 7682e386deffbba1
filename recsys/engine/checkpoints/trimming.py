"""Smaller checkpoints made of a plain one, once, into the cache: int8 weights, or fewer layers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.config import Settings
from recsys.engine.checkpoints.cache import CheckpointSource, Progress, make_once
from recsys.engine.checkpoints.weights import (
    check_folder,
    copy_all_but_weights,
    model_cache,
    model_fingerprint,
)
from recsys.errors import ModelError

if TYPE_CHECKING:
    import torch

FORMAT = 1
"""Raise it when the making changes: checkpoints made before are made again."""

_LAYER = re.compile(r"(.*\.layers\.)(\d+)(\..+)")
# Weights by output channel, activations by token as they come: the scheme whose kernels vLLM has
# on a CPU (oneDNN) and on GPUs (CUTLASS). Format: github.com/vllm-project/compressed-tensors.
_INT8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}

Tensors = dict[str, "torch.Tensor"]


def quantization_of(base: Path) -> str:
    """How a checkpoint is quantised, in vLLM's words ("awq", "compressed-tensors"); "" if it is not."""
    return str((_config(base).get("quantization_config") or {}).get("quant_method", ""))


def int8_model(base: Path, settings: Settings, say: Progress) -> Path:
    """`base` with the matrices of its layers rounded to int8, each output channel at a scale of its own.

    Embeddings and the head stay as they are. Raises ModelError if it is quantised already, or
    cannot be written.
    """
    if quantization := quantization_of(base):
        raise ModelError(f"{base} is quantised already ({quantization})", hint="unset WHYREC_QUANTIZATION")

    def rounded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, weight in tensors.items():
            if not (_LAYER.fullmatch(name) and name.endswith(".weight") and weight.ndim == 2):
                found[name] = weight
                continue
            exact = weight.float()
            scale = (exact.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12)
            found[name] = (exact / scale).round().char()
            found[f"{name}_scale"] = scale
        return found

    return _made(base, "int8", settings, say, rounded, lambda config: config | {"quantization_config": _INT8})


def without_layers(base: Path, removed: Collection[int], settings: Settings, say: Progress) -> Path:
    """`base` without some of its layers (numbered from 0), the others numbered anew.

    Raises ModelError for layers that it does not have, or if it cannot be written.
    """
    layers = int(_config(base)["num_hidden_layers"])
    if not set(removed) < set(range(layers)):
        raise ModelError(f"{base} has {layers} layers, not all of {sorted(removed)}", hint="remove fewer")
    kept = [layer for layer in range(layers) if layer not in removed]
    place = {layer: number for number, layer in enumerate(kept)}

    def fewer(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, weight in tensors.items():
            match = _LAYER.fullmatch(name)
            if match is None:
                found[name] = weight
            elif (layer := int(match[2])) in place:
                found[f"{match[1]}{place[layer]}{match[3]}"] = weight
        return found

    def shorter(config: dict[str, Any]) -> dict[str, Any]:
        """Lists of one value per layer (window kinds, say) lose the same places."""
        lists = {
            name: [value[layer] for layer in kept]
            for name, value in config.items()
            if isinstance(value, list) and len(value) == layers
        }
        return config | lists | {"num_hidden_layers": len(kept)}

    name = "without-" + "-".join(map(str, sorted(removed)))
    return _made(base, name, settings, say, fewer, shorter)


def _made(
    base: Path,
    name: str,
    settings: Settings,
    say: Progress,
    tensors: Callable[[Tensors], Tensors],
    config: Callable[[dict[str, Any]], dict[str, Any]],
) -> Path:
    """A checkpoint with other tensors, shard by shard, and another configuration."""
    fingerprint = model_fingerprint(base)
    identity = hashlib.sha256(f"{fingerprint}\0{name}".encode()).hexdigest()
    folder = model_cache(settings) / f"{base.name}-{fingerprint}-{name}"

    def make(staging: Path) -> None:
        from safetensors import safe_open
        from safetensors.torch import save_file

        copy_all_but_weights(base, staging)
        _write(staging / "config.json", config(_config(base)))
        places: dict[str, str] = {}
        for path in sorted(base.glob("*.safetensors")):  # a shard at a time: a base may be large
            with safe_open(path, framework="pt") as shard:
                found = tensors({key: shard.get_tensor(key) for key in shard.keys()})  # noqa: SIM118
            save_file(
                {key: tensor.contiguous() for key, tensor in found.items()},
                staging / path.name,
                {"format": "pt"},
            )
            places |= dict.fromkeys(found, path.name)
        if (index := staging / "model.safetensors.index.json").is_file():
            _write(index, {"metadata": {}, "weight_map": places})
        check_folder(staging)

    try:
        source = CheckpointSource(folder.name, identity, FORMAT)
        return make_once(folder, source, make, say, f"making {folder.name} (once, some seconds)")
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="free some space, or set WHYREC_CACHE_DIR to another folder",
        ) from error


def _config(base: Path) -> dict[str, Any]:
    try:
        found = json.loads((base / "config.json").read_bytes())
        if isinstance(found, dict):
            return found
    except (OSError, ValueError):
        pass
    raise ModelError(f"{base} holds no readable config.json", hint="copy the model again")


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
