"""Files and folders are replaced whole, or stay as they were."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recsys.utils.files import remove_folder, remove_leftovers, replace_folder, staged_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    write_text(path, "né")
    assert path.read_bytes() == "né".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == ["file.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_stays_as_it_was(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.json"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    for content in ("old", "new"):
        with staged_folder(target) as new:
            (new / content).touch()
            replace_folder(new, target)
    assert names(target) == ["new"]
    assert names(tmp_path / "new") == ["folder"]


def test_a_folder_that_cannot_be_completed_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(OSError, match="No space"), staged_folder(target):
        full()
    assert (names(tmp_path), names(target)) == (["folder"], ["old"])


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, replace = tmp_path / "folder", os.replace
    target.mkdir()
    (target / "old").touch()

    def fail_for_new(source: Path, destination: Path) -> None:
        if source.name == "new":
            full()
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fail_for_new)
    with pytest.raises(OSError, match="No space"), staged_folder(target) as new:
        replace_folder(new, target)
    assert (names(tmp_path), names(target)) == (["folder"], ["old"])


def test_leftovers_of_one_target_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "one"), staged_folder(tmp_path / "two") as other:
        remove_leftovers(tmp_path / "one")
        assert [path.name for path in tmp_path.iterdir()] == [other.parent.name]


def test_a_removed_folder_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "inner").mkdir(parents=True)
    remove_folder(target)
    remove_folder(target)
    assert names(tmp_path) == []
