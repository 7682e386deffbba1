"""Views of templates and their variables, as plain JSON values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from recsys.prompting.library import PromptLibrary


def list_templates(library: PromptLibrary) -> list[dict[str, Any]]:
    """Describe every template: its name, hash and front matter."""
    templates = [library.get(name) for name in library.names()]
    return [
        {"name": template.name, "hash": template.hash} | template.meta.model_dump(mode="json")
        for template in templates
    ]


def unified_diff(a: str, b: str, name_a: str, name_b: str) -> list[str]:
    """Return the lines of a unified diff of two texts; [] if they are equal."""
    return list(difflib.unified_diff(a.splitlines(), b.splitlines(), name_a, name_b, lineterm=""))


def as_json(value: Any) -> Any:
    """Convert a template variable to JSON values."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, tuple | list):
        return [as_json(entry) for entry in value]
    return dict(value) if isinstance(value, Mapping) else value
