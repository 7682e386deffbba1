"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/ranking.md",
    "docs/data.md",
    "docs/shop.md",
    "docs/service.md",
    "docs/pages.md",
)
PLACES = (
    "recsys",
    "retrieval",
    "finetune",
    "prompts",
    "domains",
    "tests",
    "benchmarks",
    "docs",
    "deploy",
    "scripts",
)


def paths_in(text: str) -> set[str]:
    """Every path of this repository that stands in backticks or is linked to."""
    quoted = re.findall(r"`([^`\s]+)`", text) + re.findall(r"\]\(([^)#:]+)\)", text)
    return {path.rstrip("/") for path in quoted if path.split("/")[0] in PLACES and "/" in path}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    missing = [path for path in paths_in(text) if not (ROOT / path).exists() and "*" not in path]
    assert not missing


def test_the_tree_of_the_readme_names_every_room_and_nothing_else() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## The tree")[1].split("```")[1]
    named = re.findall(r"^( *)([a-z_.]+?/?)  ", tree, flags=re.MULTILINE)
    rooms = {name.rstrip("/") for indent, name in named if indent}
    folders = {name.rstrip("/") for indent, name in named if not indent}
    there = {
        path.name
        for path in (ROOT / "recsys").iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed") and not path.name.startswith(".")
    }
    assert rooms == there
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert folders >= {
        "recsys",
        "retrieval",
        "finetune",
        "prompts",
        "domains",
        "tests",
        "benchmarks",
        "docs",
        "deploy",
    }


def test_a_path_that_is_gone_is_found() -> None:
    assert paths_in("see `recsys/pipeline.py` and [this](docs/none.md), not `pip/install`") == {
        "recsys/pipeline.py",
        "docs/none.md",
    }
