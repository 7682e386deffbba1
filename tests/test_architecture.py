"""Imports point down the list, heavy ones stay inside functions, prompts stay out of Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recsys", "retrieval", "finetune", "prompts")
# Highest first: a module may import its own level and those below. A name covers what lies under it.
LEVELS = (
    ("recsys.cli", "recsys.service", "recsys.client", "recsys.scale"),
    (
        "recsys.recommender.recommender", "recsys.recommender.experiments", "recsys.explain.explainer", "recsys.recommender.response", "recsys.recommender.request", "recsys.recommender.history_filter", "recsys.data.live_catalog", "recsys.recommender.scoring", "recsys.recommender.inspection", "recsys.evaluation",
        "retrieval.fit", "recsys.data.erasure", "finetune", "recsys.doctor",
    ),
    ("recsys.ranking", "recsys.explain", "retrieval"),
    (
        "recsys.prompting.library", "recsys.prompting.sandbox", "recsys.prompting.parsing", "recsys.engine", "recsys.engine.adapters", "recsys.data.store", "recsys.data.database", "recsys.data.migrations",
        "recsys.data.catalog", "recsys.context.builder", "recsys.data.event_contexts", "recsys.context.gazetteer", "recsys.context.geo", "recsys.utils.system", "recsys.data.importers", "prompts",
    ),
    ("recsys.types", "recsys.config", "recsys.config.retrieval", "recsys.config.ranking", "recsys.config.tables", "recsys.config.finetuning", "recsys.errors", "recsys.utils.locks", "recsys.utils.tracing", "recsys.utils.sanitize", "recsys.context.pii"),
)  # fmt: skip
# The package itself re-exports Recommender on first use; it stands above and below all.
FREE = "recsys"
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts
)
HEAVY = ("torch", "vllm", "faiss", "transformers", "sentence_transformers", "polars", "dateparser")
PROMPT_WORDS = (
    "You are",
    "Answer Yes",
    "Answer No",
    "Answer with",
    "You judge",
    "You choose",
    "Will this person",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def level(name: str) -> int | None:
    """Index in LEVELS, 0 highest; None if the list does not have it."""
    for number, names in enumerate(LEVELS):
        if any(name == entry or name.startswith(f"{entry}.") for entry in names):
            return number
    return None


def imports(source: str, module: str, *, package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module) of every import anywhere in a file, relative ones resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = module.split(".") if package else module.split(".")[:-1]
            base = here[: len(here) - node.level + 1] if node.level else []
            found = ".".join([*base, *([node.module] if node.module else [])])
            if found == FREE or not node.module:
                yield from ((node.lineno, f"{found}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, found


def upward(source: str, module: str, *, package: bool = False) -> list[str]:
    """The imports of a file that point up the list."""
    own = level(module)
    return [
        f"{module}:{line} imports {target}"
        for line, target in imports(source, module, package=package)
        if own is not None and (there := level(target)) is not None and there < own
    ]


def ours(path: Path) -> list[str]:
    return upward(path.read_text(encoding="utf-8"), module_name(path), package=path.name == "__init__.py")


def test_every_module_has_a_place_in_the_list() -> None:
    names = [module_name(path) for path in MODULES]
    assert len(names) > 30
    assert [name for name in names if level(name) is None and name != FREE] == []


def test_no_import_points_up_the_list() -> None:
    assert [fault for path in MODULES for fault in ours(path)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import recsys.recommender.recommender",
        "from recsys.recommender.recommender import Recommender",
        "from recsys import pipeline",
        "def f():\n    from recsys.ranking.base import softmax",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from recsys.cli import main",
        "from ..explain import evidence",
        "from .. import pipeline",
    ],
)
def test_an_import_that_points_up_is_found_wherever_it_stands(source: str) -> None:
    assert upward(source, "recsys.engine.base")


def test_an_import_that_points_down_is_allowed() -> None:
    assert not upward(
        "from recsys.types import Item\nfrom .base import Engine\nimport json", "recsys.engine.vllm_local"
    )


def test_only_the_local_engine_and_what_it_runs_in_vllm_import_vllm() -> None:
    users = {
        module_name(path)
        for path in MODULES
        for _, target in imports(path.read_text(encoding="utf-8"), module_name(path))
        if target.split(".")[0] == "vllm"
    }
    assert users == {"recsys.engine.vllm_local", "recsys.engine.vllm_cpu_patches"}


def strings(source: str) -> Iterator[tuple[int, str]]:
    """String constants of a file, docstrings left out."""
    tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    described = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.lineno, node.value


def prompt_words(source: str) -> list[str]:
    return [
        f"line {line}: {text[:60]!r}"
        for line, text in strings(source)
        if any(words in text for words in PROMPT_WORDS)
    ]


def test_no_prompt_stands_in_python() -> None:
    found = {str(path.relative_to(ROOT)): prompt_words(path.read_text(encoding="utf-8")) for path in MODULES}
    assert {path: words for path, words in found.items() if words} == {}
    assert prompt_words('x = f"You are a {noun} expert. Answer Yes or No."')
    assert not prompt_words('"""You are reading a docstring."""')


@pytest.mark.parametrize(
    "module", ["recsys", "recsys.config", "recsys.recommender.recommender", "recsys.cli"]
)
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_files_stay_short() -> None:
    paths = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {path: lines for path, lines in lengths.items() if lines >= 400} == {}
