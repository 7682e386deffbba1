"""Checkpoints made smaller: what is left is what was there, and it is made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Settings
from recsys.engine import prepare_checkpoint, vllm_local
from recsys.engine.checkpoints.trimming import int8_model, quantization_of, without_layers
from recsys.errors import ModelError
from tests.adapter_files import write_base
from tests.engine.test_merge import load, logits, write_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama") / "base", "bfloat16")


def say(line: str) -> None:
    raise AssertionError(f"made again: {line}")


def quiet(_line: str) -> None:
    """Say nothing."""


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_fewer_layers_compute_what_the_others_did(llama: Path, settings: Settings) -> None:
    import torch

    shorter = without_layers(llama, [0], settings, quiet)
    expected = load(llama)
    del expected.model.layers[0]
    ids = [[1, 2, 3, 4]]
    loaded = load(shorter)
    assert len(loaded.model.layers) == 1
    assert torch.equal(logits(loaded, ids), logits(expected, ids))
    assert without_layers(llama, [0], settings, say) == shorter


def test_layers_that_are_not_there_are_refused(llama: Path, settings: Settings) -> None:
    for removed in ([2], [0, 1], [-1]):
        with pytest.raises(ModelError, match="layers"):
            without_layers(llama, removed, settings, quiet)


def test_matrices_of_layers_become_int8_and_nothing_else_changes(llama: Path, settings: Settings) -> None:
    import torch

    small = int8_model(llama, settings, quiet)
    before, after = tensors(llama), tensors(small)
    assert set(before) <= set(after)
    rounded = 0
    for name, weight in before.items():
        if after[name].dtype != torch.int8:
            assert torch.equal(after[name], weight)
            assert "proj" not in name
            continue
        scale = after[f"{name}_scale"]
        assert scale.shape == (weight.shape[0], 1)
        assert ((after[name] * scale - weight.float()).abs() <= scale / 2 + 1e-6).all()
        rounded += 1
    assert rounded == 2 * 7
    assert quantization_of(small) == "compressed-tensors"
    assert json.loads((small / "config.json").read_text())["num_hidden_layers"] == 2
    assert int8_model(llama, settings, say) == small
    with pytest.raises(ModelError, match="already"):
        int8_model(small, settings, quiet)


def test_quantisation_that_cannot_be_had_is_refused_before_anything_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_local, "on_gpu", lambda: False)
    base = write_base(tmp_path / "base")

    def prepared(quantization: str) -> Any:
        settings = Settings(
            cache_dir=tmp_path / "cache",
            model=str(base),
            quantization=quantization,
        )
        return prepare_checkpoint(settings, None)

    with pytest.raises(ModelError, match="needs a GPU"):
        prepared("fp8")
    with pytest.raises(ModelError, match="not quantised by awq"):
        prepared("awq")
    (base / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    assert prepared("awq") == (base, None)
    with pytest.raises(ModelError, match="but awq"):
        prepared("gptq")
    with pytest.raises(ModelError, match="already"):
        prepared("int8")
