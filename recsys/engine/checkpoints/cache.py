"""Checkpoints made once in the cache: staged, hashed, moved there whole.

Each has a manifest of hashes. A checkpoint that its hashes do not confirm is made again, never used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.utils.files import remove_leftovers, replace_folder, sha256, staged_folder
from recsys.utils.locks import exclusive_lock

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
    """What a checkpoint is made from."""

    name: str
    sha256: str
    format: int  # raised when the way of making it changes


def cached_checkpoint(
    folder: Path,
    source: CheckpointSource,
    make: Callable[[Path], None],
    progress: Progress,
    message: str,
) -> Path:
    """Return `folder`; make it first if it is missing or damaged.

    Processes that want the same folder wait for each other. A process that dies leaves
    nothing that is used.

    Args:
        folder: Where the checkpoint belongs.
        source: What it must have been made from.
        make: Writes the checkpoint into an empty folder.
        progress: Gets a line if the checkpoint is made.
        message: That line.

    Raises:
        OSError: The folder cannot be written; also what `make` raises.
    """
    if not damage(folder, source):
        return folder
    with exclusive_lock(folder.parent / f".{folder.name}.lock") as exclusive:
        reason = damage(folder, source)  # another process may have just made it
        if not reason:
            return folder
        if folder.exists():
            progress(f"{folder} is damaged ({reason}): making it again")
        progress(message)
        if exclusive:
            remove_leftovers(folder)
        _build(folder, source, make)
    return folder


def damage(folder: Path, source: CheckpointSource) -> str:
    """Return why a checkpoint cannot be used; "" if it can.

    Reads every byte (.15 s for 270 MB).
    """
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
    """Name the first file that differs from its record, and how; "" if none does."""
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
    """Measure and hash every file under `folder`, by path relative to it."""
    return {
        path.relative_to(folder).as_posix(): FileRecord(size=path.stat().st_size, sha256=sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def safetensors_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of each tensor of a safetensors file, and no weights.

    Raises:
        ValueError: The file is not exactly as long as its header says.
        OSError: It cannot be read.
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
            if damage(folder, source):  # otherwise another process was faster, where files cannot be locked
                replace_folder(new, folder)
