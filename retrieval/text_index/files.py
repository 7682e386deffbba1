"""A text index on disk: checked when read, replaced as a whole.

A saved index is a folder of three files: `index.faiss` (vectors), `ids.json` (item id of each row,
and fingerprint of the text that was embedded) and `manifest.json` (what made it, and the hashes of
the other two). It is a cache: one that is stale or damaged is rebuilt.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import ConfigError, IndexDamaged
from recsys.utils.files import flush_to_disk, remove_leftovers, replace_folder, sha256, staged_folder
from recsys.utils.locks import exclusive_lock
from retrieval.text_index import kinds
from retrieval.text_index.kinds import Kind
from retrieval.text_index.rows import FINGERPRINT_DTYPE, Fingerprints
from retrieval.text_index.segment import IndexSegment

if TYPE_CHECKING:
    import faiss

FORMAT = 2
"""Raise it when the files, or what is embedded of an item, change: older indexes are rebuilt."""

VECTORS, IDS, MANIFEST = "index.faiss", "ids.json", "manifest.json"

_CHECKED_AT_ONCE = 65_536


class IndexManifest(BaseModel):
    """What a saved index was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    embedder: str
    kind: Kind
    count: int
    dimension: int
    index_sha256: str  # hexadecimal
    ids_sha256: str


def damaged(folder: Path, reason: str) -> IndexDamaged:
    """Return the error for an index that must be rebuilt."""
    return IndexDamaged(f"text index {folder}: {reason}", hint="build it again: retrieval.open_or_build")


def read(folder: Path, *, embedder_name: str) -> IndexSegment:
    """Read the rows of a saved index and check its hashes.

    Raises:
        IndexDamaged: It is missing, of another format, made by another embedder, truncated, altered
            or inconsistent; the message says which.
    """
    try:
        manifest = _read_manifest(folder)
        if manifest.embedder != embedder_name:
            raise damaged(folder, f"made by embedder '{manifest.embedder}', not '{embedder_name}'")
        ids, fingerprints = _read_ids(folder, manifest)
        return IndexSegment(ids, fingerprints, _read_vectors(folder, manifest), manifest.kind)
    except FileNotFoundError as error:
        missing = f"{Path(error.filename).name} is missing" if folder.is_dir() else "there is none"
        raise damaged(folder, missing) from error
    except OSError as error:
        raise damaged(folder, f"cannot be read: {error}") from error


def write(folder: Path, segment: IndexSegment, *, embedder_name: str) -> None:
    """Write the rows of an index to `folder`; call it inside `only_writer(folder)`.

    The files are completed in another folder, then the folders are swapped: a crash leaves the old
    index, the new one or none, never a mixture.

    Raises:
        ConfigError: The folder holds other files.
        OSError: It cannot be written.
    """
    folder = folder.resolve()
    refuse_foreign(folder)
    with staged_folder(folder) as new:
        fingerprints = [str(digest, "ascii") for digest in segment.fingerprints.tolist()]
        (new / IDS).write_text(json.dumps({"ids": segment.ids, "fingerprints": fingerprints}), "utf-8")
        _write_vectors(new / VECTORS, segment.index)
        manifest = IndexManifest(
            format=FORMAT,
            embedder=embedder_name,
            kind=segment.kind,
            count=len(segment),
            dimension=segment.index.d,
            index_sha256=sha256(new / VECTORS),
            ids_sha256=sha256(new / IDS),
        )
        (new / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
        for path in (new / IDS, new / VECTORS, new / MANIFEST, new):
            flush_to_disk(path)
        replace_folder(new, folder)
        flush_to_disk(folder.parent)


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Wait until nobody else writes to `folder`, then be the only writer.

    Where the system has no file locks nobody waits: each writes, and the last is kept.
    """
    folder = folder.resolve()
    with exclusive_lock(folder.parent / f".{folder.name}.lock") as alone:
        if alone:
            remove_leftovers(folder)
        yield


def refuse_foreign(folder: Path) -> None:
    """Raise ConfigError if saving an index at `folder` would remove something else."""
    try:
        foreign = sorted({path.name for path in folder.iterdir()} - {VECTORS, IDS, MANIFEST})
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"index folder {folder}: {error}", hint="choose a folder of its own") from error
    if foreign:
        raise ConfigError(
            f"index folder {folder} holds other files, such as '{foreign[0]}'",
            hint="choose a folder of its own: it is replaced as a whole",
        )


def _read_manifest(folder: Path) -> IndexManifest:
    try:
        fields: Any = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, RecursionError) as error:
        raise damaged(folder, f"{MANIFEST} is not JSON") from error
    if isinstance(fields, dict) and fields.get("format", FORMAT) != FORMAT:
        raise damaged(folder, f"has format {fields['format']}, this version reads format {FORMAT}")
    try:
        return IndexManifest.model_validate(fields)
    except ValidationError as error:
        raise damaged(folder, f"{MANIFEST} lacks fields or has wrong ones") from error


def _read_ids(folder: Path, manifest: IndexManifest) -> tuple[list[str], Fingerprints]:
    content = (folder / IDS).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.ids_sha256:
        raise damaged(folder, f"{IDS} is truncated or altered")
    rows = json.loads(content)
    ids: list[str] = rows["ids"]
    fingerprints: Fingerprints = np.array(rows["fingerprints"], dtype=FINGERPRINT_DTYPE)
    if not len(ids) == len(fingerprints) == manifest.count:
        raise damaged(folder, f"{IDS} has {len(ids)} items, {MANIFEST} says {manifest.count}")
    return ids, fingerprints


def _read_vectors(folder: Path, manifest: IndexManifest) -> faiss.Index:
    import faiss

    with (folder / VECTORS).open("rb") as file:  # one open file: what is hashed is what is read
        if hashlib.file_digest(file, "sha256").hexdigest() != manifest.index_sha256:
            raise damaged(folder, f"{VECTORS} is truncated or altered")
        file.seek(0)
        try:
            reader = faiss.PyCallbackIOReader(file.read)  # type: ignore[attr-defined]  # not in its stubs
            index = faiss.read_index(reader)
        except RuntimeError as error:
            raise damaged(folder, f"{VECTORS} is not a FAISS index") from error
    if kinds.kind_of(index) != manifest.kind:
        raise damaged(folder, f"{VECTORS} is not an inner-product index of kind '{manifest.kind}'")
    if (index.ntotal, index.d) != (manifest.count, manifest.dimension):
        raise damaged(folder, f"{VECTORS} has another size than {MANIFEST} says")
    store = kinds.store(index)
    for start in range(0, index.ntotal, _CHECKED_AT_ONCE):
        if not np.isfinite(store.reconstruct_n(start, min(_CHECKED_AT_ONCE, index.ntotal - start))).all():
            raise damaged(folder, f"{VECTORS} holds values that are not finite")
    return index


def _write_vectors(path: Path, index: faiss.Index) -> None:
    import faiss

    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # how FAISS reports a full disk
        raise OSError(f"cannot write {path.name}: {error}") from error
