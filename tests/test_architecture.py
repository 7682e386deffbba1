"""What no library checks: heavy imports stay inside functions, prompts stay out of Python, rooms stay small.

The order of imports and the absence of circles are contracts in pyproject.toml: `lint-imports`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recsys", "retrieval", "finetune", "prompts")
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts
)
HEAVY = ("torch", "vllm", "faiss", "transformers", "sentence_transformers", "polars", "dateparser")
DESCRIBED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PROMPT_WORDS = (
    "You are",
    "Answer Yes",
    "Answer No",
    "Answer with",
    "You judge",
    "You choose",
    "Will this person",
)


def strings(source: str) -> Iterator[tuple[int, str]]:
    """String constants of a file, docstrings left out."""
    tree = ast.parse(source)
    described = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, DESCRIBED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.lineno, node.value


def long_docstrings(source: str) -> list[str]:
    """Docstrings that do not begin with one line of at most 80 characters that ends with a full stop."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, DESCRIBED)]
    described = [(node, lines) for node in nodes if (lines := (ast.get_docstring(node) or "").splitlines())]
    return [
        f"line {node.body[0].lineno}: {lines[0]}"
        for node, lines in described
        if len(lines[0]) > 80 or not lines[0].endswith(".") or any(lines[1:2])
    ]


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


def test_docstrings_begin_with_one_line_of_80_characters() -> None:
    offenders = {
        str(path.relative_to(ROOT)): long_docstrings(path.read_text(encoding="utf-8")) for path in MODULES
    }
    assert {path: lines for path, lines in offenders.items() if lines} == {}
    assert long_docstrings(f'"""{"a" * 80}."""')
    assert long_docstrings('def f():\n    """Return one\n    sentence."""')
    assert not long_docstrings(f'"""{"a" * 79}.\n\nMore."""')


@pytest.mark.parametrize(
    "module", ["recsys", "recsys.config", "recsys.recommender.recommender", "recsys.cli"]
)
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_root_of_the_package_holds_what_everybody_uses_and_nothing_else() -> None:
    assert len([path for path in (ROOT / "recsys").iterdir() if path.is_file()]) <= 8
