"""An adapter is a domain's default only if shown to be better; taken out, carried elsewhere, taken in."""

from __future__ import annotations

import errno
import io
import math
import multiprocessing
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Domain
from recsys.engine.adapters import (
    adapters_folder,
    amend,
    check,
    default_adapter,
    export,
    import_adapter,
    list_adapters,
    promote,
    promoted,
    read_promotions,
    remove,
    rollback,
)
from recsys.errors import ModelError, RequestError
from tests.adapter_files import World, better_than

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


pytestmark = pytest.mark.usefixtures("nothing_shipped")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def default_ref(world: World) -> str:
    adapter = promoted("films", world.settings)
    return adapter.ref if adapter else ""


def names(world: World) -> list[str]:
    return sorted(path.name for path in adapters_folder(world.settings, "films").iterdir())


# --- promotion -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ({}, "was not compared with base"),
        ({"comparison": better_than("films@0123456789ab")}, "the default now is base"),
        ({"comparison": better_than("base", low=0.0)}, "not clearly better"),
        ({"comparison": better_than("base", low=-0.01)}, "not clearly better"),
        ({"comparison": better_than("base", low=math.nan)}, "not clearly better"),
        (
            {"comparison": better_than("base"), "reason_checks": {"passed": 94, "total": 100}},
            "94 of 100 reasons",
        ),
        ({"comparison": better_than("base"), "reason_checks": {"passed": 0, "total": 0}}, "0 of 0 reasons"),
    ],
)
def test_an_adapter_that_was_not_shown_to_be_better_is_kept_but_not_promoted(
    evidence: dict[str, Any], message: str, world: World
) -> None:
    adapter = world.publish(**evidence)
    with pytest.raises(ModelError, match="is kept, but not promoted") as caught:
        promote(adapter.ref, world.settings)
    assert message in caught.value.message
    assert "--force" in caught.value.hint
    assert default_adapter("films", world.settings) is None
    assert [kept.ref for kept in list_adapters(world.settings)] == [adapter.ref]
    promotion = promote(adapter.ref, world.settings, force=True)
    assert (promotion.forced, len(promotion.objections)) == (True, 1)
    assert default_ref(world) == adapter.ref
    (recorded,) = read_promotions(adapters_folder(world.settings, "films")).history
    assert recorded == promotion
    assert message in recorded.objections[0]


def test_an_adapter_that_is_better_is_promoted_and_the_next_must_beat_it(world: World) -> None:
    reasons = {"passed": 95, "total": 100, "empty": 1}
    first = world.publish(1, comparison=better_than("base"), reason_checks=reasons)
    promotion = promote(first.ref, world.settings)
    assert (promotion.ref, promotion.replaced, promotion.forced, promotion.objections) == (
        first.ref,
        "base",
        False,
        (),
    )
    with pytest.raises(RequestError, match="the default already"):
        promote(first.ref, world.settings, force=True)
    second = world.publish(2, comparison=better_than("base"))
    with pytest.raises(ModelError, match=f"compared with base, but the default now is {first.ref}"):
        promote(second.ref, world.settings)
    amend(second, world.settings, comparison=better_than(first.ref))
    assert promote(second.ref, world.settings).replaced == first.ref


def test_rollback_goes_back_step_by_step(world: World) -> None:
    first, second, third = (world.publish(seed) for seed in (1, 2, 3))
    for adapter in (first, second, third):
        promote(adapter.ref, world.settings, force=True)
    assert rollback("films", world.settings) == second
    assert rollback("films", world.settings) == first
    assert rollback("films", world.settings) is None
    with pytest.raises(RequestError, match="no promotion to roll back"):
        rollback("films", world.settings)
    state = read_promotions(adapters_folder(world.settings, "films"))
    assert [promotion.ref for promotion in state.rolled_back] == [third.ref, second.ref, first.ref]


def test_rollback_passes_over_what_is_gone(world: World) -> None:
    first, second, third = (world.publish(seed) for seed in (1, 2, 3))
    for adapter in (first, second, third):
        promote(adapter.ref, world.settings, force=True)
    remove(second.ref, world.settings)
    assert rollback("films", world.settings) == first


def test_a_default_that_is_gone_is_an_error_with_a_way_out(world: World) -> None:
    adapter = world.publish()
    promote(adapter.ref, world.settings, force=True)
    shutil.rmtree(adapter.folder)
    with pytest.raises(ModelError, match="cannot be used") as caught:
        default_adapter("films", world.settings)
    assert "rollback --domain films" in caught.value.hint
    assert rollback("films", world.settings) is None


def test_a_damaged_adapter_is_not_promoted(world: World) -> None:
    adapter = world.publish(comparison=better_than("base"))
    (adapter.folder / CONFIG).write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        promote(adapter.ref, world.settings, force=True)
    assert read_promotions(adapters_folder(world.settings, "films")).ref == ""


@pytest.mark.parametrize("content", ["", "[]", '{"history": 3}'])
def test_an_unreadable_record_of_promotions_is_named(content: str, world: World) -> None:
    adapter = world.publish()
    (adapter.folder.parent / "promoted.json").write_text(content)
    with pytest.raises(ModelError, match=r"promoted\.json is unreadable"):
        default_adapter("films", world.settings)


def _promote(folder: Path, ref: str) -> None:
    promote(ref, World(folder).settings, force=True)


def test_promotions_at_once_are_all_recorded(world: World) -> None:
    refs = [world.publish(seed).ref for seed in range(4)]
    spawn = multiprocessing.get_context("fork")
    processes = [spawn.Process(target=_promote, args=(world.folder, ref)) for ref in refs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    history = read_promotions(adapters_folder(world.settings, "films")).history
    assert sorted(promotion.ref for promotion in history) == sorted(refs)
    assert [promotion.replaced for promotion in history] == [
        "base",
        *(promotion.ref for promotion in history[:-1]),
    ]


def test_no_room_for_the_record_leaves_the_old_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.publish(1), world.publish(2)
    promote(first.ref, world.settings, force=True)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left"):
        promote(second.ref, world.settings, force=True)
    assert promoted("films", world.settings) == first
    assert names(world) == sorted([first.sha, second.sha, "promoted.json"])


# --- removing and carrying -------------------------------------------------------


def test_only_an_adapter_that_is_not_the_default_is_removed(world: World, films: Domain) -> None:
    first, second = world.publish(1), world.publish(2)
    promote(first.ref, world.settings, force=True)
    with pytest.raises(RequestError, match="is the default"):
        remove(first.ref, world.settings)
    merged = [world.settings.cache_dir / "models" / f"base-0+{adapter.sha}" for adapter in (first, second)]
    for folder in merged:
        folder.mkdir(parents=True)
    remove(second.ref, world.settings)
    assert list_adapters(world.settings) == [first]
    assert [folder.exists() for folder in merged] == [True, False]
    export(first.ref, films.folder / "adapter", world.settings)
    elsewhere = World(world.folder / "elsewhere").settings
    with pytest.raises(RequestError, match="not in the registry"):
        remove(first.ref, elsewhere, films.folder)


@pytest.mark.parametrize("name", ["out.tar", "out.tar.gz", "folder/out"])
def test_an_exported_adapter_is_the_same_after_import(name: str, world: World, tmp_path: Path) -> None:
    adapter = world.publish(comparison=better_than("base"))
    out = export(adapter.ref, tmp_path / name, world.settings)
    with pytest.raises(RequestError, match="exists"):
        export(adapter.ref, out, world.settings)
    other = World(tmp_path / "elsewhere")
    taken = import_adapter(out, other.settings)
    assert taken.manifest == adapter.manifest
    assert taken.folder.is_relative_to(other.settings.data_dir)
    assert import_adapter(out, other.settings) == taken
    assert check(taken, other.base) == []
    assert sorted(path.name for path in out.parent.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (tarfile.TarInfo("../evil.json"), "cannot be unpacked"),
        (tarfile.TarInfo("/evil.json"), r"manifest\.json"),
        (tarfile.TarInfo("films/evil.py"), "does not belong"),
        (tarfile.TarInfo("films/evil.bin"), "holds evil.bin"),
    ],
)
def test_an_archive_with_more_than_an_adapter_is_refused(
    member: tarfile.TarInfo, message: str, world: World, tmp_path: Path
) -> None:
    adapter = world.publish()
    out = tmp_path / "deep" / "er" / "out.tar"
    out.parent.mkdir(parents=True)
    with tarfile.open(out, "w") as archive:
        if message != r"manifest\.json":
            archive.add(adapter.folder, "films")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    settings = World(tmp_path / "elsewhere").settings
    with pytest.raises(ModelError, match=message):
        import_adapter(out, settings)
    assert list_adapters(settings) == []
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_links_is_refused(kind: bytes, world: World, tmp_path: Path) -> None:
    member = tarfile.TarInfo("films/link")
    member.type, member.linkname = kind, "manifest.json"
    with tarfile.open(tmp_path / "out.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(ModelError, match="is not a plain file"):
        import_adapter(tmp_path / "out.tar", world.settings)


@pytest.mark.parametrize("content", [None, b"", b"no tar", b"\x1f\x8b\x08"])
def test_a_file_that_is_no_archive_is_refused(content: bytes | None, world: World, tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError):
        import_adapter(path, world.settings)


def test_an_import_that_was_altered_is_refused(world: World, tmp_path: Path) -> None:
    out = export(world.publish().ref, tmp_path / "out", world.settings)
    (out / WEIGHTS).write_bytes((world.lora(1) / WEIGHTS).read_bytes())
    other = World(tmp_path / "elsewhere").settings
    with pytest.raises(ModelError, match="was altered"):
        import_adapter(out, other)
    assert list_adapters(other) == []
