"""Small adapters and base models as files: no torch, no PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from recsys.config import Settings, load_settings
from recsys.engine.adapters import Adapter, AdapterDraft, publish
from recsys.engine.checkpoints.weights import model_fingerprint

LAYER = "model.layers.0.self_attn.q_proj"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "bias": "none",
    "init_lora_weights": True,
}


def write_base(folder: Path, *, width: int = 4, seed: int = 0) -> Path:
    """A checkpoint of two weights that passes the checks of a model folder."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    weights = {f"{LAYER}.weight": (6, width), "model.norm.weight": (width,)}
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def write_lora(folder: Path, *, width: int = 4, seed: int = 0, scale: float = 1.0, **config: Any) -> Path:
    """A rank-2 LoRA as PEFT saves it, for one weight of `write_base`."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    a = draw.normal(size=(2, width)).astype(np.float32)
    b = (scale * draw.normal(size=(6, 2))).astype(np.float32)
    name = f"base_model.model.{LAYER}"
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def draft(base: Path, **fields: Any) -> AdapterDraft:
    """What the tuning would say of such an adapter."""
    known: dict[str, Any] = {
        "domain": "films",
        "base_model": str(base),
        "base_fingerprint": model_fingerprint(base),
        "template": "rank/pointwise",
        "template_hash": "cafe",
        "data_hash": "beef",
        "split": "the last event of each user",
        "objective": {"listwise": 1.0},
        "options": {"r": 2},
        "metrics": {"ndcg@10": {"value": 0.3, "low": 0.2, "high": 0.4, "n": 90.0}},
        "versions": {"peft": "0.21"},
        "command": "recsys tune",
        "created": "2026-01-01T00:00:00+00:00",
        "seconds": 1.5,
        "seed": 0,
    }
    return AdapterDraft(**known | fields)


def better_than(incumbent: str, low: float = 0.01) -> dict[str, Any]:
    """The comparison that promotion asks for."""
    return {"incumbent": incumbent, "metric": "ndcg@10", "value": low + 0.01, "low": low, "high": low + 0.02}


class World:
    """A registry in a temporary folder, one base model, and adapters that differ by seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "base"
        if not self.base.exists():
            write_base(self.base)
        self.settings: Settings = load_settings(
            data_dir=folder / "data", cache_dir=folder / "cache", model=str(self.base)
        )

    def lora(self, seed: int = 0) -> Path:
        folder = self.folder / f"lora-{seed}"
        return folder if folder.exists() else write_lora(folder, seed=seed)

    def publish(self, seed: int = 0, **fields: Any) -> Adapter:
        return publish(self.lora(seed), draft(self.base, **fields), self.settings)
