"""Publication, removal, export and import of adapters, each in one step."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.config import Settings
from recsys.engine.adapters.manifest import (
    FORMAT,
    Adapter,
    AdapterDraft,
    AdapterManifest,
    check_files,
    content_sha,
    load_adapter,
)
from recsys.engine.adapters.registry import adapters_folder, changing, default_adapter, find_adapter
from recsys.engine.checkpoints.cache import MANIFEST, record_files
from recsys.engine.checkpoints.lora import CONFIG, WEIGHTS, read_files
from recsys.engine.checkpoints.weights import model_cache
from recsys.errors import ModelError, RequestError
from recsys.utils.files import (
    flush_to_disk,
    remove_folder,
    remove_leftovers,
    replace_folder,
    staged_folder,
    write_text,
)

EVIDENCE = {"metrics", "base_metrics", "paired", "comparison", "reason_checks"}
"""Fields of a manifest that may be measured after an adapter was published."""

_TAR = (".tar", ".tar.gz", ".tgz")
_MAX_BYTES, _MAX_FILES = 8 * 1024**3, 1000
# Files allowed beside the weights: only those that document them.
_REPORTS = {".json", ".jsonl", ".md", ".txt", ".csv", ".html", ".svg", ".png", ".toml", ".yaml", ".j2"}


def publish(staging: Path, draft: AdapterDraft, settings: Settings) -> Adapter:
    """Copy the LoRA in `staging`, with its report files, into the registry.

    Its name comes from its content; the same content is not written twice. In the
    configuration the name of the base model replaces any path, and lists are sorted, so that
    the name does not depend on the machine.

    Raises:
        ModelError: The files are not a LoRA or do not belong beside one, or the registry cannot
            be written.
    """
    _, config = read_files(staging)
    with changing(settings, draft.domain) as folder, _unnamed_folder(folder) as new:
        for path in _publishable(staging):
            target = new / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (new / CONFIG).write_text(_normalised(config, draft.base_model), encoding="utf-8")
        manifest = AdapterManifest(
            **draft.model_dump(), format=FORMAT, sha=content_sha(new), files=record_files(new)
        )
        (new / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return _put(new, folder / manifest.sha)


def amend(adapter: Adapter, settings: Settings, **evidence: Any) -> Adapter:
    """Write what was measured of a published adapter (see EVIDENCE) into its manifest.

    Raises:
        RequestError: The field is another one, or the adapter is not in the registry.
    """
    manifest = adapter.published()
    if unknown := evidence.keys() - EVIDENCE:
        raise RequestError(f"'{sorted(unknown)[0]}' of an adapter cannot change", hint="publish another one")
    if adapter.folder != adapters_folder(settings, manifest.domain) / manifest.sha:
        raise RequestError(f"{adapter.ref} is not in the registry", hint="publish or import it first")
    with changing(settings, manifest.domain):
        fields = load_adapter(adapter.folder).published().model_dump()
        amended = AdapterManifest.model_validate(fields | evidence)
        write_text(adapter.folder / MANIFEST, amended.model_dump_json(indent=2) + "\n")
    return load_adapter(adapter.folder)


def remove(ref: str, settings: Settings, domain_folder: Path | None = None) -> Adapter:
    """Delete an adapter, and models it was merged into.

    Raises:
        RequestError: It is the default, or not in the registry.
    """
    adapter = find_adapter(ref, settings, domain_folder)
    domain = adapter.published().domain
    with changing(settings, domain) as folder:
        if adapter.folder != folder / adapter.sha:
            raise RequestError(f"{adapter.ref} is not in the registry", hint="it ships with its domain")
        default = default_adapter(domain, settings, domain_folder)
        if default and default.ref == adapter.ref:
            raise RequestError(
                f"{adapter.ref} is the default", hint=f"`recsys adapters rollback --domain {domain}` first"
            )
        remove_folder(adapter.folder)
    for merged in model_cache(settings).glob(f"*+{adapter.sha}"):
        shutil.rmtree(merged, ignore_errors=True)
    return adapter


def export(ref: str, out: Path, settings: Settings, domain_folder: Path | None = None) -> Path:
    """Copy an adapter into a new file `out` (.tar, .tar.gz), or else a new folder.

    Raises:
        ModelError: The adapter is damaged, or `out` cannot be written.
        RequestError: `out` exists.
    """
    adapter = find_adapter(ref, settings, domain_folder)
    manifest = adapter.published()
    check_files(adapter)
    if out.exists():
        raise RequestError(f"{out} exists", hint="give a new name")
    names = sorted([*manifest.files, MANIFEST])
    try:
        with staged_folder(out) as staging:
            if out.name.endswith(_TAR):
                _write_archive(staging / out.name, adapter, names)
                os.rename(staging / out.name, out)
            else:
                _copy_files(names, adapter.folder, staging)
                os.rename(staging, out)
    except OSError as error:
        raise ModelError(
            f"{out} cannot be written: {error.strerror or error}", hint="choose another path"
        ) from error
    return out


def import_adapter(path: Path, settings: Settings) -> Adapter:
    """Import an exported adapter, a tar file or a folder, checked file by file.

    Raises:
        ModelError: The archive holds anything but plain files, or pickled weights, or a file
            is not what the manifest says.
    """
    with tempfile.TemporaryDirectory(prefix="whyrec-import-") as work:
        source = path if path.is_dir() else _unpacked(path, Path(work))
        adapter = load_adapter(source)
        check_files(adapter)
        _publishable(source)
        manifest = adapter.published()
        with changing(settings, manifest.domain) as folder, _unnamed_folder(folder) as new:
            _copy_files((*manifest.files, MANIFEST), source, new)
            check_files(load_adapter(new))
            return _put(new, folder / manifest.sha)


@contextmanager
def _unnamed_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder for an adapter without a name yet; call it within `changing`."""
    unnamed = folder / "adapter"
    remove_leftovers(unnamed)
    with staged_folder(unnamed) as new:
        yield new


def _put(new: Path, folder: Path) -> Adapter:
    """Move a finished adapter to its folder, unless it is there already and undamaged."""
    try:
        present = load_adapter(folder)
        check_files(present)
    except ModelError:
        pass
    else:
        return present
    for path in (*new.rglob("*"), new):
        path.chmod(0o755 if path.is_dir() else 0o644)
        flush_to_disk(path)
    replace_folder(new, folder)
    flush_to_disk(folder.parent)
    return load_adapter(folder)


def _publishable(folder: Path) -> list[Path]:
    """List a folder's files; raise ModelError if one does not suit an adapter."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ModelError(f"{path} is not a plain file", hint="copy what it points to")
        if path.is_dir() or path == folder / MANIFEST:
            continue
        if path != folder / WEIGHTS and path.suffix.lower() not in _REPORTS:
            raise ModelError(
                f"{path} does not belong into an adapter", hint=f"it takes {WEIGHTS}, {CONFIG} and reports"
            )
        files.append(path)
    return files


def _normalised(config: dict[str, Any], base_model: str) -> str:
    """Convert a PEFT configuration to text that is the same on every machine."""
    fields = config | {"base_model_name_or_path": base_model}
    for name, value in fields.items():
        if name.endswith("_modules") and isinstance(value, list):  # PEFT keeps a set
            fields[name] = sorted(value)
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def _unpacked(path: Path, work: Path) -> Path:
    """Unpack a tar file and return its folder.

    Raises ModelError for anything but plain files of sane size.
    """
    try:
        with tarfile.open(path) as archive:
            members = []
            for member in archive:
                members.append(member)
                if not (member.isreg() or member.isdir()):
                    raise ModelError(f"{path}: {member.name} is not a plain file", hint="export it again")
                if len(members) > _MAX_FILES or sum(m.size for m in members) > _MAX_BYTES:
                    raise ModelError(f"{path} is too large for an adapter", hint="export it again")
            archive.extractall(work, members, filter="data")
    except FileNotFoundError as error:
        raise ModelError(
            f"no file {path}", hint="give an exported adapter: a tar file or a folder"
        ) from error
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be unpacked: {error}", hint="export it again") from error
    folders = [manifest.parent for manifest in sorted(work.glob(f"*/{MANIFEST}"))]
    return folders[0] if len(folders) == 1 else work


def _copy_files(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def _write_archive(path: Path, adapter: Adapter, names: Iterable[str]) -> None:
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name in names:
            archive.add(adapter.folder / name, f"{adapter.ref}/{name}", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the user's name from a tar entry."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
