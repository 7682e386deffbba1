"""What each method trains, and what it says where it cannot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.model import load_base, make_trainable
from recsys.config import Settings
from recsys.config.finetuning import FinetuneConfig
from recsys.errors import MissingDependency, ModelError
from tests.fakes import DOMAIN
from tests.finetune.world import SMALL, finetune_job, write_shop

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def trainable(tiny: Path, **options: Any) -> Any:
    config = FinetuneConfig.model_validate({"rank": 4, "alpha": 8, **options})
    return make_trainable(load_base(tiny, config), config)


def trained(model: Any) -> dict[str, int]:
    return {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", ["lora", "rslora", "dora"])
def test_adapters_train_small_matrices_beside_every_linear_layer(method: str, tiny: Path) -> None:
    model = trainable(tiny, method=method)
    names = trained(model)
    kinds = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if method == "dora" else set())
    assert {part for name in names for part in name.split(".") if part.startswith("lora_")} == kinds
    assert {part for name in names for part in name.split(".") if part.endswith("_proj")} == LINEAR
    assert len(names) == 2 * len(LINEAR) * len(kinds)
    assert not any("lm_head" in name or "embed" in name for name in names)
    assert sum(names.values()) < 0.3 * sum(p.numel() for p in model.parameters())
    scale = model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"]
    assert scale == (8 / 4**0.5 if method == "rslora" else 8 / 4)
    config = model.peft_config["default"]
    assert (config.use_dora, config.use_rslora) == (method == "dora", method == "rslora")


def test_named_modules_alone_are_adapted(tiny: Path) -> None:
    names = trained(trainable(tiny, modules=("q_proj", "v_proj")))
    assert {part for name in names for part in name.split(".") if part.endswith("_proj")} == {
        "q_proj",
        "v_proj",
    }


@pytest.mark.parametrize("embeddings", [False, True])
def test_partial_trains_the_last_layers_and_the_norm(embeddings: bool, tiny: Path) -> None:
    names = set(trained(trainable(tiny, method="partial", layers=1, embeddings=embeddings)))
    expected = {
        name for name, _ in load_base(tiny, FinetuneConfig()).named_parameters() if "layers.1." in name
    }
    expected |= {"model.norm.weight"} | ({"model.embed_tokens.weight"} if embeddings else set())
    assert names == expected
    both = set(trained(trainable(tiny, method="partial", layers=9)))  # more than there are: all of them
    assert {name for name in both if "layers.0." in name}


def test_full_trains_everything(tiny: Path) -> None:
    model = trainable(tiny, method="full")
    assert trained(model) == {name: p.numel() for name, p in model.named_parameters()}


def test_adapters_begin_as_the_base_model_and_by_the_seed(tiny: Path) -> None:
    import torch

    ids = torch.tensor([[5, 60, 99, 120]])
    with torch.no_grad():
        base = load_base(tiny, FinetuneConfig()).eval()(ids).logits
        for method in ("lora", "dora"):
            torch.testing.assert_close(
                trainable(tiny, method=method).eval()(ids).logits, base, atol=1e-4, rtol=0
            )

    def first(seed: int) -> Any:
        return next(p for name, p in trainable(tiny, seed=seed).named_parameters() if "lora_A" in name)

    assert first(0).equal(first(0))
    assert not first(0).equal(first(1))


def test_qlora_without_bitsandbytes_names_the_package(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with pytest.raises(MissingDependency, match="bitsandbytes") as caught:
        trainable(tiny, method="qlora")
    assert "lora" in caught.value.hint


def test_without_peft_the_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependency, match="peft") as caught:
        trainable(tiny)
    assert "whyrec[train]" in caught.value.hint


def test_modules_that_the_model_lacks_are_named(tiny: Path) -> None:
    with pytest.raises(ModelError, match="c_attn") as caught:
        trainable(tiny, modules=("c_attn",))
    assert "modules" in caught.value.hint


@pytest.mark.parametrize("present", [True, False])
def test_a_folder_without_a_model_is_an_error(present: bool, tmp_path: Path) -> None:
    if present:
        (tmp_path / "config.json").write_text('{"model_type": "of the future"}')
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_base(tmp_path, FinetuneConfig())


def test_a_label_of_several_tokens_is_refused(tmp_path: Path, settings: Settings, tiny: Path) -> None:
    toml = DOMAIN.replace("[items]", 'prompts = "words"\n[items]', 1) + SMALL
    shop = write_shop(tmp_path / "films", toml=toml)
    (shop / "words" / "rank").mkdir(parents=True)
    with finetune_job(write_shop(tmp_path / "plain"), settings) as plain:
        source = plain.template.source
    (shop / "words" / "rank" / "pointwise.j2").write_text(source.replace('"Yes"', '"Certainly they would"'))
    with (
        finetune_job(shop, settings.model_copy(update={"model": str(tiny)})) as ready,
        pytest.raises(ModelError, match="label 'Certainly they would' is") as caught,
    ):
        assert ready.labels
    assert "one token each" in caught.value.hint
