"""Smaller checkpoints cached from a plain one: int8 weights or fewer layers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.config import Settings
from recsys.engine.checkpoints.cache import CheckpointSource, Progress, cached_checkpoint
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
"""Raise it when the conversion changes: checkpoints made before are made again."""

_LAYER = re.compile(r"(.*\.layers\.)(\d+)(\..+)")
# Weights by output channel, activations by token at run time: the scheme whose kernels vLLM has
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
    """Return a checkpoint's quantisation as vLLM names it ("awq"); "" for none."""
    return str((_read_config(base).get("quantization_config") or {}).get("quant_method", ""))


def int8_model(base: Path, settings: Settings, progress: Progress) -> Path:
    """Round the layer matrices of `base` to int8, with a scale per output channel.

    Embeddings and the head stay as they are.

    Raises:
        ModelError: The base is quantised already, or the cache cannot be written.
    """
    if quantization := quantization_of(base):
        raise ModelError(f"{base} is quantised already ({quantization})", hint="unset WHYREC_QUANTIZATION")

    def round_matrices(tensors: Tensors) -> Tensors:
        rounded: Tensors = {}
        for name, weight in tensors.items():
            if not (_LAYER.fullmatch(name) and name.endswith(".weight") and weight.ndim == 2):
                rounded[name] = weight
                continue
            exact = weight.float()
            scale = (exact.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12)
            rounded[name] = (exact / scale).round().char()
            rounded[f"{name}_scale"] = scale
        return rounded

    def add_format(config: dict[str, Any]) -> dict[str, Any]:
        return config | {"quantization_config": _INT8}

    return _converted(base, "int8", settings, progress, _Conversion(round_matrices, add_format))


def without_layers(base: Path, removed: Collection[int], settings: Settings, progress: Progress) -> Path:
    """Remove some layers (numbered from 0) from `base`, and number the others anew.

    Raises:
        ModelError: The base does not have those layers, or the cache cannot be written.
    """
    layers = int(_read_config(base)["num_hidden_layers"])
    if not set(removed) < set(range(layers)):
        raise ModelError(f"{base} has {layers} layers, not all of {sorted(removed)}", hint="remove fewer")
    kept = [layer for layer in range(layers) if layer not in removed]
    new_number = {layer: number for number, layer in enumerate(kept)}

    def keep_tensors(tensors: Tensors) -> Tensors:
        remaining: Tensors = {}
        for name, weight in tensors.items():
            match = _LAYER.fullmatch(name)
            if match is None:
                remaining[name] = weight
            elif (layer := int(match[2])) in new_number:
                remaining[f"{match[1]}{new_number[layer]}{match[3]}"] = weight
        return remaining

    def shorten(config: dict[str, Any]) -> dict[str, Any]:
        """Remove the same layers from lists of one value per layer (window kinds, say)."""
        lists = {
            name: [value[layer] for layer in kept]
            for name, value in config.items()
            if isinstance(value, list) and len(value) == layers
        }
        return config | lists | {"num_hidden_layers": len(kept)}

    name = "without-" + "-".join(map(str, sorted(removed)))
    return _converted(base, name, settings, progress, _Conversion(keep_tensors, shorten))


@dataclass(frozen=True)
class _Conversion:
    """How a checkpoint is changed."""

    tensors: Callable[[Tensors], Tensors]  # of one file
    config: Callable[[dict[str, Any]], dict[str, Any]]


def _converted(
    base: Path, name: str, settings: Settings, progress: Progress, conversion: _Conversion
) -> Path:
    """Return the converted checkpoint, from the cache or made now."""
    fingerprint = model_fingerprint(base)
    identity = hashlib.sha256(f"{fingerprint}\0{name}".encode()).hexdigest()
    folder = model_cache(settings) / f"{base.name}-{fingerprint}-{name}"
    try:
        return cached_checkpoint(
            folder,
            CheckpointSource(folder.name, identity, FORMAT),
            lambda staging: _convert(base, staging, conversion),
            progress,
            f"making {folder.name} (once, some seconds)",
        )
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="free some space, or set WHYREC_CACHE_DIR to another folder",
        ) from error


def _convert(base: Path, out: Path, conversion: _Conversion) -> None:
    """Write the converted checkpoint, a file at a time: a base may be large."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    copy_all_but_weights(base, out)
    _write_json(out / "config.json", conversion.config(_read_config(base)))
    file_of: dict[str, str] = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors = conversion.tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(tensors, out / path.name, {"format": "pt"})
        file_of |= dict.fromkeys(tensors, path.name)
    if (index := out / "model.safetensors.index.json").is_file():
        _write_json(index, {"metadata": {}, "weight_map": file_of})
    check_folder(out)


def _read_config(base: Path) -> dict[str, Any]:
    try:
        config = json.loads((base / "config.json").read_bytes())
        if isinstance(config, dict):
            return config
    except (OSError, ValueError):
        pass
    raise ModelError(f"{base} holds no readable config.json", hint="copy the model again")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
