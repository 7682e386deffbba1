"""The manifest of an adapter: how it was fine-tuned, and its files' hashes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recsys.engine.checkpoints.cache import MANIFEST, FileRecord, altered_file
from recsys.engine.checkpoints.lora import CONFIG, WEIGHTS, read_files, refuse_pickles
from recsys.errors import ModelError, RequestError
from recsys.utils.files import sha256

FORMAT = 1
DOMAIN = r"[a-z0-9][a-z0-9_-]*"
SHA_DIGITS = 12
Figures = dict[str, dict[str, float]]
"""By metric: its value, the ends of its interval (low, high), and n."""

_MAKE_AGAIN = "copy or import it again, or remove it and fine-tune again"


class Comparison(BaseModel):
    """How much better than the incumbent an adapter is on validation."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    incumbent: str  # a ref or "base"
    metric: str
    value: float  # the difference
    low: float  # ends of its interval
    high: float


class ReasonChecks(BaseModel):
    """How many reasons written with the adapter passed their checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    passed: int = Field(ge=0)
    total: int = Field(ge=0)


class AdapterDraft(BaseModel):
    """An adapter's metadata from fine-tuning; `publish` adds what its files tell."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    domain: str = Field(pattern=f"^{DOMAIN}$")
    base_model: str
    base_fingerprint: str
    template: str
    template_hash: str
    data_hash: str
    split: str  # its rule, in words
    objective: dict[str, float]
    options: dict[str, Any]
    metrics: Figures = {}
    base_metrics: Figures = {}
    paired: Figures = {}
    comparison: Comparison | None = None
    reason_checks: ReasonChecks | None = None
    versions: dict[str, str]
    command: str
    created: str  # ISO 8601
    seconds: float  # of fine-tuning
    seed: int


class AdapterManifest(AdapterDraft):
    """A published adapter: its name by content, and its files."""

    format: int
    sha: str = Field(pattern=f"^[0-9a-f]{{{SHA_DIGITS}}}$")
    files: dict[str, FileRecord]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name} lies outside the adapter's folder")
        return files

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if missing := {CONFIG, WEIGHTS} - self.files.keys():
            raise ValueError(f"files lacks {sorted(missing)[0]}")
        if self.sha != combined_sha({name: record.sha256 for name, record in self.files.items()}):
            raise ValueError("sha is not that of the files")
        return self

    @property
    def ref(self) -> str:
        """The adapter's name: `domain@sha`."""
        return f"{self.domain}@{self.sha}"


@dataclass(frozen=True)
class Adapter:
    """A LoRA folder."""

    folder: Path
    sha: str  # of its content
    manifest: AdapterManifest | None  # None of a bare folder that was never published

    @property
    def ref(self) -> str:
        """`domain@sha`, or the folder where there is no manifest."""
        return self.manifest.ref if self.manifest else str(self.folder)

    def published(self) -> AdapterManifest:
        """Return the manifest. Raise RequestError for a bare folder."""
        if self.manifest is None:
            raise RequestError(
                f"{self.ref} is no published adapter", hint="fine-tune one, or import one that was exported"
            )
        return self.manifest


def load_adapter(folder: Path) -> Adapter:
    """Load an adapter from its folder's manifest, without reading its weights.

    `check_files` checks the weights.

    Raises:
        ModelError: The manifest is missing or unreadable.
    """
    path = folder / MANIFEST
    try:
        manifest = AdapterManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no {MANIFEST}", hint=_MAKE_AGAIN) from error
    except (OSError, ValidationError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ModelError(f"{path} is unreadable: {problem}", hint=_MAKE_AGAIN) from error
    if manifest.format != FORMAT:
        raise ModelError(
            f"{path} has format {manifest.format}, this version reads format {FORMAT}",
            hint="use the version of whyrec that wrote it, or fine-tune again",
        )
    return Adapter(folder, manifest.sha, manifest)


def load_folder(folder: Path) -> Adapter:
    """Load the adapter of any folder, with or without a manifest.

    Raises:
        ModelError: The folder holds no LoRA, or its manifest is unreadable.
    """
    if (folder / MANIFEST).exists():
        return load_adapter(folder)
    read_files(folder)
    return Adapter(folder, content_sha(folder), None)


def check_files(adapter: Adapter) -> None:
    """Raise ModelError unless an adapter's files are as they were published.

    Pickled weights are refused wherever they are in the folder. Reads every byte.
    """
    refuse_pickles(adapter.folder)
    if adapter.manifest and (damage := altered_file(adapter.folder, adapter.manifest.files)):
        raise ModelError(f"{adapter.ref} is damaged: {damage}", hint=_MAKE_AGAIN)
    read_files(adapter.folder)


def content_sha(folder: Path) -> str:
    """Name a LoRA by 12 hex digits of a SHA-256 of configuration and weights."""
    return combined_sha({name: sha256(folder / name) for name in (CONFIG, WEIGHTS)})


def combined_sha(hashes: Mapping[str, str]) -> str:
    """Compute `content_sha` from the SHA-256 of each file; other files do not count."""
    text = "".join(f"{name}\0{hashes[name]}\n" for name in (CONFIG, WEIGHTS))
    return hashlib.sha256(text.encode()).hexdigest()[:SHA_DIGITS]


def parse_ref(text: str) -> tuple[str, str] | None:
    """Split `movies@abc1` or `movies` into (domain, sha or ""); else return None."""
    match = re.fullmatch(rf"({DOMAIN})(?:@([0-9a-f]{{4,{SHA_DIGITS}}}))?", text)
    return (match[1], match[2] or "") if match else None
