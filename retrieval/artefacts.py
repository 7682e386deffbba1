"""Fitted channels on disk: tensors, and a manifest with origin and hashes.

A saved channel is a folder of `model.safetensors` and `manifest.json`. It is a cache: one that is
stale or damaged is fitted again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.errors import IndexDamaged
from recsys.utils.files import replace_folder, sha256, staged_folder

FORMAT = 1
TENSORS, MANIFEST = "model.safetensors", "manifest.json"


class ArtefactMismatch(IndexDamaged):
    """A saved channel that is intact, but was fitted on something else."""

    def __init__(self, folder: Path, fact: str, actual: Any, expected: Any) -> None:
        error = damaged(folder, f"{fact} is {_short(actual)}, wanted {_short(expected)}")
        super().__init__(error.message, hint=error.hint)
        self.fact = fact  # the name of what differs


def save(folder: Path, kind: str, tensors: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write a channel to `folder`, replacing an older one as a whole or not at all.

    Args:
        folder: Where.
        kind: What the tensors are of.
        tensors: By name.
        facts: JSON values: what it was fitted on, and how.

    Raises:
        OSError: It cannot be written.
    """
    from safetensors.numpy import save_file

    folder = folder.resolve()
    with staged_folder(folder) as new:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, new / TENSORS)
        manifest = {"format": FORMAT, "kind": kind, "sha256": sha256(new / TENSORS), **facts}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        replace_folder(new, folder)


def load(
    folder: Path, kind: str, expected: Mapping[str, Any]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read the tensors and facts of a saved channel.

    Raises:
        ArtefactMismatch: It is intact, but kind, format or a fact is not as `expected`.
        IndexDamaged: It is missing, truncated, altered or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise damaged(folder, f"{MANIFEST} is not an object")
        for name, value in {"format": FORMAT, "kind": kind, **expected}.items():
            if manifest.get(name) != value:
                raise ArtefactMismatch(folder, name, manifest.get(name), value)
        if sha256(folder / TENSORS) != manifest.get("sha256"):
            raise damaged(folder, f"{TENSORS} is truncated or altered")
        tensors = load_file(folder / TENSORS)
    except FileNotFoundError as error:
        missing = f"{Path(error.filename).name} is missing" if folder.is_dir() else "there is none"
        raise damaged(folder, missing) from error
    except (ValueError, RecursionError) as error:
        raise damaged(folder, f"{MANIFEST} is not JSON") from error
    except (OSError, SafetensorError) as error:
        raise damaged(folder, f"cannot be read: {error}") from error
    for name, array in tensors.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise damaged(folder, f"{name} holds values that are not finite")
    return tensors, manifest


def is_of(folder: Path, expected: Mapping[str, Any]) -> bool:
    """Tell whether a saved channel has these facts; its tensors are not read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and all(manifest.get(name) == fact for name, fact in expected.items())


def damaged(folder: Path, reason: str) -> IndexDamaged:
    """Return the error for a channel that must be fitted again."""
    return IndexDamaged(f"channel {folder}: {reason}", hint="fit it again: recsys fit")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
