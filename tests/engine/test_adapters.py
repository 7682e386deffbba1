"""Adapters: refused before they can do harm, default only if shown to be better, never half there."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Domain, Settings, load_settings
from recsys.engine.adapters import (
    Adapter,
    adapters_folder,
    amend,
    check,
    export,
    find_adapter,
    gate,
    import_adapter,
    list_adapters,
    load_adapter,
    load_folder,
    promote,
    publish,
    registry,
    resolve_adapter,
    rollback,
    scan,
)
from recsys.errors import ModelError, RequestError
from tests.adapter_files import World, better_than, draft, write_base, write_lora

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


pytestmark = pytest.mark.usefixtures("nothing_shipped")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def names(settings: Settings) -> list[str]:
    return sorted(path.name for path in adapters_folder(settings, "films").iterdir())


# --- publishing ------------------------------------------------------------------


def test_a_published_adapter_is_found_by_any_of_its_names(world: World) -> None:
    adapter = world.publish()
    assert adapter.ref == f"films@{adapter.sha}"
    assert find_adapter(adapter.ref, world.settings) == adapter
    assert find_adapter(adapter.ref[:10], world.settings) == adapter
    assert list_adapters(world.settings, "films") == list_adapters(world.settings) == [adapter]
    assert list_adapters(world.settings, "books") == []
    assert check(adapter, world.base) == []


def test_the_name_depends_on_content_and_not_on_the_machine(world: World, tmp_path: Path) -> None:
    first = world.publish()
    moved: dict[str, Any] = {"base_model_name_or_path": "/somewhere/else", "target_modules": ["b", "a"]}
    again: dict[str, Any] = {"base_model_name_or_path": "/here", "target_modules": ["a", "b"]}
    elsewhere = World(tmp_path / "elsewhere")
    first_copy = publish_from(elsewhere, write_lora(tmp_path / "one", **moved), base_model="m")
    second_copy = publish_from(elsewhere, write_lora(tmp_path / "other", **again), base_model="m")
    assert first_copy.sha == second_copy.sha != first.sha
    assert "somewhere" not in (first_copy.folder / CONFIG).read_text()
    assert world.publish(1).sha != first.sha


def publish_from(world: World, staging: Path, **fields: Any) -> Adapter:
    return publish(staging, draft(world.base, **fields), world.settings)


def test_the_same_adapter_is_kept_once_and_mended_if_damaged(world: World) -> None:
    adapter = world.publish()
    assert world.publish(command="another") == adapter
    (adapter.folder / WEIGHTS).write_bytes(b"cut")
    mended = world.publish()
    check(mended, world.base)
    assert names(world.settings) == [adapter.sha]


def test_reports_are_kept_and_other_files_refused(world: World) -> None:
    staging = world.lora()
    (staging / "figures").mkdir()
    (staging / "figures" / "loss.svg").write_text("<svg/>")
    adapter = world.publish()
    assert (adapter.folder / "figures" / "loss.svg").read_text() == "<svg/>"
    (staging / "setup.py").write_text("import os")
    with pytest.raises(ModelError, match=r"setup\.py does not belong"):
        world.publish()
    assert names(world.settings) == [adapter.sha]


def test_what_was_measured_later_is_written_into_the_manifest(world: World) -> None:
    adapter = world.publish()
    amended = amend(adapter, world.settings, comparison=better_than("base"))
    assert amended.sha == adapter.sha
    assert gate(amended, None) == []
    assert check(amended, world.base) == []
    with pytest.raises(RequestError, match="'seed' of an adapter cannot change"):
        amend(adapter, world.settings, seed=3)
    bare = load_folder(world.lora())
    with pytest.raises(RequestError, match="no published adapter"):
        amend(bare, world.settings, metrics={})


def test_a_figure_that_is_no_number_can_be_kept(world: World) -> None:
    adapter = world.publish(metrics={"auc": {"value": float("nan")}})
    assert math.isnan(load_adapter(adapter.folder).published().metrics["auc"]["value"])


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.adapter_files import World
def die(*paths):
    os.kill(os.getpid(), signal.SIGKILL)
world = World(Path(sys.argv[1]))
os.replace = die  # the one call that makes it count
world.publish()
"""


def test_a_process_killed_before_the_rename_leaves_nothing_that_counts(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    world = World(folder)
    (leftover,) = names(world.settings)
    assert leftover.startswith(".adapter.new-")
    assert scan(world.settings) == ([], [])
    adapter = world.publish()
    assert names(world.settings) == [adapter.sha]


# --- refusals --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "state.pkl", "sub/x.PTH"])
def test_pickled_files_are_refused(name: str, world: World, tmp_path: Path) -> None:
    adapter = world.publish()
    for folder in (adapter.folder, world.lora()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match="holds") as caught:
        check(adapter, world.base)
    assert "refused" in caught.value.hint
    for use in (load_folder, lambda _: world.publish(), lambda path: import_adapter(path, world.settings)):
        with pytest.raises(ModelError):
            use(world.lora())


def test_another_base_model_is_refused(world: World, tmp_path: Path) -> None:
    other = write_base(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="was fine-tuned on") as caught:
        check(world.publish(), other)
    assert "WHYREC_MODEL" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 5}, "does not fit"),
        ({"r": 3}, "does not fit"),
        ({"peft_type": "IA3"}, "not the configuration of a LoRA"),
        ({"lora_alpha": None}, "not the configuration of a LoRA"),
    ],
)
def test_what_does_not_fit_the_base_is_refused(
    change: dict[str, Any], message: str, world: World, tmp_path: Path
) -> None:
    folder = write_lora(tmp_path / "lora", **change)
    with pytest.raises(ModelError, match=message):
        check(Adapter(folder, "0" * 12, None), world.base)


def test_a_layer_that_the_base_lacks_is_refused(world: World) -> None:
    empty = write_base(world.folder / "empty")
    (empty / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="which the base model lacks"):
        check(load_folder(world.lora()), empty)


def test_a_file_that_is_cut_off_is_refused(world: World) -> None:
    adapter = world.publish()
    content = (adapter.folder / WEIGHTS).read_bytes()
    (adapter.folder / WEIGHTS).write_bytes(content[:-1])
    with pytest.raises(ModelError, match="has the wrong size"):
        check(adapter, world.base)
    (world.lora() / WEIGHTS).write_bytes(content[:-1])
    with pytest.raises(ModelError, match="cut off"):
        load_folder(world.lora())


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_that_was_altered_is_refused(name: str, world: World) -> None:
    adapter = world.publish()
    content = (adapter.folder / name).read_bytes()
    (adapter.folder / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(ModelError, match=f"{name} was altered"):
        check(adapter, world.base)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff", b'{"format": 1}'])
def test_an_unreadable_manifest_is_refused_and_named_in_the_list(content: bytes | None, world: World) -> None:
    adapter, good = world.publish(), world.publish(1)
    path = adapter.folder / "manifest.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        find_adapter(adapter.ref, world.settings)
    adapters, problems = scan(world.settings)
    assert adapters == [good]
    assert len(problems) == 1
    assert adapter.sha in problems[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("sha", "0" * 12),
        ("domain", "../films"),
        ("files", {"../../x": {"size": 1, "sha256": "0"}}),
        ("files", {}),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(field: str, value: object, world: World) -> None:
    path = world.publish().folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ModelError, match=r"manifest\.json"):
        load_adapter(path.parent)


def test_another_prompt_is_a_warning(world: World) -> None:
    adapter = world.publish()
    assert check(adapter, world.base, "cafe") == []
    (warning,) = check(adapter, world.base, "f00d")
    assert "rank/pointwise (cafe), which is now f00d" in warning


# --- which adapter is used -------------------------------------------------------


def test_the_setting_chooses(world: World, films: Domain) -> None:
    settings, adapter = world.settings, world.publish()

    def with_adapter(text: str, **fields: str) -> Settings:
        return load_settings(**settings.model_dump() | {"adapter": text} | fields)

    assert resolve_adapter(films, settings) is None
    assert resolve_adapter(films, with_adapter(adapter.ref)) == adapter
    bare = resolve_adapter(films, with_adapter(str(world.lora(1))))
    assert bare is not None
    assert (bare.ref, bare.manifest) == (str(world.lora(1)), None)
    promote(adapter.ref, settings, force=True)
    assert resolve_adapter(films, settings) == resolve_adapter(films, with_adapter("films")) == adapter
    assert resolve_adapter(films, with_adapter("none")) is None
    assert resolve_adapter(films, with_adapter("tuned", engine="http://engine.test")) is None
    assert resolve_adapter(films, with_adapter("", model="another/model")) is None
    for unknown in ("films@0123456789ab", "books", "/nowhere", "Films@1"):
        with pytest.raises(ModelError):
            resolve_adapter(films, with_adapter(unknown))


def test_an_adapter_that_comes_with_a_domain_is_its_default_until_another_is_promoted(
    world: World, films: Domain
) -> None:
    export(world.publish().ref, films.folder / "adapter", world.settings)
    shipped = resolve_adapter(films, world.settings)
    assert shipped is not None
    assert shipped.folder == films.folder / "adapter"
    assert find_adapter("films", world.settings, films.folder) == shipped
    better = world.publish(1, comparison=better_than(shipped.ref))
    promote(better.ref, world.settings, films.folder)
    assert resolve_adapter(films, world.settings) == better
    assert rollback("films", world.settings, films.folder) == shipped
    other = world.publish(2, comparison=better_than("base"))
    with pytest.raises(ModelError, match=f"compared with base, but the default now is {shipped.ref}"):
        promote(other.ref, world.settings, films.folder)


def test_a_beginning_that_several_share_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = [replace(world.publish(seed), sha=f"abcd{seed}0000000") for seed in (1, 2)]
    monkeypatch.setattr(registry, "scan", lambda *_: (twins, []))
    assert find_adapter("films@abcd1", world.settings) == twins[0]
    with pytest.raises(ModelError, match="several adapters begin"):
        find_adapter("films@abcd", world.settings)
