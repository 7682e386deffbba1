"""Checkpoints made once in the cache: staged beside their place, hashed, moved there whole.

A manifest of hashes lies in each. What the hashes do not confirm is made again, never used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.utils.files import remove_leftovers, replace_folder, sha256, staged_folder
from recsys.utils.locks import only_one

MANIFEST = "manifest.json"

Progress = Callable[[str], None]


class FileRecord(BaseModel):
    """Size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """What a checkpoint was made from, and its files by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    source: str
    source_sha256: str
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class CheckpointSource:
    """What a checkpoint is made from. `format` is raised when the way of making it changes."""

    name: str
    sha256: str
    format: int


def make_once(
    folder: Path, source: CheckpointSource, make: Callable[[Path], None], say: Progress, what: str
) -> Path:
    """`folder`, made by `make` if it is not there as it should be; `say` gets a line if so.

    Processes that want the same folder wait for each other. A process that dies leaves
    nothing that is used. Raises OSError, and what `make` raises.
    """
    if not damage(folder, source):
        return folder
    with only_one(folder.parent / f".{folder.name}.lock") as alone:
        found = damage(folder, source)  # another process may have just made it
        if not found:
            return folder
        if folder.exists():
            say(f"{folder} is damaged ({found}): making it anew")
        say(what)
        if alone:
            remove_leftovers(folder)
        _build(folder, source, make)
    return folder


def damage(folder: Path, source: CheckpointSource) -> str:
    """Why a checkpoint cannot be used as it is; "" if it can. Reads every byte (.15 s for 270 MB)."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return "it is not there" if not folder.exists() else "it has no manifest"
    except (OSError, ValidationError):
        return "its manifest is unreadable"
    if (manifest.format, manifest.source_sha256) != (source.format, source.sha256):
        return "it was made from other weights or by another version"
    return altered_file(folder, manifest.files)


def altered_file(folder: Path, files: dict[str, FileRecord]) -> str:
    """Which of the recorded files is not as recorded, and how; "" if all are."""
    for name, record in files.items():
        path = folder / name
        try:
            if path.stat().st_size != record.size:
                return f"{name} has the wrong size"
            if sha256(path) != record.sha256:
                return f"{name} was altered"
        except OSError:
            return f"{name} is missing or unreadable"
    return ""


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Size and hash of every file under `folder`, by path relative to it."""
    return {
        path.relative_to(folder).as_posix(): FileRecord(size=path.stat().st_size, sha256=sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def safetensors_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a safetensors file. No weight is read.

    Raises ValueError unless the file is exactly as long as its header says, OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= 100_000_000:  # the format's own limit
            raise ValueError("no safetensors header")
        try:
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
            shapes = {name: tuple(int(size) for size in entry["shape"]) for name, entry in entries.items()}
        except (KeyError, IndexError, AttributeError, TypeError, RecursionError) as error:
            raise ValueError("not a safetensors header") from error
    if path.stat().st_size != 8 + length + max(ends, default=0):
        raise ValueError("not as long as its header says")
    return shapes


def _build(folder: Path, source: CheckpointSource, make: Callable[[Path], None]) -> None:
    """Make the checkpoint beside its place, then move it there in one step."""
    with staged_folder(folder) as new:
        make(new)
        for path in new.iterdir():
            path.chmod(0o644)  # the weights come out readable by their owner only
        manifest = Manifest(
            format=source.format, source=source.name, source_sha256=source.sha256, files=record_files(new)
        )
        (new / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        new.chmod(0o755)
        try:
            os.rename(new, folder)
        except OSError:
            if damage(folder, source):  # else another process was faster, where files cannot be locked
                replace_folder(new, folder)
