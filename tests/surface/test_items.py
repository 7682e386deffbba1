"""`recsys items` on a small domain."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recsys.cli import main
from tests.fakes import write_films


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    return write_films(tmp_path / "films")


def items(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `recsys items` for that domain and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["recsys", "items", *arguments, "--domain", str(folder)])
    try:
        main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def test_an_item_is_added_shown_changed_and_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text('{"id": "f13", "title": "Solaris", "year": 1972, "attributes": {"genre": ["Sci-Fi"]}}\n')
    assert items(folder, monkeypatch, "add", str(file), "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert {name: counts[name] for name in ("added", "updated", "unchanged", "removed")} == {
        "added": 1,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
    }
    assert items(folder, monkeypatch, "show", "f13") == 0
    printed = capsys.readouterr().out
    assert "Solaris (1972)" in printed
    assert "genre: Sci-Fi" in printed

    assert items(folder, monkeypatch, "show", "f13", "--json") == 0
    file.write_text(capsys.readouterr().out.replace("1972", "2002"))
    assert items(folder, monkeypatch, "add", str(file)) == 0
    assert "1 updated" in capsys.readouterr().out
    assert items(folder, monkeypatch, "add", str(file)) == 0
    assert "1 unchanged" in capsys.readouterr().out
    assert items(folder, monkeypatch, "remove", "f13", "f3") == 0
    assert "2 removed" in capsys.readouterr().out
    assert items(folder, monkeypatch, "show", "f3") == 1
    assert "no item 'f3'" in capsys.readouterr().err


def test_a_wrong_line_adds_nothing_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text('{"id": "f13", "title": "Solaris"}\n{"id": "f14"}\n')
    assert items(folder, monkeypatch, "add", str(file)) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "row 2, field 'title'" in message
    assert "->" in message
    assert items(folder, monkeypatch, "show", "f13") == 1


def test_removing_an_unknown_item_removes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert items(folder, monkeypatch, "remove", "f3", "Alien") == 1
    assert "did you mean f3 (Alien)?" in " ".join(capsys.readouterr().err.split())
    assert items(folder, monkeypatch, "show", "f3") == 0
