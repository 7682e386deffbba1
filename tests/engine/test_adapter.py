"""A LoRA that does nothing is refused; one that does something is used. The real vLLM decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import Settings, load_settings
from recsys.engine import open_engine
from recsys.engine.adapters import load_folder
from recsys.engine.checkpoints.lora import adapter_rank
from recsys.engine.checkpoints.weights import prepare_model
from recsys.engine.labels import probe
from recsys.errors import ModelError


def make_adapter(folder: Path, *, scale: float) -> Path:
    """A rank-8 LoRA for the packaged model; `scale` 0 leaves the model as it was."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(str(prepare_model(load_settings())), dtype=torch.bfloat16)
    model = get_peft_model(base, LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1.0)
            parameter.data.mul_(scale)
    model.save_pretrained(str(folder))
    return folder


def settings_with(adapter: Path) -> Settings:
    """The merged model goes beside the adapter, not into the cache of whoever runs this."""
    base, cache = prepare_model(load_settings()), adapter.parent / "cache"
    return load_settings(
        adapter=adapter, model=str(base), cache_dir=cache, max_model_len=512, kv_cache_gb=1.0
    )


@pytest.mark.engine
def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not change"):
        open_engine(settings_with(make_adapter(tmp_path / "idle", scale=0.0)))


@pytest.mark.engine
def test_an_adapter_that_acts_is_used_and_named(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "active", scale=0.05)
    engine = open_engine(settings_with(folder))
    try:
        assert engine.adapter == str(folder)
        assert [path.name[-13:] for path in (tmp_path / "cache" / "models").glob("[!.]*")] == [
            f"+{load_folder(folder).sha}"
        ]
        assert probe(engine).label_mass > 0
    finally:
        engine.close()


def test_a_pickled_adapter_is_refused_before_anything_loads(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    (tmp_path / "adapter_config.json").write_text('{"r": 8}')
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        adapter_rank(tmp_path)


@pytest.mark.parametrize("config", ["", "{}", '{"r": "many"}', "[]"])
def test_an_adapter_without_a_readable_rank_is_refused(config: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(ModelError, match="rank"):
        adapter_rank(tmp_path)


def test_a_rank_is_rounded_up_to_one_that_vllm_takes(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text('{"r": 12}')
    assert adapter_rank(tmp_path) == 16
