"""What a LoRA folder as PEFT saves it would change in a base model, read before anything loads.

LoRA (Hu et al., 2022) adds scale * B @ A to a weight; scale is alpha / r, with rank
stabilisation (Kalajdzievski, 2023) alpha / sqrt(r).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.engine.checkpoints.cache import safetensors_header
from recsys.errors import ModelError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
# Fields of a configuration that do not change what its weights mean. Any other field
# that is set asks for a kind of LoRA which only PEFT itself knows how to apply.
_NEUTRAL = {
    "r",
    "lora_alpha",
    "use_rslora",
    "lora_dropout",
    "inference_mode",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "base_model_name_or_path",
    "revision",
    "auto_mapping",
    "task_type",
    "peft_type",
    "peft_version",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
}
_NEUTRAL_VALUES = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian")}


@dataclass(frozen=True)
class LoraLayer:
    """The tensors A (rank, in) and B (out, rank) that change one weight (out, in) of the base."""

    weight: str
    a: str
    b: str


@dataclass(frozen=True)
class Lora:
    """A LoRA whose tensors fit their base. `special` names what only PEFT can apply, "" if nothing."""

    folder: Path
    layers: tuple[LoraLayer, ...]
    rank: int
    scale: float
    special: str


def read_lora(folder: Path, base: Path) -> Lora:
    """The LoRA in `folder`, checked against the headers of the base checkpoint.

    Raises ModelError for pickled weights, a file that is cut off, an unreadable
    configuration, a layer that the base lacks, and a shape that does not fit.
    """
    tensors, config = read_files(folder)
    special = _special(config)
    shapes = base_shapes(base)
    layers, known = [], set()
    for a in sorted(name for name in tensors if name.endswith(_A)):
        layer = LoraLayer(a.removeprefix(_PREFIX).removesuffix(_A) + ".weight", a, a.removesuffix(_A) + _B)
        known |= {layer.a, layer.b}
        if layer.weight not in shapes and special:
            continue  # such as a replicated layer, which PEFT makes first
        _check_shapes(folder, layer, tensors, shapes, rank=0 if special else int(config["r"]))
        layers.append(layer)
    if rest := sorted(set(tensors) - known):
        special = special or f"tensors such as {rest[0]}"
    if not layers and not special:
        raise ModelError(f"{folder} holds no LoRA layer", hint="save it again with peft")
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Lora(folder, tuple(layers), rank, scale, special)


def read_files(folder: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The tensors' shapes and the configuration of a LoRA folder.

    Raises ModelError for pickled weights, a file that is cut off, an unreadable configuration.
    """
    refuse_pickles(folder)
    try:
        tensors = safetensors_header(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no {WEIGHTS}", hint="give the folder that peft saved to") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / WEIGHTS} is cut off or not a safetensors file",
            hint="copy it again; a clone without Git LFS holds only pointers",
        ) from error
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        if config["peft_type"] != "LORA" or int(config["r"]) < 1:
            raise ValueError("another kind of adapter")
        float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{folder / CONFIG} is not the configuration of a LoRA", hint="save it again with peft"
        ) from error
    return tensors, config


def refuse_pickles(folder: Path) -> None:
    """Raise ModelError if pickled weights lie anywhere in a folder, whether used or not."""
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLED)
    if pickled:
        raise ModelError(
            f"{folder} holds {pickled[0]}",
            hint="pickled weights can run code and are refused: where you trust them, load them with peft and "
            "save_pretrained them again, into another folder",
        )


def base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of a checkpoint folder. Raises ModelError if a file is unreadable."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(base.glob("*.safetensors")):
        try:
            shapes |= safetensors_header(path)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} is unreadable: {error}", hint="copy the model again") from error
    return shapes


def _check_shapes(
    folder: Path,
    layer: LoraLayer,
    tensors: dict[str, tuple[int, ...]],
    shapes: dict[str, tuple[int, ...]],
    *,
    rank: int,
) -> None:
    hint = "it was tuned on another base model, or saved incompletely"
    a, b, weight = tensors[layer.a], tensors.get(layer.b), shapes.get(layer.weight)
    if weight is None:
        raise ModelError(f"{folder} changes {layer.weight}, which the base model lacks", hint=hint)
    if b is None:
        raise ModelError(f"{folder} lacks {layer.b}", hint=hint)
    fits = len(a) == len(b) == len(weight) == 2 and (b[0], a[1], a[0]) == (*weight, b[1])
    if not fits or rank not in (0, a[0]):
        raise ModelError(
            f"{folder}: B {b} @ A {a} of rank {rank or a[0]} does not fit {layer.weight} {weight}", hint=hint
        )


def _special(config: dict[str, Any]) -> str:
    """The first field of a configuration that asks for more than W + scale * B @ A; "" if none."""
    for name, value in sorted(config.items()):
        allowed = _NEUTRAL_VALUES.get(name)
        if allowed is not None:
            if value not in allowed:
                return f"{name} = {value}"
        elif value and name not in _NEUTRAL:
            return f"{name} = {str(value)[:60]}"
    return ""


def adapter_rank(folder: Path) -> int:
    """Rank of a PEFT LoRA folder, rounded up to one vLLM accepts.

    Raises ModelError for a folder that is not a safetensors LoRA.
    """
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} holds no {WEIGHTS}", hint="pickle (.bin) adapters are refused: convert them"
        )
    try:
        rank = int(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}/{CONFIG}: no readable rank 'r'", hint="save it again with peft"
        ) from error
    return next((size for size in (8, 16, 32, 64, 128, 256) if size >= rank), rank)
