"""The commands and the Python of the README, run as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line[2:]
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
EXAMPLE_TABLE = next(
    block for block in re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL) if "score" in block
)

pytestmark = pytest.mark.engine


def test_the_readme_names_two_commands_first() -> None:
    assert COMMANDS[:2] == ["make recommend", "make test"]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "make test"])
def test_command_of_the_readme_works(command: str, movies_environment: dict[str, str]) -> None:
    completed = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        env=movies_environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    assert completed.stdout.strip()
    assert "Traceback" not in completed.stderr
    if command == "make recommend":
        assert _ranks(completed.stdout) == _ranks(EXAMPLE_TABLE) == [1, 2, 3, 4, 5]
        assert "degraded" not in completed.stdout


def test_python_of_the_readme_prints_five_explained_films(
    movies_environment: dict[str, str], tmp_path: Path
) -> None:
    """The script needs no main guard, although vLLM starts a child process."""
    script = tmp_path / "readme.py"
    script.write_text(PYTHON[0], encoding="utf-8")
    completed = subprocess.run(
        [sys.executable, str(script)],
        env=movies_environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    lines = completed.stdout.strip().splitlines()
    assert len(lines) == 5
    assert all(re.search(r"0\.\d+ \S", line) for line in lines)


def _ranks(table: str) -> list[int]:
    """Return the ranks of the table's rows that have a score bar."""
    return [int(rank) for rank in re.findall(r"^\W*(\d+)\s+[█░]+ ", table, flags=re.MULTILINE)]
