"""A merged checkpoint answers as its base with the adapter applied; PEFT is the judge."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys.config import PACKAGED_MODEL, Settings, load_settings
from recsys.engine import load_tokenizer, open_engine, vllm_local
from recsys.engine.adapters import Adapter, load_folder
from recsys.engine.checkpoints import merge
from recsys.engine.checkpoints.lora import check_lora
from recsys.engine.checkpoints.merge import merge_adapter, merged_model
from recsys.engine.checkpoints.weights import check_folder, prepare_model
from recsys.engine.labels import label_ids
from recsys.errors import MissingDependency, ModelError
from tests.adapter_files import World, write_base, write_lora

ROOT = Path(__file__).resolve().parents[2]


def write_llama(folder: Path, dtype: str = "float32") -> Path:
    """Write a random Llama of two layers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def write_peft(base: Path, folder: Path, *, std: float = 0.3, **options: Any) -> Path:
    """Write a random LoRA for `base`, saved by PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    defaults: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype="auto"), LoraConfig(**(defaults | options))
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std)
    model.save_pretrained(str(folder))
    return folder


def logits(model: Any, ids: list[list[int]]) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.float()


def load(folder: Path, adapter: Path | None = None, dtype: str = "auto") -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return (PeftModel.from_pretrained(model, str(adapter)) if adapter else model).eval()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama") / "base")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 20}},
        {"rank_pattern": {"v_proj": 2}},
        {"target_modules": ["o_proj"], "layers_to_transform": [1]},
    ],
    ids=str,
)
def test_merged_logits_are_those_of_peft(options: dict[str, Any], llama: Path, tmp_path: Path) -> None:
    import torch

    adapter = write_peft(llama, tmp_path / "lora", **options)
    merge_adapter(llama, adapter, tmp_path / "merged")
    ids = [[1, 5, 9, 33, 60, 2]]
    expected, base = logits(load(llama, adapter), ids), logits(load(llama), ids)
    torch.testing.assert_close(logits(load(tmp_path / "merged"), ids), expected, rtol=1e-4, atol=1e-5)
    assert (expected - base).abs().max() > 0.1


def test_without_peft_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapter = write_base(tmp_path / "base"), write_lora(tmp_path / "lora")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependency, match="PEFT") as caught:
        merge_adapter(base, adapter, tmp_path / "merged")
    assert "whyrec[cpu]" in caught.value.hint


def test_a_base_in_several_files_is_merged(llama: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    sharded = tmp_path / "sharded"
    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(sharded, max_shard_size="30KB")
    shutil.copyfile(llama / "tokenizer.json", sharded / "tokenizer.json")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    for name, options in {"plain": {}, "dora": {"use_dora": True}}.items():
        adapter = write_peft(llama, tmp_path / name, **options)
        merge_adapter(sharded, adapter, tmp_path / f"{name}-merged")
        merged = logits(load(tmp_path / f"{name}-merged"), [[1, 2, 3]])
        torch.testing.assert_close(merged, logits(load(llama, adapter), [[1, 2, 3]]), rtol=1e-4, atol=1e-5)


def test_weights_keep_the_type_of_the_base_and_are_rounded_once(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    base = write_llama(tmp_path / "base", "bfloat16")
    adapter = write_peft(base, tmp_path / "lora")
    merge_adapter(base, adapter, tmp_path / "merged")
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "merged"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    a, b = (tensors[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
    exact = before[f"{name}.weight"].double() + 6 / 4 * (b @ a)
    assert after[f"{name}.weight"].dtype == torch.bfloat16
    assert (after[f"{name}.weight"].double() - exact).abs().max() <= (exact.abs() * 2**-8).max()
    assert torch.equal(after[f"{name}.weight"], exact.to(torch.bfloat16))
    untouched = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(after[untouched], before[untouched])


@pytest.mark.parametrize("options", [{}, {"use_dora": True}], ids=str)
def test_an_adapter_that_changes_nothing_is_refused(
    options: dict[str, Any], llama: Path, tmp_path: Path
) -> None:
    adapter = write_peft(llama, tmp_path / "idle", std=0.0, **options)
    with pytest.raises(ModelError, match="does not change"):
        merge_adapter(llama, adapter, tmp_path / "merged")


def test_an_adapter_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    with pytest.raises(ModelError, match="NaNs detected"):
        merge_adapter(base, write_lora(tmp_path / "lora", scale=float("nan")), tmp_path / "merged")


@pytest.mark.parametrize(
    "field",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"init_lora_weights": "pissa"},
        {"fan_in_fan_out": True},
        {"modules_to_save": ["norm"]},
        {"a_kind_of_the_future": {"x": 1}},
    ],
    ids=str,
)
def test_a_kind_that_vllm_cannot_apply_is_recognised(field: dict[str, Any], tmp_path: Path) -> None:
    base, adapter = write_base(tmp_path / "base"), write_lora(tmp_path / "lora", **field)
    assert next(iter(field)) in check_lora(adapter, base)
    assert check_lora(write_lora(tmp_path / "plain"), base) == ""


# --- in the cache ----------------------------------------------------------------


class Case:
    """A base, an adapter and a cache."""

    def __init__(self, folder: Path) -> None:
        self.base, self.adapter = write_base(folder / "base"), write_lora(folder / "lora")
        self.settings: Settings = load_settings(cache_dir=folder / "cache", model=str(self.base))
        self.lines: list[str] = []

    def merged(self, sha: str = "a" * 12) -> Path:
        return merged_model(self.base, "f" * 12, self.adapter, sha, self.settings, self.lines.append)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_merging_is_done_once(case: Case) -> None:
    folder = case.merged()
    assert folder == case.settings.cache_dir / "models" / f"base-{'f' * 12}+{'a' * 12}"
    check_folder(folder)
    assert "merging" in case.lines[0]
    case.lines.clear()
    assert case.merged() == folder
    assert case.lines == []
    assert case.merged("b" * 12) != folder


def test_a_damaged_merge_is_made_again(case: Case) -> None:
    path = case.merged() / "model.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    assert case.merged() == path.parent
    assert path.read_bytes() == good
    assert "damaged" in case.lines[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_merge_leaves_nothing(
    error: BaseException, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_folder: Path) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(merge, "check_folder", stop)  # all is written by then
        with pytest.raises(ModelError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
            case.merged()
    assert visible(case.settings.cache_dir / "models") == []
    if isinstance(caught.value, ModelError):
        assert "WHYREC_CACHE_DIR" in caught.value.hint
    case.merged()


def test_no_room_is_noticed_before_anything_is_written(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(case.base)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(ModelError, match="No space left"):
        case.merged()
    assert visible(case.settings.cache_dir / "models") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.engine.checkpoints import merge
from tests.engine.test_merge import Case
merge.check_folder = lambda _folder: os.kill(os.getpid(), signal.SIGKILL)
Case(Path(sys.argv[1])).merged()
"""


def test_what_a_killed_merge_left_is_removed_by_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x")], cwd=ROOT, check=False)
    assert done.returncode < 0
    models = tmp_path / "x" / "cache" / "models"
    assert [name[0] for name in visible(models)] == ["."]
    shutil.rmtree(tmp_path / "x" / "base")
    shutil.rmtree(tmp_path / "x" / "lora")
    folder = Case(tmp_path / "x").merged()
    assert visible(models) == [folder.name]


# --- what the engine is given ----------------------------------------------------


class Opened:
    """Stands in for the engine: keeps what it was started with."""

    def __init__(self, model: Path | str, settings: Settings, **options: Any) -> None:
        self.model, self.options = Path(model), options


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(vllm_local, "VllmEngine", Opened)
    monkeypatch.setattr(vllm_local, "on_gpu", lambda: False)
    return World(tmp_path / "world")


def opened(world: World, adapter: Adapter | None = None, *, model: str = "", setting: str = "") -> Opened:
    changes = {"model": model or str(world.base), "adapter": setting}
    engine: Any = open_engine(load_settings(**world.settings.model_dump() | changes), adapter=adapter)
    assert isinstance(engine, Opened)
    return engine


def test_on_a_cpu_the_merged_model_is_loaded_under_the_name_of_the_adapter(world: World) -> None:
    adapter = world.publish()
    engine = opened(world, adapter)
    assert engine.options == {"adapter": adapter.ref, "lora": None}
    assert engine.model.parent == world.settings.cache_dir / "models"
    assert engine.model.name.endswith(f"+{adapter.sha}")
    assert opened(world).model == world.base


def test_on_a_gpu_plain_lora_is_applied_and_other_kinds_are_merged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_local, "on_gpu", lambda: True)
    adapter = world.publish()
    engine = opened(world, adapter)
    assert (engine.model, engine.options) == (world.base, {"adapter": adapter.ref, "lora": adapter.folder})
    dora = load_folder(write_lora(world.folder / "dora", use_dora=True))
    engine = opened(world, dora)
    assert engine.options == {"adapter": str(dora.folder), "lora": None}
    assert engine.model.parent == world.settings.cache_dir / "models"


def test_the_setting_is_used_where_no_adapter_is_given(world: World) -> None:
    adapter = world.publish()
    assert opened(world, setting=adapter.ref).options["adapter"] == adapter.ref
    assert opened(world, setting=str(world.lora())).options["adapter"] == str(world.lora())
    assert opened(world).options == {"adapter": None, "lora": None}
    with pytest.raises(ModelError, match="no adapter 'films@00000000'"):
        opened(world, setting="films@00000000")


def test_an_adapter_of_another_base_is_refused_before_anything_is_made(world: World) -> None:
    adapter = world.publish()
    other = write_base(world.folder / "other", seed=5)
    with pytest.raises(ModelError, match="was fine-tuned on"):
        opened(world, adapter, model=str(other))
    assert not (world.settings.cache_dir / "models").exists()


# --- the packaged model ----------------------------------------------------------


def test_the_packaged_model_answers_as_with_the_adapter_applied(tmp_path: Path) -> None:
    """All but the rounding of the merged weights to bfloat16 is done in float32 on both sides."""
    import torch

    base = prepare_model(load_settings(model=PACKAGED_MODEL))
    assert isinstance(base, Path)
    adapter = write_peft(base, tmp_path / "lora", std=0.1, r=8, lora_alpha=16)
    merge_adapter(base, adapter, tmp_path / "merged")
    tokenizer: Any = load_tokenizer(str(base))
    yes, no = label_ids(tokenizer, ("Yes", "No"))
    films = ("Alien", "Fargo", "Babe", "Heat", "Casino", "Speed", "Clueless", "Sabrina")
    prompts = [tokenizer.encode(f"Someone liked {film}. Would they like Jaws? Answer:") for film in films]

    def log_odds(model: Any) -> Any:
        rows = [logits(model, [ids])[0, -1] for ids in prompts]
        return torch.stack([row[yes] - row[no] for row in rows])

    applied = log_odds(load(base, adapter, "float32"))
    merged = log_odds(load(tmp_path / "merged", dtype="float32"))
    moved = (applied - log_odds(load(base, dtype="float32"))).abs().max()
    assert moved > 0.3
    assert (applied - merged).abs().max() < 0.05
