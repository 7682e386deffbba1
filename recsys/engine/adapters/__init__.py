"""LoRA adapters: stored by content, checked, a domain's default only if better.

An adapter is named `domain@sha`. Those fine-tuned or imported here are kept in the data folder;
a domain may ship with one in its folder `adapter`.
"""

from __future__ import annotations

from recsys.engine.adapters.manifest import (
    Adapter,
    AdapterDraft,
    AdapterManifest,
    Comparison,
    ReasonChecks,
    check_files,
    load_adapter,
    load_folder,
    parse_ref,
)
from recsys.engine.adapters.promotion import BASE, Promotion, Promotions, gate, read_promotions
from recsys.engine.adapters.registry import (
    NONE,
    adapters_folder,
    check,
    default_adapter,
    describe_score,
    find_adapter,
    list_adapters,
    named_adapter,
    promote,
    promoted,
    resolve_adapter,
    rollback,
    scan,
    template_warning,
)
from recsys.engine.adapters.storage import amend, export, import_adapter, publish, remove

__all__ = [
    "BASE",
    "NONE",
    "Adapter",
    "AdapterDraft",
    "AdapterManifest",
    "Comparison",
    "Promotion",
    "Promotions",
    "ReasonChecks",
    "adapters_folder",
    "amend",
    "check",
    "check_files",
    "default_adapter",
    "describe_score",
    "export",
    "find_adapter",
    "gate",
    "import_adapter",
    "list_adapters",
    "load_adapter",
    "load_folder",
    "named_adapter",
    "parse_ref",
    "promote",
    "promoted",
    "publish",
    "read_promotions",
    "remove",
    "resolve_adapter",
    "rollback",
    "scan",
    "template_warning",
]
