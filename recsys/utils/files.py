"""Files and folders that appear whole: staged nearby, then moved in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def expanded(path: Path) -> Path:
    """Replace a leading `~` of a path by the home folder, if there is one."""
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step, once the new content is on the disk.

    Raises:
        OSError: The file cannot be written; the old one is kept.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder on the disk of `target`; remove it afterwards.

    Move it, or a file in it, to its place before the end: see `replace_folder`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(target), dir=target.parent))
    try:
        new = staging / "new"
        new.mkdir()
        yield new
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def folder_made_once(target: Path, write: Callable[[Path], None]) -> Path:
    """Return `target`; if it is missing, write it as a new folder and move it there.

    Of several processes that write it at the same time, one wins.
    """
    if not target.is_dir():
        with staged_folder(target) as new:
            write(new)
            try:
                os.rename(new, target)
            except OSError:
                if not target.is_dir():  # no other process was faster: a real failure
                    raise
    return target


def remove_leftovers(target: Path) -> None:
    """Remove staged folders of dead processes.

    Call it only while nobody else writes `target`.
    """
    for path in target.parent.glob(f"{_staging_prefix(target)}*"):
        shutil.rmtree(path, ignore_errors=True)


def replace_folder(new: Path, target: Path, *, aside: Path | None = None) -> None:
    """Move a staged folder to `target`; restore an older one if that fails.

    Args:
        new: What `staged_folder(target)` gave.
        target: Where the folder belongs.
        aside: Where the older folder lies for the moment between the two moves, and stays if
            the process is killed then; by default in the staged folder.
    """
    aside = aside or new.with_name("old")
    if not target.exists():
        os.replace(new, target)
        return
    os.replace(target, aside)
    try:
        os.replace(new, target)
    except BaseException:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder if it exists: in one step for its readers, then its files.

    Raises:
        OSError: Something of it could not be removed.
    """
    if not folder.exists():
        return
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.removing-", dir=folder.parent))
        os.replace(folder, aside / "old")
        shutil.rmtree(aside)
    except OSError:
        with suppress(OSError):
            shutil.rmtree(folder)
        raise


def flush_to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hash a file: SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _staging_prefix(target: Path) -> str:
    return f".{target.name}.new-"
