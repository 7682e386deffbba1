"""Model weights on disk: the packaged model unpacked once, others checked.

The packaged model is turned into a plain safetensors checkpoint in the cache folder. Pickled
weights are refused and no code of a model is run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from recsys.config import PACKAGED_MODEL, Settings
from recsys.engine.checkpoints.cache import (
    MANIFEST,
    CheckpointSource,
    Progress,
    cached_checkpoint,
    damage,
    safetensors_header,
)
from recsys.engine.checkpoints.gguf import PACKAGE_OF, convert_gguf, packaged_gguf
from recsys.errors import ModelError
from recsys.utils.files import sha256

FORMAT = 1
"""Raise it when the conversion changes: checkpoints made before are made again."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_MODEL_FILES = {".json", ".safetensors", ".jinja", ".model", ".txt"}
_HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def prepare_model(settings: Settings, progress: Progress | None = None) -> Path | str:
    """Find what to load for `settings.model`: a checked folder or Hugging Face id.

    The packaged model is unpacked into the cache at its first use (about 15 s, 270 MB), and its
    hashes are checked at every later one (.2 s). `progress` gets a line when that takes time.

    Raises:
        ModelError: The folder or name cannot be used.
        MissingDependency: The packaged model or transformers is not installed.
    """
    if settings.model in PACKAGE_OF:
        return _packaged(settings, progress or (lambda _line: None))
    folder = _expanded(settings.model)
    if settings.model and folder.is_dir():
        check_folder(folder)
        return folder
    if folder.exists() or not _HUGGING_FACE_ID.fullmatch(settings.model):
        raise ModelError(
            f"no model at '{settings.model}'",
            hint=f"WHYREC_MODEL takes a folder, a Hugging Face id (Qwen/Qwen3-0.6B), or {PACKAGED_MODEL}",
        )
    return settings.model


def model_fingerprint(path_or_id: Path | str) -> str:
    """Return a short hash of a model's content, for manifests and cache keys.

    Of a folder: the first 12 hex digits of a SHA-256 over its model files, the same for every
    version of transformers that unpacked them. Of a Hugging Face id: the commit in the local
    cache; "name-" and a hash of the id where there is none yet.
    """
    folder = _expanded(path_or_id)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in _model_files(folder):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{_file_identity(path)}\n".encode())
        return digest.hexdigest()[:12]
    return (
        _cached_commit(str(path_or_id)) or f"name-{hashlib.sha256(str(path_or_id).encode()).hexdigest()[:12]}"
    )


def check_folder(folder: Path) -> None:
    """Raise ModelError if a folder is not a complete safetensors checkpoint."""
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise ModelError(
            f"{folder} holds no config.json",
            hint="it is a LoRA adapter: set WHYREC_ADAPTER to it, or merge it into its base model"
            if adapter
            else "WHYREC_MODEL must be the folder that a model was saved to with save_pretrained",
        )
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"{folder} holds no tokenizer", hint="save the tokenizer into the same folder")
    _check_weights(folder)


def inspect_packaged(settings: Settings) -> tuple[Path, str]:
    """Return the unpacked model's folder, and why it must be remade; "" if good.

    Raises:
        MissingDependency, ModelError: As `packaged_gguf` does.
    """
    folder, source = _converted(settings, packaged_gguf(settings.model))
    return folder, damage(folder, source)


def model_cache(settings: Settings) -> Path:
    """Return the folder of checkpoints that were made here."""
    return _expanded(settings.cache_dir) / "models"


def model_folder(path_or_id: Path | str) -> Path:
    """Return the folder of a prepared model; download a Hugging Face id first.

    Raises:
        ModelError: It cannot be downloaded.
    """
    if isinstance(path_or_id, Path):
        return path_or_id
    try:
        from huggingface_hub import snapshot_download

        patterns = [f"*{suffix}" for suffix in sorted(_MODEL_FILES)]
        return Path(snapshot_download(path_or_id, allow_patterns=patterns))
    except (ImportError, OSError, ValueError) as error:  # the hub's own errors are OSErrors too
        raise ModelError(
            f"{path_or_id} cannot be downloaded: {str(error).strip().splitlines()[0][:200]}",
            hint=f"start once with a network, or: hf download {path_or_id}",
        ) from error


def copy_all_but_weights(base: Path, out: Path) -> None:
    """Copy all but the weights of a checkpoint to a folder for weights of its size.

    Raises:
        OSError: There is no room for those weights: a full disk has odd symptoms in other libraries.
    """
    needed = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    if shutil.disk_usage(out).free < needed + 16 * 1024**2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for path in _model_files(base):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, out / path.name)


def _converted(settings: Settings, gguf: Path) -> tuple[Path, CheckpointSource]:
    source = CheckpointSource(gguf.name, sha256(gguf), FORMAT)
    return model_cache(settings) / f"{settings.model}-{source.sha256[:12]}", source


def _packaged(settings: Settings, progress: Progress) -> Path:
    gguf = packaged_gguf(settings.model)

    def make(staging: Path) -> None:
        convert_gguf(gguf, staging)
        check_folder(staging)

    try:
        folder, source = _converted(settings, gguf)
        message = f"unpacking the model {settings.model} (once, about 15 s)"
        return cached_checkpoint(folder, source, make, progress, message)
    except OSError as error:
        raise ModelError(
            f"the model cannot be unpacked into {settings.cache_dir}: {error.strerror or error}",
            hint="it needs 300 MB in a writable folder: free some, or set WHYREC_CACHE_DIR to another",
        ) from error


def _check_weights(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = next((path.name for path in sorted(folder.glob("*.bin"))), "")
        raise ModelError(
            f"{folder} holds no safetensors weights" + (f", only {pickled}" if pickled else ""),
            hint="pickled weights can run code and are refused: where you trust them, load them with "
            "transformers and save_pretrained them again"
            if pickled
            else "copy all files of the model; a GGUF file must be converted first",
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} is unreadable", hint="copy the model again") from error
        if missing := sorted(shards - {path.name for path in weights}):
            raise ModelError(f"{folder} lacks {', '.join(missing[:3])}", hint="copy all files of the model")
    for path in weights:
        try:
            safetensors_header(path)
        except ValueError as error:
            raise ModelError(
                f"{path} is cut off or not a safetensors file",
                hint="copy it again; a clone without Git LFS holds only pointers",
            ) from error


def _model_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in _MODEL_FILES and path.name != MANIFEST and path.is_file()
    )


def _file_identity(path: Path) -> str:
    """Hash a model file; leave a library's version out of a configuration."""
    if path.name in {"config.json", "generation_config.json"}:
        try:
            fields = json.loads(path.read_bytes())
            fields.pop("transformers_version", None)
        except (ValueError, AttributeError, TypeError):  # unreadable: then the bytes are its identity
            return sha256(path)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return sha256(path)


def _cached_commit(name: str) -> str:
    """Return 12 digits of a Hugging Face model's commit in the local cache, or ""."""
    try:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(name, "config.json")
    except (ImportError, ValueError):  # the library is missing, or does not allow the name
        return ""
    return Path(config).parent.name[:12] if isinstance(config, str) else ""


def _expanded(path: Path | str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return Path(path)
