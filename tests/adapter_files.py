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
    "task_type": "CAUSAL_LM",
    "target_modules": ["q_proj"],
    "r": 2,
    "lora_alpha": 4,
    "bias": "none",
    "init_lora_weights": True,
}
MODEL: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "float32",
    "hidden_size": 4,
    "intermediate_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 3,
    "vocab_size": 8,
    "tie_word_embeddings": True,
}
SHAPES = {
    "model.embed_tokens": (8, 4),
    "model.layers.0.input_layernorm": (4,),
    "model.layers.0.mlp.down_proj": (4, 4),
    "model.layers.0.mlp.gate_proj": (4, 4),
    "model.layers.0.mlp.up_proj": (4, 4),
    "model.layers.0.post_attention_layernorm": (4,),
    "model.layers.0.self_attn.k_proj": (3, 4),
    "model.layers.0.self_attn.o_proj": (4, 6),
    LAYER: (6, 4),
    "model.layers.0.self_attn.v_proj": (3, 4),
    "model.norm": (4,),
}


def write_base(folder: Path, *, seed: int = 0) -> Path:
    """Write a Llama of one layer, as transformers saves it."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    tensors = {
        f"{name}.weight": generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(MODEL))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def write_lora(folder: Path, *, width: int = 4, seed: int = 0, scale: float = 1.0, **config: Any) -> Path:
    """Write a rank-2 LoRA for one weight of `write_base`, as PEFT saves it."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    a = generator.normal(size=(2, width)).astype(np.float32)
    b = (scale * generator.normal(size=(6, 2))).astype(np.float32)
    name = f"base_model.model.{LAYER}"
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def draft(base: Path, **fields: Any) -> AdapterDraft:
    """Describe such an adapter as fine-tuning would."""
    defaults: dict[str, Any] = {
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
        "command": "recsys finetune",
        "created": "2026-01-01T00:00:00+00:00",
        "seconds": 1.5,
        "seed": 0,
    }
    return AdapterDraft(**defaults | fields)


def better_than(incumbent: str, low: float = 0.01) -> dict[str, Any]:
    """Make a comparison that passes the gate of promotion."""
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
