"""LoRA folders saved by PEFT, checked against a base model before loading.

LoRA (Hu et al., 2022) adds scale * B @ A to a weight; scale is alpha / r, with rank
stabilisation (Kalajdzievski, 2023) alpha / sqrt(r).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recsys.engine.checkpoints.cache import safetensors_header
from recsys.errors import ModelError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")

_Tensor = tuple[str, tuple[int, ...] | None]  # name and shape, None where it is missing

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"\.(lora|trainable)_\w+")
_A, _B = ".lora_A.weight", ".lora_B.weight"
# Fields of a configuration that do not change what its weights mean. Any other field that is
# set asks for a kind of LoRA that only PEFT can apply.
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


def check_lora(folder: Path, base: Path) -> str:
    """Check the LoRA in `folder` against the headers of the base checkpoint.

    Returns:
        What only PEFT can apply of it, "" for a plain or rank-stabilised LoRA.

    Raises:
        ModelError: Pickled weights, a file that is cut off, an unreadable configuration, a layer
            that the base lacks, or a shape that does not fit.
    """
    tensors, config = read_files(folder)
    special = _special(config)
    shapes = base_shapes(base)
    layers, known = 0, set()
    for a in sorted(name for name in tensors if name.endswith(_A)):
        b, weight = a.removesuffix(_A) + _B, a.removeprefix(_PREFIX).removesuffix(_A) + ".weight"
        known |= {a, b}
        if weight not in shapes and special:
            continue  # such as a replicated layer, which PEFT creates first
        rank = 0 if special else int(config["r"])
        _check_layer(folder, (weight, shapes.get(weight)), (a, tensors[a]), (b, tensors.get(b)), rank)
        layers += 1
    if rest := sorted(set(tensors) - known):
        special = special or f"tensors such as {rest[0]}"
    if not layers and not special:
        raise ModelError(f"{folder} holds no LoRA layer", hint="save it again with peft")
    return special


def read_files(folder: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Read the tensors' shapes and the configuration of a LoRA folder.

    Raises:
        ModelError: Pickled weights, whole modules, a file that is cut off, or an unreadable configuration.
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
    if modules := _whole_modules(tensors):
        raise ModelError(
            f"{folder} holds whole modules ({', '.join(modules[:4])}), not only changes of low rank",
            hint="fine-tune without modules_to_save and without new tokens, and save with "
            "save_embedding_layers=False; or merge it yourself and set WHYREC_MODEL to the result",
        )
    return tensors, config


def _whole_modules(tensors: Iterable[str]) -> list[str]:
    """List modules saved whole, as `modules_to_save` or resized embeddings."""
    names = (
        name.removesuffix(".weight").rpartition(".")[2]
        for name in sorted(tensors)
        if name.endswith(".weight") and not _LOW_RANK.search(name)
    )
    return list(dict.fromkeys(names))


def refuse_pickles(folder: Path) -> None:
    """Raise ModelError if a folder holds pickled weights, used or not."""
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLED)
    if pickled:
        raise ModelError(
            f"{folder} holds {pickled[0]}",
            hint="pickled weights can run code and are refused: where you trust them, load them with peft "
            "and save_pretrained them again, into another folder",
        )


def base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of every weight of a checkpoint folder.

    Raises:
        ModelError: A file is unreadable.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(base.glob("*.safetensors")):
        try:
            shapes |= safetensors_header(path)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} is unreadable: {error}", hint="copy the model again") from error
    return shapes


def _check_layer(folder: Path, weight: _Tensor, a: _Tensor, b: _Tensor, rank: int) -> None:
    """Raise ModelError unless B @ A has the shape of the weight; a rank of 0 is any."""
    hint = "it was fine-tuned on another base model, or saved incompletely"
    if weight[1] is None:
        raise ModelError(f"{folder} changes {weight[0]}, which the base model lacks", hint=hint)
    if a[1] is None or b[1] is None:
        raise ModelError(f"{folder} lacks {b[0]}", hint=hint)
    two_dimensional = len(a[1]) == len(b[1]) == len(weight[1]) == 2
    fits = two_dimensional and (b[1][0], a[1][1], a[1][0]) == (*weight[1], b[1][1])
    if not fits or rank not in (0, a[1][0]):
        raise ModelError(
            f"{folder}: B {b[1]} @ A {a[1]} of rank {rank or a[1][0]} does not fit {weight[0]} {weight[1]}",
            hint=hint,
        )


def _special(config: dict[str, Any]) -> str:
    """Return the first field that asks for more than W + scale * B @ A; "" if none."""
    for name, value in sorted(config.items()):
        allowed = _NEUTRAL_VALUES.get(name)
        if allowed is not None:
            if value not in allowed:
                return f"{name} = {value}"
        elif value and name not in _NEUTRAL:
            return f"{name} = {str(value)[:60]}"
    return ""


def adapter_rank(folder: Path) -> int:
    """Read the rank of a PEFT LoRA folder, rounded up to one that vLLM accepts.

    Raises:
        ModelError: The folder is not a safetensors LoRA.
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
